# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job that is a Python function: several runs that ask for the same thing share it and its result.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.lock import FileLock, Locked
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs import result_file
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job import Job, State
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.launch import STOP_SECONDS, Launcher, NotStarted
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.result_file import failure
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.worker import (
    JOB_FAILED,
    JOB_UNREADABLE,
    Work,
    code_archive,
    packed,
)

JOB_UNUSABLE = Fault(
    "model.job_unusable",
    "The job can't be run: {path}: {why}.",
    "Make it a directory that belongs to the user who runs the module, on a disk with room.",
)
JOB_NOT_STARTED = Fault(
    "model.job_not_started",
    "The host did not start the job {id}: {why}.",
    "See 'journalctl -xe' on the host.",
)
JOB_DIED = Fault(
    "model.job_died",
    "The job was killed from outside: {cause}.",
    "What it fetched is kept; run it again. If the kernel killed it, the host has too little memory (see dmesg).",
)
JOB_STUCK = Fault(
    "model.job_stuck",
    "The job {id} does not end; its process is {pid}.",
    "Its disk or network file system probably does not answer; look at the host's kernel log.",
)
JOB_LOST = Fault(
    "model.job_lost",
    "The job {id} has ended, but its result is gone.",
    "Run it again, and check whether something else removes files from {folder}.",
)

# So long after the last poll of a job its failure is reported to whoever polls next. Later it is tried again instead.
_WATCH_SECONDS = 30.0
_EXPIRY_SECONDS = 30 * 86400.0
_ID = re.compile(r"[0-9a-f]{16}\Z")


class Status(NamedTuple):
    """How a job is.

    C(state) is none, running, finished, cancelled or died. C(result) is C({"ok": outcome}) or
    C({"error": {"id": ..., "msg": ...}}) if state is finished, and the latter if it is cancelled or died.
    """

    id: str
    state: str
    progress: dict[str, Any]
    result: dict[str, Any]

    def as_returned(self) -> dict[str, Any]:
        """What a module returns as C(job)."""
        state = "finished" if self.state == "died" else self.state
        return {"id": self.id, "state": state, "progress": self.progress}


