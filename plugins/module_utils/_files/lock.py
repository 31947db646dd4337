# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock files: one process at a time holds one; the others wait, or are told who holds it.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import ExitStack, suppress

from ansible_collections.mistralrs.stack.plugins.module_utils import _process

_PAUSE = 0.01
# A holder writes its name into the lock file within this time of creating it, in seconds.
_NAMING_SECONDS = 1.0


class Locked(Exception):
    """Another process holds the lock.

    C(holder) is text for people: which process, and since when; '' if the lock was given back meanwhile.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


class FileLock:
    """A lock on a file, as a context manager that gives the descriptor of the locked file.

    A forked process that keeps the descriptor open keeps the lock. The holder may remove the file: whoever waited for
    it then takes a new one. It is not to be entered again while it is held.

    Entering raises L{Locked} if another process still holds the lock after C(timeout) seconds (None waits as long as
    it takes), FileNotFoundError if the file is missing and not to be created, and OSError.

    A C(named) lock has the holder's name in its file, and removes the file when it is given back. It also works on
    network file systems that grant every lock to everyone: there the name decides.
    """

    def __init__(
        self,
        path: str,
        *,
        shared: bool = False,
        create: bool = True,
        timeout: float | None = 0.0,
        named: bool = False,
    ) -> None:
        self._path = path
        self._create = create
        self._named = named
        self._timeout = float("inf") if timeout is None else timeout
        # Without a timeout the kernel can do the waiting.
        self._operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if timeout is None else fcntl.LOCK_NB)
        self._held = ExitStack()

    def __enter__(self) -> int:
        until = time.monotonic() + self._timeout
        while True:
            descriptor, is_new = self._open()
            with ExitStack() as stack:
                stack.callback(os.close, descriptor)
                try:
                    if not self._lock(descriptor, is_new):
                        continue
                except BlockingIOError:
                    if time.monotonic() >= until:
                        raise Locked(_holder(descriptor)) from None
                    time.sleep(_PAUSE)
                    continue
                if self._named:
                    stack.callback(self._remove)
                self._held = stack.pop_all()
                return descriptor

    def __exit__(self, *_error: object) -> None:
        self._held.close()

    def _remove(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._path)

    def _open(self) -> tuple[int, bool]:
        """A descriptor of the lock file, and whether the file was created here."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        if not self._create:
            return os.open(self._path, flags), False
        while True:
            with suppress(FileExistsError):
                return os.open(self._path, flags | os.O_CREAT | os.O_EXCL, 0o600), True
            with suppress(FileNotFoundError):
                return os.open(self._path, flags), False

    def _lock(self, descriptor: int, is_new: bool) -> bool:
        """Lock the file; False if it was removed meanwhile. Raises BlockingIOError if another process holds it."""
        fcntl.flock(descriptor, self._operation)
        try:
            if os.stat(self._path).st_ino != os.fstat(descriptor).st_ino:
                return False
        except FileNotFoundError:
            return False
        if self._named:
            if not is_new and _is_owned(descriptor):
                raise BlockingIOError
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _process.own_name().encode("ascii", "replace"), 0)
        return True


def _owner(descriptor: int) -> str:
    return os.pread(descriptor, 512, 0).decode("ascii", "replace")


def _is_owned(descriptor: int) -> bool:
    """Whether another process holds a lock that was granted: some network file systems grant it to everyone."""
    owner = _owner(descriptor)
    return _process.is_running(owner) if owner else time.time() - os.fstat(descriptor).st_mtime < _NAMING_SECONDS


def _holder(descriptor: int) -> str:
    status = os.fstat(descriptor)
    if not status.st_nlink:
        return ""
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(status.st_mtime))
    return f"{_process.readable(_owner(descriptor))}, since {since}"
