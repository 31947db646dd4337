# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker leaves when its work ends, fails or is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job import Job
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.reporter import Reporter

FAULT = Fault("model.of_this_test", "The {what} is wrong.", "Mend it.")


def test_a_killed_job_has_died_of_the_signal_and_can_be_started_again(job: Job, started: Callable[..., int]) -> None:
    os.kill(started(), signal.SIGKILL)
    status = job.wait(10)
    assert status.state == "died"
    assert "signal 9 (SIGKILL)" in status.result["error"]["msg"]
    job.start_or_attach(lambda _report: {"again": True})
    assert job.wait(10).result == {"ok": {"again": True}}


def test_a_job_whose_keeper_was_killed_too_has_died(job: Job, started: Callable[..., int]) -> None:
    pid = started()
    keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    assert job.wait(10).state == "died"


def test_a_fault_of_the_work_is_the_error(job: Job) -> None:
    def work(_report: Reporter) -> dict[str, Any]:
        raise StackError(FAULT, what="thing")

    job.start_or_attach(work)
    error = {"id": "model.of_this_test", "msg": "The thing is wrong. Mend it. [model.of_this_test]"}
    assert job.wait(10).result == {"error": error}


def test_an_unexpected_error_has_its_kind_and_location_but_not_its_text(
    job: Job, files: Callable[[], list[str]]
) -> None:
    def work(_report: Reporter) -> dict[str, Any]:
        raise ValueError("https://host/?token=hf_secret")

    job.start_or_attach(work)
    error = job.wait(10).result["error"]
    assert error["id"] == "model.job_failed"
    assert f"ValueError at {Path(__file__).name}:" in error["msg"]
    for name in files():
        assert "hf_secret" not in Path(job.files.directory, name).read_text()
