# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs: real processes that are started, polled, cancelled and killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.detach import run_and_exit
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job import Job
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.reporter import Reporter
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.worker import Work


def test_a_result_is_kept_until_it_is_collected(job: Job, files: Callable[[], list[str]]) -> None:
    job.start_or_attach(lambda _report: {"changed": True})
    assert job.wait(10).result == {"ok": {"changed": True}}
    assert job.poll().state == "finished"
    assert job.collect().result == {"ok": {"changed": True}}
    assert (job.poll().state, files()) == ("none", [])


def test_a_second_start_attaches(job: Job, started: Callable[..., int]) -> None:
    pid = started()
    Job(job.files.store, job.id).start_or_attach(lambda _report: {"second": True})
    assert (job.pid(), job.poll().state) == (pid, "running")


def test_of_many_starts_at_the_same_time_one_does_the_work(job: Job, tmp_path: Path) -> None:
    def work(_report: Reporter) -> dict[str, Any]:
        with open(tmp_path / "done", "a") as file:
            file.write("x")
        time.sleep(1.5)
        return {}

    children = []
    for _number in range(12):
        pid = os.fork()
        if pid == 0:
            run_and_exit(lambda: job.start_or_attach(work) or 0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 12
    assert job.wait(10).state == "finished"
    assert (tmp_path / "done").read_text() == "x"


def test_cancelling_raises_in_the_work_and_leaves_nothing(
    job: Job,
    tmp_path: Path,
    files: Callable[[], list[str]],
    until: Callable[..., Any],
    started: Callable[..., int],
    slow: Work,
) -> None:
    def work(report: Reporter) -> dict[str, Any]:
        try:
            return slow(report)
        finally:
            (tmp_path / "cleaned").write_text("yes")

    pid = started(work)
    # Before that the signal can come before the work has begun.
    until(lambda: job.poll().progress)
    status = job.cancel()
    assert (status.state, status.result["error"]["id"]) == ("cancelled", "model.job_cancelled")
    assert (tmp_path / "cleaned").read_text() == "yes"
    assert not os.path.exists(f"/proc/{pid}")
    assert files() == ["0123456789abcdef.log"]


def test_a_job_that_ignores_sigterm_is_killed(
    job: Job, until: Callable[..., Any], started: Callable[..., int], slow: Work
) -> None:
    def work(_report: Reporter) -> dict[str, Any]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return slow(_report)

    started(work)
    until(lambda: job.poll().progress)
    assert job.cancel(0.2).state == "died"


def test_the_error_of_a_job_that_can_not_be_killed_has_its_process(
    job: Job, monkeypatch: pytest.MonkeyPatch, started: Callable[..., int]
) -> None:
    """As one whose disk does not answer: the kernel holds all signals back."""
    pid = started()
    begun = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", lambda *_signal: None)
        with pytest.raises(StackError, match=f"its process is {pid}") as caught:
            job.cancel(0.1)
    assert caught.value.id == "model.job_stuck"
    assert time.monotonic() - begun < 10
    assert job.cancel(5).state == "cancelled"
