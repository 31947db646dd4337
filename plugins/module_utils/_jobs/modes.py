# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module does with its option C(job): wait, start or cancel.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from ansible_collections.mistralrs.stack.plugins.module_utils._jobs import result_file
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.function_job import FunctionJob, Status
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.worker import Work

# Looks whether there is anything to do, and returns the whole outcome if there is not.
FastPath = Callable[[], Optional[dict[str, Any]]]

# So often a run begins anew because others took the results of the jobs that it waited for.
_ATTEMPTS = 10


def run(job: FunctionJob, mode: str, work: Work, fast_path: FastPath, start_seconds: float = 1.0) -> Status:
    """Do what the option C(job), which is wait, start or cancel, asks for; how the job is then.

    C(fast_path) is asked first unless the job lives, so that a run without a change starts no process. C(start) waits
    C(start_seconds) for a short job. The status is running (only with start), finished (C(result["ok"]) or
    C(result["error"])), cancelled or died. With C(cancel) it may also be none: there was no job.

    Of several runs that wait, one takes the result. The others ask C(fast_path): if there is nothing to do now all went
    well, else they return the same result. Raises model.job_lost if the result never becomes known.
    """
    if mode == "cancel":
        return job.cancel()
    for _attempt_number in range(_ATTEMPTS):
        status = _attempt(job, mode, work, fast_path, start_seconds)
        if status.state == "running" or status.result:
            return status
    raise job.lost()


def _attempt(job: FunctionJob, mode: str, work: Work, fast_path: FastPath, start_seconds: float) -> Status:
    """How the job is after one attempt to start or follow it; without a result if another run took that."""
    status = job.poll()
    attached = status.state == "running"
    if not attached and status.state not in ("none", "cancelled") and job.is_watched():
        return job.collect()
    if not attached:
        outcome = fast_path()
        if outcome is not None:
            if status.state == "none":
                return Status(job.id, "finished", {}, {"ok": outcome})
            # What an earlier job did and no run has reported.
            status = job.collect()
            return status if "ok" in status.result else Status(job.id, "finished", {}, {"ok": outcome})
        job.start_or_attach(work)
    else:
        job.mark_watched()
    with result_file.open_result(job.folder) as read_result:
        if mode == "wait":
            status = job.wait()
        elif not attached:
            status = job.wait(start_seconds)
        if status.state == "running":
            return status
        collected = job.collect()
        if collected.result:
            return collected
        # Another run took the result, perhaps since the last poll.
        result = status.result or read_result()
    if not result or "error" in status.result:
        return status
    outcome = fast_path()
    if outcome is not None:
        return Status(job.id, "finished", {}, {"ok": outcome})
    result.pop("state", None)
    return Status(job.id, "finished", {}, result)
