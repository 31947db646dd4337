# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a job in a store.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

They are C(<store>/.store/jobs/<id>.*): C(lock) is locked as long as the job lives, C(json) is its progress,
C(result.json) its result, C(log) a few dated lines. C(tmp) and C(result.tmp) are being written. None of them contains
the options of the job.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.lock import FileLock, Locked

JOB_UNUSABLE = Fault(
    "model.job_unusable",
    "The job can't be run: {path}: {why}.",
    "Make it a directory that belongs to the user who runs the module, on a disk with room.",
)

# No more of a file is read, in bytes.
MAX_BYTES = 4 << 20
# Kept on the disk from the start, so that a full disk can be reported too, in bytes.
_RESULT_BYTES = 64 << 10
_EXPIRY_SECONDS = 30 * 86400.0
# Who polls a job has its lock for a moment; a job has it for longer.
_LOCK_SECONDS = 0.5
_NAME = re.compile(r"([0-9a-f]{16})\.(lock|json|result\.json|log|tmp|result\.tmp)\Z")
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def failure(error: StackError) -> dict[str, Any]:
    """How a result says that the job failed."""
    return {"error": {"id": error.id, "msg": str(error)}}


class JobFiles:
    """The files of one job; C(directory) has those of all jobs of the store."""

    def __init__(self, store: str, job_id: str) -> None:
        self.id = job_id
        self.store = store
        self.directory = os.path.join(store, ".store", "jobs")

    def path(self, kind: str) -> str:
        """The file of a kind: lock, json, result.json, log, tmp or result.tmp."""
        return os.path.join(self.directory, f"{self.id}.{kind}")

    @contextmanager
    def fault_on_error(self) -> Iterator[None]:
        """Raise model.job_unusable, with the path, instead of OSError."""
        try:
            yield
        except OSError as error:
            path = str(error.filename or self.directory)
            raise StackError(JOB_UNUSABLE, path=path, why=error.strerror or type(error).__name__) from None

    def make_directory(self) -> None:
        """Create the store and the directory of its jobs, which only its owner can read. Raises OSError."""
        if not os.path.isdir(self.store):
            os.makedirs(self.store, exist_ok=True)
            os.chmod(self.store, 0o755)
        for path, mode in ((os.path.dirname(self.directory), 0o755), (self.directory, 0o700)):
            try:
                os.mkdir(path, mode)
                os.chmod(path, mode)
            except FileExistsError:
                _check_directory(path, mode)

    def lock(self, shared: bool = False, create: bool = True) -> FileLock:
        """The lock that a job has as long as it lives."""
        return FileLock(self.path("lock"), shared=shared, create=create, timeout=0.0 if shared else _LOCK_SECONDS)

    def read(self, kind: str) -> dict[str, Any]:
        """A file of the job; {} if it is missing or was not written to the end."""
        try:
            descriptor = os.open(self.path(kind), _READ_FLAGS)
        except OSError:
            return {}
        try:
            return _load(descriptor)
        finally:
            os.close(descriptor)

    def write(self, kind: str, data: dict[str, Any]) -> None:
        """Replace a file of the job; not synced, since no job outlives a crash of the host. Raises OSError."""
        temporary = self.path(kind.replace("json", "tmp"))
        content = json.dumps(data, separators=(",", ":"), default=str).encode()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            # Over what is there, so that the room that was reserved is used.
            position = 0
            while position < len(content):
                position += os.pwrite(descriptor, content[position:], position)
            os.ftruncate(descriptor, len(content))
        finally:
            os.close(descriptor)
        os.rename(temporary, self.path(kind))

    def remove(self, *kinds: str) -> None:
        """Remove those of these files that exist. Raises OSError."""
        for kind in kinds:
            with suppress(FileNotFoundError):
                os.unlink(self.path(kind))

    def log(self, text: str) -> None:
        """Add a dated line to the log, if it can be written."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with suppress(OSError):
            descriptor = os.open(self.path("log"), flags, 0o600)
            try:
                os.write(descriptor, f"{now} {text}\n".encode(errors="replace"))
            finally:
                os.close(descriptor)

    def reserve_result(self) -> None:
        """Reserve room on the disk for the result. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path("result.tmp"), flags, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _RESULT_BYTES)
        except OSError as error:
            # Some file systems can't reserve.
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(error.errno, error.strerror, self.path("result.tmp")) from None
        finally:
            os.close(descriptor)

    @contextmanager
    def open_result(self) -> Iterator[Callable[[], dict[str, Any]]]:
        """Gives a function that reads the result, also after another process has taken it; {} if it can't.

        The file for the result is there from the job's start, and an open file outlives its name.
        """
        descriptor = None
        for kind in ("result.tmp", "result.json"):
            with suppress(OSError):
                descriptor = os.open(self.path(kind), _READ_FLAGS)
                break
        try:
            yield lambda: {} if descriptor is None else _load(descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def result_version(self) -> int:
        """A number that differs from one result to the next; 0 without a result."""
        try:
            return os.lstat(self.path("result.json")).st_mtime_ns
        except OSError:
            return 0

    def remove_expired(self) -> None:
        """Remove the files of other jobs that nobody asked about for a month. Raises OSError."""
        now = time.time()
        for name in os.listdir(self.directory):
            match = _NAME.match(name)
            if not match or match.group(1) == self.id:
                continue
            with suppress(OSError):
                if now - os.lstat(os.path.join(self.directory, name)).st_mtime > _EXPIRY_SECONDS:
                    JobFiles(self.store, match.group(1))._remove_all()

    def _remove_all(self) -> None:
        """Remove everything unless the job lives."""
        with suppress(Locked), self.lock():
            self.remove("json", "tmp", "result.json", "result.tmp", "log", "lock")


def _check_directory(path: str, mode: int) -> None:
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.ENOTDIR, "it is not a directory", path)
    if mode == 0o700 and status.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "it belongs to another user", path)
    if mode == 0o700 and stat.S_IMODE(status.st_mode) != mode:
        os.chmod(path, mode)


def _load(descriptor: int) -> dict[str, Any]:
    try:
        data = json.loads(os.pread(descriptor, MAX_BYTES, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
