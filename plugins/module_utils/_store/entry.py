# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the store has of a model now; its files are read only if nothing says what they are.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.local import hash_file, identity
from ansible_collections.mistralrs.stack.plugins.module_utils._store.disk_space import STORE_UNUSABLE, store_errors
from ansible_collections.mistralrs.stack.plugins.module_utils._store.hashing import Counter, hash_files, workers
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import FILE_MODE, Report, Wanted, model_path
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import (
    directory_status,
    is_ours,
    plain_status,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import read_sidecar, set_digest


class Entry(NamedTuple):
    """What is in the store now. Sizes are in bytes; of a model of several files they are summed up."""

    size: int
    sha256: str
    sidecar: dict[str, Any]
    verified_by: str
    mode: int
    directory: bool = False
    # Whether only root or this user may write to its files.
    is_ours: bool = True
    # Of a model of several files the sha256 of each, by its name in the model.
    digests: Mapping[str, str] = {}


# By path the identity and the sha256 of a file that was read.
Hashes = dict[str, tuple[dict[str, int], str]]

# What this process, or the module that started it as a job, has read. A file that was put there by hand is looked at
# before a job and again under its lock.
_HASHED: Hashes = {}


def hashes() -> Hashes:
    """What this process has read so far."""
    return dict(_HASHED)


def remember(known: Hashes) -> None:
    """Do not read again what another process has read, unless it is another file now."""
    _HASHED.update(known)


def _known_hash(path: str, status: os.stat_result) -> str:
    """What this process has read already; '' if that is another file, or none."""
    found = _HASHED.get(path)
    return found[1] if found and found[0] == identity(status) else ""


def _is_as_recorded(status: os.stat_result, record: Mapping[str, Any]) -> bool:
    """Whether a file need not be read again; who else may write to it can alter it and set its time back."""
    return is_ours(status) and all(record.get(key) == value for key, value in identity(status).items())


def _files_of(wanted: Wanted) -> dict[str, Mapping[str, Any]]:
    """The model's files that there should be, each with its record."""
    sidecar = read_sidecar(wanted)
    folder = model_path(wanted, directory=True)
    files = {os.path.join(folder, name): record for name, record in (sidecar.get("files") or {}).items()}
    return files or {model_path(wanted): sidecar}


def bytes_to_read(wanted: Wanted, rehash: bool = False) -> int:
    """How much of the model L{read_entry} would hash."""
    count = 0
    for path, record in _files_of(wanted).items():
        with suppress(OSError):
            status = os.lstat(path)
            if rehash or not _is_as_recorded(status, record):
                count += status.st_size
    return count


def read_ahead(wanted: Sequence[Wanted], report: Report) -> None:
    """Hash what was put into the store by hand, on all cores, so that L{read_entry} knows it afterwards."""
    sizes = {each: bytes_to_read(each) for each in wanted}
    unread = [each for each, size in sizes.items() if size]

    def read(each: Wanted) -> None:
        with store_errors(each):
            read_entry(each, seen=seen)

    seen = Counter(report, unread, sum(sizes.values()))
    with workers(seen) as pool:
        list(pool.map(read, unread))


def take_over(wanted: Wanted) -> bool:
    """Make a model's files root's, or this user's, so that no one else can alter them; whether anyone could before.

    What was read of such a file before says nothing any more.
    """
    taken = False
    for path in _files_of(wanted):
        before = os.lstat(path)
        if os.geteuid() == 0 and not is_ours(before):
            os.chown(path, 0, 0, follow_symlinks=False)
        if stat.S_IMODE(before.st_mode) != FILE_MODE:
            os.chmod(path, FILE_MODE)
        if not is_ours(before) and is_ours(os.lstat(path)):
            _HASHED.pop(path, None)
            taken = True
    return taken


def _read_files(wanted: Wanted, sidecar: dict[str, Any], rehash: bool, seen: Counter | None) -> Entry | None:
    """The entry of a model of several files."""
    known = sidecar["files"]
    folder = model_path(wanted, directory=True)
    if directory_status(wanted) is None:
        return None
    statuses = {name: plain_status(wanted, os.path.join(folder, name)) for name in known}
    if any(status is None for status in statuses.values()):
        return None
    found = {name: status for name, status in statuses.items() if status is not None}
    stale = [name for name, status in found.items() if rehash or not _is_as_recorded(status, known[name])]
    digests = {name: str(record.get("sha256", "")) for name, record in known.items()}
    paths = {name: os.path.join(folder, name) for name in stale}
    digests.update({name: "" if rehash else _known_hash(path, found[name]) for name, path in paths.items()})
    unread = {name: path for name, path in paths.items() if not digests[name]}
    digests.update(zip(unread, hash_files(unread.values(), seen)))
    _HASHED.update({path: (identity(found[name]), digests[name]) for name, path in unread.items()})
    modes = {stat.S_IMODE(status.st_mode) for status in found.values()}
    return Entry(
        size=sum(status.st_size for status in found.values()),
        sha256=set_digest(digests),
        sidecar=sidecar,
        verified_by="hash" if stale else "sidecar",
        mode=FILE_MODE if modes == {FILE_MODE} else min(modes - {FILE_MODE}),
        directory=True,
        is_ours=all(map(is_ours, found.values())),
        digests=digests,
    )


def read_entry(wanted: Wanted, rehash: bool = False, seen: Counter | None = None) -> Entry | None:
    """Look up the model; its files are read only if size, time or inode are not those that were verified."""
    sidecar = read_sidecar(wanted)
    if sidecar.get("files"):
        return _read_files(wanted, sidecar, rehash, seen)
    path = model_path(wanted)
    # Another run may replace the file while it is read here: then the new one counts.
    for _attempt in range(2):
        status = plain_status(wanted, path)
        if status is None:
            return None
        sidecar = read_sidecar(wanted)
        mode = stat.S_IMODE(status.st_mode)
        owned = is_ours(status)
        if _is_as_recorded(status, sidecar) and not rehash:
            return Entry(status.st_size, sidecar["sha256"], sidecar, "sidecar", mode)
        if not rehash and (sha256 := _known_hash(path, status)):
            return Entry(status.st_size, sha256, sidecar, "hash", mode, is_ours=owned)
        sha256 = hash_file(path, seen or Counter())
        after = plain_status(wanted, path)
        if after is not None and identity(after) == identity(status):
            _HASHED[path] = (identity(status), sha256)
            return Entry(status.st_size, sha256, sidecar, "hash", mode, is_ours=owned)
    raise StackError(STORE_UNUSABLE, name=wanted.name, path=path, why="it was changed while it was read")