class FunctionJob(Job):
    """The job in C(folder), whose name is its id: that of its options. Failures of its files are model.job_unusable."""

    def __init__(self, folder: str, launcher: Launcher) -> None:
        super().__init__(folder, launcher)
        self.id = os.path.basename(folder)
        self._polled_result = 0

    def start_or_attach(self, work: Work) -> None:
        """Start the job unless it runs, or has a good result that the last C(poll) did not see."""
        with self._fault_on_error():
            _make_directory(os.path.dirname(self.folder))
            with self.lock():
                status = self._status()
                is_new = result_file.version(self.folder) != self._polled_result
                if status.state != "running" and not ("ok" in status.result and is_new):
                    self._clear()
                    _remove_expired(os.path.dirname(self.folder))
                    self._start(work)
                self.mark_watched()

    def _start(self, work: Work) -> None:
        os.makedirs(self.folder, 0o700, exist_ok=True)
        result_file.reserve(self.folder)
        program = os.path.join(self.launcher.private, "code.zip")
        command = [sys.executable or "python3", "-I", program, self.launcher.private, self.folder]
        try:
            super().start(shlex.join(command), {"code.zip": code_archive(work), "work": packed(work)})
        except NotStarted as error:
            self._clear()
            raise StackError(JOB_NOT_STARTED, id=self.id, why=f"{error}".rstrip(".")) from None

    def poll(self) -> Status:
        """How the job is now."""
        with self._fault_on_error():
            try:
                with self.lock(shared=True, create=False):
                    self._polled_result = result_file.version(self.folder)
                    return self._status()
            except FileNotFoundError:
                self._polled_result = 0
                return Status(self.id, "none", {}, {})

    def collect(self) -> Status:
        """Take the result, which is removed; of two who try at the same time one gets it."""
        with self._fault_on_error():
            try:
                with self.lock(create=False):
                    status = self._status()
                    if status.state == "died":
                        # Other runs that wait have the file open.
                        with suppress(OSError):
                            result_file.write(self.folder, "result.json", {"state": "died", **status.result})
                    if status.state != "running":
                        self._clear(keep_log="error" in status.result)
                        os.unlink(f"{self.folder}.lock")
                    return status
            except FileNotFoundError:
                return Status(self.id, "none", {}, {})

    def wait(self, seconds: float | None = None) -> Status:
        """How the job is when it has ended, or after some seconds."""
        until = None if seconds is None else time.monotonic() + seconds
        pause = 0.01
        while True:
            status = self.poll()
            if status.state != "running" or (until is not None and time.monotonic() >= until):
                return status
            self.mark_watched()
            time.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    def cancel(self, timeout: float = STOP_SECONDS) -> Status:
        """Stop the job if it runs, and take its result; what it fetched stays. Raises model.job_stuck."""
        if self.poll().state == "running":
            with self._fault_on_error():
                self.launcher.stop(timeout)
        status = self.collect()
        if status.state == "running":
            pid = result_file.read(self.folder, "progress.json").get("pid")
            raise StackError(JOB_STUCK, id=self.id, pid=pid or "unknown")
        return status

    def is_watched(self) -> bool:
        """Whether another run has polled the job just now, and is to be told of a failure."""
        try:
            return abs(time.time() - os.stat(f"{self.folder}.lock").st_mtime) <= _WATCH_SECONDS
        except OSError:
            return False

    def mark_watched(self) -> None:
        """Note that this run polls the job."""
        with suppress(OSError):
            os.utime(f"{self.folder}.lock", follow_symlinks=False)

    def lost(self) -> StackError:
        """The error that the result is gone."""
        return StackError(JOB_LOST, id=self.id, folder=os.path.dirname(self.folder))

    def _status(self) -> Status:
        """The status of the job; the caller has the lock."""
        state = self.state()
        progress = result_file.read(self.folder, "progress.json").get("progress")
        shown = progress if isinstance(progress, dict) else {}
        if state.name in ("none", "running"):
            return Status(self.id, state.name, shown, {})
        result = result_file.read(self.folder, "result.json")
        if result:
            return Status(self.id, str(result.pop("state", "finished")), shown, result)
        if result_file.version(self.folder):
            error = StackError(JOB_UNREADABLE, id=self.id, why="its file is damaged", log=self.path("log"))
            return Status(self.id, "finished", shown, failure(error))
        return Status(self.id, "died", shown, failure(_death(state, self.path("log"))))

    def _clear(self, keep_log: bool = False) -> None:
        """Remove what the last attempt left; the caller has the lock. Raises OSError."""
        shutil.rmtree(self.launcher.private, ignore_errors=True)
        log = () if keep_log else ("log",)
        self.remove("attempt.json", "run", "running", "status", "status.new", *result_file.NAMES, *log)
        with suppress(OSError):
            os.rmdir(self.folder)

    @contextmanager
    def _fault_on_error(self) -> Iterator[None]:
        """Raise model.job_unusable, with the path, instead of OSError."""
        try:
            yield
        except OSError as error:
            path = str(error.filename or self.folder)
            raise StackError(JOB_UNUSABLE, path=path, why=error.strerror or type(error).__name__) from None


def _death(state: State, log: str) -> StackError:
    """Why a job left no result."""
    if state.name == "interrupted":
        return StackError(JOB_DIED, cause="the host was restarted or all its processes were killed")
    if state.code > 128:
        return StackError(JOB_DIED, cause=f"signal {state.code - 128} ({_signal_name(state.code - 128)})")
    return StackError(JOB_FAILED, what=f"exit status {state.code}", where="its start or its end", log=log)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _make_directory(directory: str) -> None:
    """Create the store and the directory of its jobs, which only its owner can read. Raises OSError."""
    own = os.path.dirname(directory)
    store = os.path.dirname(own)
    if not os.path.isdir(store):
        os.makedirs(store, exist_ok=True)
        os.chmod(store, 0o755)
    for path, mode in ((own, 0o755), (directory, 0o700)):
        try:
            os.mkdir(path, mode)
            os.chmod(path, mode)
        except FileExistsError:
            _check_directory(path, mode)


def _check_directory(path: str, mode: int) -> None:
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.ENOTDIR, "it is not a directory", path)
    if mode == 0o700 and status.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "it belongs to another user", path)
    if mode == 0o700 and stat.S_IMODE(status.st_mode) != mode:
        os.chmod(path, mode)


def _remove_expired(directory: str) -> None:
    """Remove the files of jobs that nobody asked about for a month; those that run write all the time."""
    before = time.time() - _EXPIRY_SECONDS
    for name in os.listdir(directory):
        folder = os.path.join(directory, name)
        with suppress(OSError, Locked):
            if _ID.match(name) and os.stat(folder).st_mtime < before:
                with FileLock(f"{folder}.lock"):
                    shutil.rmtree(folder, ignore_errors=True)
                    os.unlink(f"{folder}.lock")
