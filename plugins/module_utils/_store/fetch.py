# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a model's files to C(.store/incoming/), from afar or from this host.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import any_source, downloader, huggingface
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import INTERRUPTED, Client
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote, Resolved
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_header, safetensors_header
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import remove
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import (
    FILE_MODE,
    Report,
    Wanted,
    incoming_path,
    model_label,
    model_path,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import plain_status, read_small
from ansible_collections.mistralrs.stack.plugins.module_utils._store.plan import Prepared
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import set_digest

_Progress = Callable[[int, "int | None", str], None]


def _check_start(wanted: Wanted, remote: Remote, alone: bool) -> Callable[[bytes], None]:
    """Refuses what is not a model by its first bytes, before the rest is transferred; a file C(alone) is a GGUF."""

    def check(start: bytes) -> None:
        name = f"{model_label(wanted)}, file {remote.name}" if "/" in remote.name else model_label(wanted)
        if (alone or remote.name.endswith(".gguf")) and start[:4] != b"GGUF":
            gguf_header.parse_header(start, len(start), name)
        if remote.name.endswith(".safetensors") or start.startswith(b"version https://git-lfs"):
            safetensors_header.check_start(start, name)

    return check


class Arrived(NamedTuple):
    """A model that is complete, but has no final name yet: the file or the directory C(path).

    C(prepared) is what was fetched. C(size) is in bytes. C(files) has the record of each file of a directory and is {}
    for a single file. C(origin) tells whether a source on this host is replaced later.
    """

    prepared: Prepared
    path: str
    sha256: str
    size: int
    files: Mapping[str, dict[str, Any]] = {}
    origin: Mapping[str, int] = {}


def _copy(prepared: Prepared, path: str, target: str, report: _Progress) -> tuple[str, os.stat_result]:
    """Copy a file of this host; the copy's sha256 and the file's status."""
    with local.opened(prepared.wanted.name, path) as (descriptor, status):
        remove(target)
        copy = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            sha256, size = local.copy(
                descriptor, copy, status.st_size + 1, lambda done: report(done, status.st_size, "copying")
            )
            os.fsync(copy)
            if size != status.st_size:
                raise _changed(prepared, size, status.st_size)
        except BaseException:
            # It does not go on later.
            remove(target)
            raise
        finally:
            os.close(copy)
    return sha256, status


def _changed(prepared: Prepared, got: int, want: int) -> StackError:
    """That a file of this host has another size than before."""
    return StackError(INTERRUPTED, name=prepared.wanted.name, source=prepared.source.shown, got=got, want=want, why="")


def _kept(prepared: Prepared, remote: Remote, part: str, report: _Progress) -> str:
    """Copy a file out of the model that is replaced, if it has the wanted content; its sha256, or ''."""
    wanted, entry = prepared.wanted, prepared.plan.entry
    files = entry.sidecar.get("files") or {} if entry else {}
    same = [name for name, known in files.items() if remote.sha256 and known.get("sha256") == remote.sha256]
    for name in same[:1]:
        with suppress(StackError):
            path = os.path.join(model_path(wanted, directory=True), name)
            if _copy(prepared, path, part, report)[0] == remote.sha256:
                return remote.sha256
            remove(part)
    return ""


def _received(
    prepared: Prepared, remote: Remote, part: str, client: Client, hub: huggingface.HubSettings, report: _Progress
) -> str:
    """Have one file in C(part), from afar or from a directory of this host; its sha256."""
    wanted, source, resolved = prepared.wanted, prepared.source, prepared.resolved
    if resolved is not None and resolved.local:
        sha256, status = _copy(prepared, remote.url, part, report)
        if status.st_size != remote.size:
            remove(part)
            raise _changed(prepared, status.st_size, remote.size or 0)
        return sha256

    # A branch may have moved on since: all files are those of the commit that was resolved first.
    pinned = source._replace(revision=remote.commit) if source.kind == "hf" and remote.commit else source

    def again() -> Remote:
        found = any_source.resolve(client, pinned, wanted.name, wanted.quantization, hub)
        return next(other for other in found.files if other.name == remote.name)

    check = _check_start(wanted, remote, alone=not (resolved and resolved.directory))
    return downloader.download(client, remote, part, wanted.name, report, check, again).sha256


def _promise(remote: Remote) -> list[str]:
    """What tells the content of a file from any other."""
    return [remote.sha256, remote.git_sha1, remote.etag, remote.commit]


def _read_journal(path: str) -> dict[str, dict[str, Any]]:
    """Which files of a directory were complete before, each with its record and promise; {} if that can't be told."""
    try:
        found = json.loads(read_small(path, 1 << 23) or b"{}")
    except ValueError:
        return {}
    return {name: known for name, known in found.items() if isinstance(known, dict)} if isinstance(found, dict) else {}


def _write_journal(path: str, complete: Mapping[str, Mapping[str, Any]]) -> None:
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(complete, file)
    os.replace(path + ".new", path)


def _is_complete(wanted: Wanted, path: str, remote: Remote, known: Mapping[str, Any]) -> bool:
    """Whether an earlier run brought this file, and nobody touched it since."""
    status = plain_status(wanted, path)
    if status is None or known.get("promise") != _promise(remote):
        return False
    return all(known.get(key) == value for key, value in local.identity(status).items())


def _fetch_set(prepared: Prepared, resolved: Resolved, client: Client, access: Access, report: Report) -> Arrived:
    """Fetch a model of several files; each is kept when it is complete."""
    wanted = prepared.wanted
    folder = incoming_path(wanted, "set")
    os.makedirs(folder, mode=0o755, exist_ok=True)
    journal = os.path.join(folder, ".verified.json")
    earlier = _read_journal(journal)
    sizes = {remote.name: remote.size or 0 for remote in resolved.files}
    total = sum(sizes.values()) if all(remote.size is not None for remote in resolved.files) else None
    before = 0
    complete: dict[str, dict[str, Any]] = {}
    for remote in resolved.files:
        path = os.path.join(folder, remote.name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        known = earlier.get(remote.name, {})
        if not _is_complete(wanted, path, remote, known):

            def shown(done: int, _total: int | None, phase: str, base: int = before) -> None:
                report(wanted.name, base + done, total, phase)

            sha256 = _kept(prepared, remote, path + ".part", shown)
            sha256 = sha256 or _received(prepared, remote, path + ".part", client, access.hub, shown)
            os.chmod(path + ".part", FILE_MODE)
            os.replace(path + ".part", path)
            remove(path + ".part.json")
            known = {**local.identity(os.lstat(path)), "sha256": sha256, "promise": _promise(remote)}
        complete[remote.name] = known
        _write_journal(journal, complete)
        before += sizes[remote.name]
    files = {name: {key: known[key] for key in known if key != "promise"} for name, known in complete.items()}
    sha256 = set_digest({name: record["sha256"] for name, record in files.items()})
    origin = local.origin(resolved.local) if resolved.local else {}
    return Arrived(prepared, folder, sha256, before, files, origin)


def fetch(prepared: Prepared, access: Access, report: Report) -> Arrived:
    """Have all of a model in C(.store/incoming/). What is there of it is used, and kept if the rest does not come."""
    wanted, source, resolved = prepared.wanted, prepared.source, prepared.resolved
    if resolved is None:
        raise ValueError("nothing was resolved")

    def shown(done: int, total: int | None, phase: str) -> None:
        report(wanted.name, done, total, phase)

    client = Client(wanted.name, access.http)
    if resolved.local and not resolved.directory:
        copy = incoming_path(wanted, "copy")
        sha256, status = _copy(prepared, resolved.local, copy, shown)
        if source.kind != "ollama" or sha256 == prepared.expected or access.http.offline:
            origin = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
            return Arrived(prepared, copy, sha256, status.st_size, origin=origin)
        # The blob in the local Ollama's store is damaged; its registry has the right one.
        remove(copy)
        registry = access.hub._replace(ollama_models=())
        resolved = any_source.resolve(client, source, wanted.name, wanted.quantization, registry)
        prepared = prepared.with_source(resolved)
        resolved = prepared.resolved or resolved
    if resolved.directory:
        return _fetch_set(prepared, resolved, client, access, report)
    part = incoming_path(wanted, "part")
    sha256 = _received(prepared, resolved.files[0], part, client, access.hub, shown)
    return Arrived(prepared, part, sha256, os.lstat(part).st_size)
