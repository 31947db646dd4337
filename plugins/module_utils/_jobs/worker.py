# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of a job: a worker that does the work, and a keeper that reports how the worker died.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Both have the job's lock. They are forks of the module and not new programs, because secrets then stay in memory.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import traceback
from contextlib import suppress
from typing import Any, Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.detach import fork_detached, run_and_exit
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job_files import MAX_BYTES, JobFiles, failure
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.reporter import Reporter
from ansible_collections.mistralrs.stack.plugins.module_utils._process import began

JOB_FAILED = Fault(
    "model.job_failed",
    "The job failed unexpectedly: {what} at {where}.",
    "Run it again; if it happens again, report it together with the job's log {log}.",
)
JOB_DIED = Fault(
    "model.job_died",
    "The job was ended from outside: {cause}.",
    "What it fetched is kept; run it again. If the kernel ended it, the host has too little memory (see dmesg).",
)
JOB_CANCELLED = Fault(
    "model.job_cancelled",
    "The job was cancelled.",
    "What it fetched is kept; run it again to go on.",
)
JOB_UNREADABLE = Fault(
    "model.job_unreadable",
    "The job {id} has ended, but what came out can't be told: {why}.",
    "Run it again; if it happens again, report it together with the job's log {log}.",
)

# The work of a job: gets the reporter of its progress and returns the outcome.
Work = Callable[[Reporter], dict[str, Any]]

_NICENESS = 5
_OOM_SCORE = 500


class Cancelled(BaseException):
    """The job is to stop; not an Exception, so that nothing swallows it."""


def start(files: JobFiles, work: Work, lock: int) -> None:
    """Start the processes of the job, which keep the descriptor C(lock) open. Raises OSError."""
    if not fork_detached(lambda: _run_keeper(files, work), lock):
        raise OSError(errno.EAGAIN, "its process could not be started", files.directory)


def _run_keeper(files: JobFiles, work: Work) -> int:
    """Start the worker and report how it died if it can't report that itself."""
    child = os.fork()
    if child == 0:
        run_and_exit(lambda: _run_worker(files, work))
    status = os.waitpid(child, 0)[1]
    if not os.path.exists(files.path("result.json")):
        code = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        cause = f"signal {code} ({_signal_name(code)})" if code else f"status {os.WEXITSTATUS(status)}"
        error = StackError(JOB_DIED, cause=cause)
        files.log(str(error))
        files.write("result.json", {"state": "died", **failure(error)})
    return 0


def _run_worker(files: JobFiles, work: Work) -> int:
    """Do the work and leave its result."""
    pid = os.getpid()
    record: dict[str, Any] = {"pid": pid, "began": began(pid), "progress": {}}

    def write(progress: dict[str, Any]) -> None:
        # That nobody can see the progress does not matter to the work.
        with suppress(OSError):
            files.write("json", {**record, "progress": progress})

    stopping: list[bool] = []

    def stop(_number: int, _frame: object) -> None:
        if not stopping:
            stopping.append(True)
            raise Cancelled

    _yield_to_others()
    files.log(f"process {pid} started")
    result: dict[str, Any]
    try:
        signal.signal(signal.SIGTERM, stop)
        write({})
        result = {"ok": work(Reporter(write, files.log))}
        size = len(json.dumps(result, default=str))
        if size > MAX_BYTES:
            why = f"it has {size} bytes, more than the {MAX_BYTES} that are read"
            raise StackError(JOB_UNREADABLE, id=files.id, why=why, log=files.path("log"))
        stopping.append(True)
    except BaseException as error:
        is_cancelled = bool(stopping)
        stopping.append(True)
        if is_cancelled:
            result = {"state": "cancelled", **failure(StackError(JOB_CANCELLED))}
        elif isinstance(error, StackError):
            result = {"state": "finished", **failure(error)}
        else:
            log = files.path("log")
            fault = StackError(JOB_FAILED, what=_error_kind(error), where=_error_location(error), log=log)
            result = {"state": "finished", **failure(fault)}
    files.log("finished" if "ok" in result else result["error"]["msg"])
    files.write("result.json", result)
    return 0


def _yield_to_others() -> None:
    """Let the host's other processes have the CPU and the disk first, and be the first to go when memory runs out."""
    for path, text in (("/proc/self/oom_score_adj", str(_OOM_SCORE)), ("/proc/self/comm", "mistral-model")):
        with suppress(OSError), open(path, "w") as file:
            file.write(text)
    # The kernel takes the priority at the disk from the niceness.
    with suppress(OSError):
        os.nice(_NICENESS)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _error_kind(error: BaseException) -> str:
    """The kind of an error; its own text could contain secrets."""
    if isinstance(error, OSError) and error.errno:
        return f"{type(error).__name__} ({os.strerror(error.errno)})"
    return type(error).__name__


def _error_location(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "an unknown place"
