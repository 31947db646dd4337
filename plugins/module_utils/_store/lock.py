# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time changes what belongs to one model.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible_collections.mistralrs.stack.plugins.module_utils import _process
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import left_behind
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted, lock_path

_NAMING_SECONDS = 1.0
_LOCK_SECONDS = 0.2


def _owner_of(descriptor: int) -> str:
    return os.pread(descriptor, 512, 0).decode("ascii", "replace")


def _is_owned(descriptor: int, created: bool) -> bool:
    """Whether another process has a lock that could be taken: some network file systems give it to everyone."""
    if created:
        return False
    owner = _owner_of(descriptor)
    # Who has just made the file is about to write its name.
    return _process.is_running(owner) if owner else time.time() - os.fstat(descriptor).st_mtime < _NAMING_SECONDS


def take_lock(path: str) -> int:
    """Take a lock and return its descriptor, or -1 if somebody else has it."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        created = True
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            created = False
            try:
                descriptor = os.open(path, flags)
            except FileNotFoundError:
                continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever gives a lock back removes its file: then this is not the one that others see.
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                if _is_owned(descriptor, created):
                    os.close(descriptor)
                    return -1
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _process.own_name().encode("ascii", "replace"), 0)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return -1
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def lock_holder(path: str) -> str:
    """Who has a lock and since when, for people; '' if it was given back."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        who = _process.readable(_owner_of(descriptor))
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(os.fstat(file.fileno()).st_mtime))
    return f"{who}, since {since}"


def release_lock(path: str, descriptor: int) -> None:
    """Give back what L{take_lock} took."""
    os.unlink(path)
    os.close(descriptor)


@contextmanager
def locked(wanted: Wanted, waiting: Callable[[str], None] = lambda _holder: None) -> Iterator[bool]:
    """Only one run at a time changes what belongs to one model; a second one waits here.

    C(waiting) is told who it waits for, again and again. Gives whether an interrupted run had left something of this
    model behind.
    """
    path = lock_path(wanted)
    while (descriptor := take_lock(path)) < 0:
        holder = lock_holder(path)
        if holder:
            waiting(holder)
        time.sleep(_LOCK_SECONDS)
    try:
        yield bool(left_behind(wanted))
    finally:
        release_lock(path, descriptor)
