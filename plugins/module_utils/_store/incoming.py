# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on its way into the store: the files in C(.store/incoming/).

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import is_store_file
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted, incoming_path, store_path
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import DESTINATION_UNSAFE


def model_of(name: str) -> str:
    """The model's C(<stem>.gguf) that a file in C(incoming/) belongs to."""
    stem, suffix, _rest = name.partition(".gguf.")
    return stem + ".gguf" if suffix and is_store_file(stem + ".gguf") else ""


def left_behind(wanted: Wanted) -> list[str]:
    """What a run writes, or an interrupted one left, of this model in C(.store/incoming/)."""
    incoming = store_path(wanted, ".store", "incoming")
    try:
        names = os.listdir(incoming)
    except FileNotFoundError:
        return []
    return [os.path.join(incoming, name) for name in names if model_of(name) == wanted.file]


def occupied(path: str) -> int:
    """The bytes that a file or a directory of files takes on the disk; another run may remove it meanwhile."""
    taken = 0
    with suppress(FileNotFoundError):
        for each in [os.path.join(path, name) for name in os.listdir(path)] if os.path.isdir(path) else [path]:
            with suppress(FileNotFoundError):
                taken += os.lstat(each).st_blocks * 512
    return taken


def remove(path: str) -> None:
    """Remove a file or a directory of the store, if it is there."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def clean(wanted: Wanted, keep: Iterable[str] = ()) -> None:
    """Remove what is left in C(incoming/) of this model, but for the named suffixes; its lock is held."""
    kept = {f"{wanted.file}.{suffix}" for suffix in keep}
    for path in left_behind(wanted):
        if os.path.basename(path) not in kept:
            remove(path)


def make_directories(wanted: Wanted) -> None:
    """Make the store and what it needs for itself. Raises C(model.destination_unsafe)."""
    if not os.path.isdir(wanted.store):
        os.makedirs(wanted.store, exist_ok=True)
        os.chmod(wanted.store, 0o755)
    for path in (store_path(wanted, ".store"), store_path(wanted, ".store", "incoming")):
        try:
            os.mkdir(path)
            os.chmod(path, 0o755)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise StackError(DESTINATION_UNSAFE, name=wanted.name, path=path, what="not a directory") from None


@contextmanager
def incoming(wanted: Wanted, kind: str) -> Iterator[tuple[str, int]]:
    """A new file in C(.store/incoming/); it does not outlive an error."""
    path = incoming_path(wanted, kind)
    remove(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            yield path, descriptor
        finally:
            os.close(descriptor)
    except BaseException:
        # It may have its final name already; the error is what counts.
        with suppress(FileNotFoundError):
            os.unlink(path)
        raise
