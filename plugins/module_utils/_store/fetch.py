# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a model's files to C(.store/incoming/), from afar or from this host.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import downloader, huggingface
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import INTERRUPTED, Client
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote, Source
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_header, safetensors_header
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.check import accepted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.companion_files import Staged
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import clean, incoming, remove
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import (
    FILE_MODE,
    Report,
    Wanted,
    incoming_path,
    model_label,
    model_path,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.local_source import check_sha256
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import plain_status, read_small
from ansible_collections.mistralrs.stack.plugins.module_utils._store.plan import Prepared
from ansible_collections.mistralrs.stack.plugins.module_utils._store.publish import publish, publish_set
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import set_digest


def _check_start(wanted: Wanted, remote: Remote, alone: bool) -> Callable[[bytes], None]:
    """Refuses what is no model by its first bytes, before the rest of it is transferred; a file C(alone) is a GGUF."""

    def check(start: bytes) -> None:
        name = f"{model_label(wanted)}, file {remote.name}" if "/" in remote.name else model_label(wanted)
        if (alone or remote.name.endswith(".gguf")) and start[:4] != b"GGUF":
            gguf_header.parse_header(start, len(start), name)
        if remote.name.endswith(".safetensors") or start.startswith(b"version https://git-lfs"):
            safetensors_header.check_start(start, name)

    return check


class Fetched(NamedTuple):
    """A model that was fetched: its sha256, the record of its files if they are several, the header's summary.

    C(staged) is what was made for it.
    """

    sha256: str
    files: dict[str, dict[str, Any]]
    gguf: dict[str, Any]
    origin: dict[str, int]
    staged: Staged


def _fetch_local(wanted: Wanted, source: Source, path: str, access: Access, report: Report) -> Fetched:
    """Take over a file of this host."""
    with local.opened(wanted.name, path) as (descriptor, status):
        with incoming(wanted, "copy") as (target, written):
            sha256, size = local.copy(
                descriptor,
                written,
                status.st_size + 1,
                lambda done: report(wanted.name, done, status.st_size, "copying"),
            )
            if size != status.st_size:
                raise StackError(
                    INTERRUPTED,
                    name=wanted.name,
                    source=source.shown,
                    got=size,
                    want=status.st_size,
                    why="",
                )
            check_sha256(wanted, source, sha256, size)
            gguf, staged = accepted(wanted, "", {}, target, access, report)
            publish(wanted, target, written, wanted.file)
        return Fetched(sha256, {}, gguf, {"size": status.st_size, "mtime_ns": status.st_mtime_ns}, staged)


def _copy(wanted: Wanted, path: str, part: str, report: Any) -> tuple[str, int]:
    """Copy a file of this host; the copy's sha256 and size."""
    with local.opened(wanted.name, path) as (descriptor, status), open(part, "wb") as target:
        try:
            copied = local.copy(
                descriptor, target.fileno(), status.st_size + 1, lambda done: report(done, status.st_size, "copying")
            )
            os.fsync(target.fileno())
        except BaseException:
            # It does not go on later.
            remove(part)
            raise
    return copied


def _copied(wanted: Wanted, source: Source, remote: Remote, part: str, report: Any) -> str:
    """Copy one file of a directory of this host; its sha256."""
    sha256, size = _copy(wanted, remote.url, part, report)
    if size != remote.size:
        remove(part)
        raise StackError(INTERRUPTED, name=wanted.name, source=source.shown, got=size, want=remote.size, why="")
    return sha256


def _kept(prepared: Prepared, remote: Remote, part: str, report: Any) -> str:
    """Copy a file out of the model that is replaced, if it has the wanted content; its sha256, or ''."""
    wanted, entry = prepared.wanted, prepared.plan.entry
    files = entry.sidecar.get("files") or {} if entry else {}
    same = [name for name, known in files.items() if remote.sha256 and known.get("sha256") == remote.sha256]
    for name in same[:1]:
        with suppress(StackError):
            path = os.path.join(model_path(wanted, directory=True), name)
            if _copy(wanted, path, part, report)[0] == remote.sha256:
                return remote.sha256
            remove(part)
    return ""


def _received(prepared: Prepared, remote: Remote, part: str, client: Client, access: Access, report: Any) -> str:
    """Have one file in C(part), from afar or from this host; its sha256."""
    wanted, source = prepared.wanted, prepared.source
    if prepared.resolved is not None and prepared.resolved.local:
        return _copied(wanted, source, remote, part, report)

    # A branch may have moved on since: all files are those of the commit that was resolved first.
    pinned = source._replace(revision=remote.commit) if source.kind == "hf" and remote.commit else source

    def again() -> Remote:
        found = huggingface.resolve(client, pinned, wanted.name, wanted.quantization, wanted.sha256, access.hub)
        return next(other for other in found.files if other.name == remote.name)

    alone = not (prepared.resolved and prepared.resolved.directory)
    expected = remote.sha256 or (wanted.sha256 if alone else "")
    check = _check_start(wanted, remote, alone)
    got = downloader.download(client, remote, part, wanted.name, expected, report, check, again)
    return got.sha256


def _fetch_one(prepared: Prepared, remote: Remote, client: Client, access: Access, report: Report) -> Fetched:
    """Download a model that is one file."""
    wanted = prepared.wanted
    part = incoming_path(wanted, "part")

    def shown(done: int, total: int | None, phase: str) -> None:
        report(wanted.name, done, total, phase)

    sha256 = _received(prepared, remote, part, client, access, shown)
    try:
        check_sha256(wanted, prepared.source, sha256, os.lstat(part).st_size)
        gguf, staged = accepted(wanted, "", {}, part, access, report)
    except StackError:
        clean(wanted)
        raise
    descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        publish(wanted, part, descriptor, wanted.file)
    finally:
        os.close(descriptor)
    return Fetched(sha256, {}, gguf, {}, staged)


def _fetch_set(prepared: Prepared, client: Client, access: Access, report: Report) -> Fetched:
    """Fetch a model of several files; each is kept when it is complete, all are published at once."""
    wanted, resolved = prepared.wanted, prepared.resolved
    if resolved is None:
        raise ValueError("nothing was resolved")
    folder = incoming_path(wanted, "set")
    os.makedirs(folder, mode=0o755, exist_ok=True)
    journal = os.path.join(folder, ".verified.json")
    try:
        verified = json.loads(read_small(journal, 1 << 23) or b"{}")
    except ValueError:
        verified = {}
    sizes = {remote.name: remote.size or 0 for remote in resolved.files}
    total = sum(sizes.values()) if all(remote.size is not None for remote in resolved.files) else None
    before = 0
    kept: dict[str, dict[str, Any]] = {}
    for remote in resolved.files:
        path = os.path.join(folder, remote.name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        status = plain_status(wanted, path)
        known = verified.get(remote.name) if isinstance(verified, dict) else None
        complete = (
            status is not None
            and isinstance(known, dict)
            and all(known.get(key) == value for key, value in local.identity(status).items())
            and known.get("promise") == [remote.sha256, remote.git_sha1, remote.etag, remote.commit]
        )
        if not complete:

            def shown(done: int, _total: int | None, phase: str, base: int = before) -> None:
                report(wanted.name, base + done, total, phase)

            sha256 = _kept(prepared, remote, path + ".part", shown)
            sha256 = sha256 or _received(prepared, remote, path + ".part", client, access, shown)
            os.chmod(path + ".part", FILE_MODE)
            os.replace(path + ".part", path)
            remove(path + ".part.json")
            promise = [remote.sha256, remote.git_sha1, remote.etag, remote.commit]
            known = {**local.identity(os.lstat(path)), "sha256": sha256, "promise": promise}
        kept[remote.name] = dict(known or {})
        temporary = journal + ".new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(kept, file)
        os.replace(temporary, journal)
        before += sizes[remote.name]
    files = {name: {key: value for key, value in record.items() if key != "promise"} for name, record in kept.items()}
    sha256 = set_digest({name: record["sha256"] for name, record in files.items()})
    try:
        check_sha256(wanted, prepared.source, sha256, before)
        gguf, staged = accepted(wanted, folder, files, "", access, report)
    except StackError:
        clean(wanted)
        raise
    publish_set(wanted, folder, set(files))
    return Fetched(sha256, files, gguf, local.origin(resolved.local) if resolved.local else {}, staged)


def fetch(prepared: Prepared, access: Access, report: Report) -> Fetched:
    wanted, source, resolved = prepared.wanted, prepared.source, prepared.resolved
    if resolved is None:
        raise ValueError("nothing was resolved")
    client = Client(wanted.name, access.http)
    if resolved.local and not resolved.directory:
        exact = wanted if wanted.sha256 else wanted._replace(sha256=resolved.files[0].sha256)
        try:
            return _fetch_local(exact, source, resolved.local, access, report)
        except StackError as error:
            if source.kind != "ollama" or error.id != downloader.CHECKSUM_MISMATCH.id or access.http.offline:
                raise
        # The blob in the local Ollama's store is damaged; its registry has the right one.
        registry = access.hub._replace(ollama_models=())
        resolved = huggingface.resolve(client, source, wanted.name, wanted.quantization, wanted.sha256, registry)
        prepared = prepared._replace(resolved=resolved)
    if resolved.directory:
        return _fetch_set(prepared, client, access, report)
    return _fetch_one(prepared, resolved.files[0], client, access, report)
