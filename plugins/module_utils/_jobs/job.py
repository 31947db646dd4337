# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job: long work on the host, which goes on when the connection or the controller is lost.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.lock import Locked
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job_files import JobFiles, failure
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.worker import JOB_DIED, JOB_UNREADABLE, Work, start
from ansible_collections.mistralrs.stack.plugins.module_utils._process import began

JOB_STUCK = Fault(
    "model.job_stuck",
    "The job {id} does not end; its process is {pid}.",
    "Its disk or network file system probably does not answer; look at the host's kernel log.",
)
JOB_LOST = Fault(
    "model.job_lost",
    "The job {id} has ended, but what came out is gone.",
    "Run it again, and look whether something else removes files from {folder}.",
)

# So long after the last poll of a job its failure is reported to whoever polls next. Later it is tried again instead.
_WATCH_SECONDS = 30.0


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


class Job:
    """One job of a store; C(job_id) is that of its options."""

    def __init__(self, store: str, job_id: str) -> None:
        self.id = job_id
        self.files = JobFiles(store, job_id)
        self._polled_result = 0

    def start_or_attach(self, work: Work) -> None:
        """Start the job unless it lives, or has a good result that the last C(poll) did not see."""
        with self.files.fault_on_error():
            self.files.make_directory()
            try:
                with self.files.lock() as descriptor:
                    if "ok" in self.files.read("result.json") and self.files.result_version() != self._polled_result:
                        return
                    self.files.remove("json", "tmp", "result.json", "result.tmp", "log")
                    self.files.reserve_result()
                    self.files.remove_expired()
                    self.mark_watched()
                    start(self.files, work, descriptor)
            except Locked:
                self.mark_watched()

    def poll(self) -> Status:
        """How the job is now."""
        with self.files.fault_on_error():
            try:
                with self.files.lock(shared=True, create=False):
                    return self._ended()
            except Locked:
                return self._running()
            except FileNotFoundError:
                return self._none()

    def collect(self) -> Status:
        """Take the result, which is removed; of two who try at the same time one gets it."""
        with self.files.fault_on_error():
            try:
                with self.files.lock(create=False):
                    status = self._ended()
                    self.files.remove("json", "tmp", "result.json", "result.tmp")
                    if "ok" in status.result:
                        self.files.remove("log")
                    self.files.remove("lock")
                    return status
            except Locked:
                return self._running()
            except FileNotFoundError:
                return self._none()

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

    def cancel(self, timeout: float = 30.0) -> Status:
        """Stop the job if it lives, and take its result; what it fetched stays. Raises model.job_stuck."""
        until = time.monotonic() + timeout
        sent = killed = 0
        while True:
            status = self.poll()
            if status.state != "running":
                return self.collect()
            pid = self.pid()
            if pid and sent != pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                sent = pid
            if time.monotonic() > until:
                if killed or not pid:
                    raise StackError(JOB_STUCK, id=self.id, pid=pid or "unknown")
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed, until = pid, time.monotonic() + 5
            time.sleep(0.02)

    def pid(self) -> int:
        """The process that does the work; 0 if it is not known."""
        record = self.files.read("json")
        pid, recorded = record.get("pid"), record.get("began")
        if not isinstance(pid, int) or pid <= 1 or not recorded:
            return 0
        return pid if began(pid) == recorded else 0

    def is_watched(self) -> bool:
        """Whether another run has polled the job just now, and is to be told of a failure."""
        try:
            return abs(time.time() - os.stat(self.files.path("lock")).st_mtime) <= _WATCH_SECONDS
        except OSError:
            return False

    def mark_watched(self) -> None:
        """Note that this run polls the job."""
        with suppress(OSError):
            os.utime(self.files.path("lock"), follow_symlinks=False)

    def lost(self) -> StackError:
        """The error that the result is gone."""
        return StackError(JOB_LOST, id=self.id, folder=self.files.directory)

    def _none(self) -> Status:
        self._polled_result = 0
        return Status(self.id, "none", {}, {})

    def _running(self) -> Status:
        return Status(self.id, "running", _progress(self.files.read("json")), {})

    def _ended(self) -> Status:
        """The status of a job whose lock is free."""
        record = self.files.read("json")
        result = self.files.read("result.json")
        version = self.files.result_version()
        self._polled_result = version if result else 0
        if result:
            state = str(result.pop("state", "finished"))
            return Status(self.id, state, _progress(record), result)
        if version:
            log = self.files.path("log")
            error = StackError(JOB_UNREADABLE, id=self.id, why="its file is damaged", log=log)
            return Status(self.id, "finished", _progress(record), failure(error))
        if not record:
            return Status(self.id, "none", {}, {})
        error = StackError(JOB_DIED, cause="the host was restarted or all its processes were killed")
        return Status(self.id, "died", _progress(record), failure(error))


def _progress(record: Mapping[str, Any]) -> dict[str, Any]:
    progress = record.get("progress")
    return progress if isinstance(progress, dict) else {}
