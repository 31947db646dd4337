# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of functions: real processes that are started, polled, cancelled and killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs import function_job
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.function_job import FunctionJob
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.launch import NotStarted, Process
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.worker import Work

from tests.unit.plugins.module_utils._jobs.job_work import Endless, Fails, Returns


def same(job: FunctionJob) -> FunctionJob:
    """The job as another run has it."""
    return FunctionJob(job.folder, job.launcher)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def runs(pid: int) -> bool:
    """Whether there is such a process that has not ended; process 1 takes its time to forget one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_result_is_kept_until_it_is_collected(job: FunctionJob, files: Callable[[], list[str]]) -> None:
    job.start_or_attach(Returns({"changed": True}).work)
    assert job.wait(20).result == {"ok": {"changed": True}}
    assert job.poll().state == "finished"
    assert job.collect().result == {"ok": {"changed": True}}
    assert (job.poll().state, files()) == ("none", [])
    assert not os.path.exists(job.folder)


def test_a_second_start_attaches(job: FunctionJob, started: Callable[..., int], tmp_path: Path) -> None:
    pid = started()
    same(job).start_or_attach(Returns({}, mark=tmp_path / "second").work)
    assert (started(), job.poll().state) == (pid, "running")
    assert not (tmp_path / "second").exists()


def test_of_many_starts_at_the_same_time_one_does_the_work(job: FunctionJob, tmp_path: Path) -> None:
    work = Returns({}, seconds=1.5, mark=tmp_path / "done").work
    children = []
    for _number in range(12):
        pid = os.fork()
        if pid == 0:
            try:
                job.start_or_attach(work)
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 12
    assert job.wait(20).state == "finished"
    assert (tmp_path / "done").read_text() == "x"


def test_cancelling_raises_in_the_work_and_leaves_nothing(
    job: FunctionJob, tmp_path: Path, files: Callable[[], list[str]], started: Callable[..., int]
) -> None:
    pid = started(Endless(cleaned=tmp_path / "cleaned").work)
    status = job.cancel()
    assert (status.state, status.result["error"]["id"]) == ("cancelled", "model.job_cancelled")
    assert (tmp_path / "cleaned").read_text() == "yes"
    assert not runs(pid)
    assert files() == ["0123456789abcdef/log"]


def test_a_job_that_ignores_sigterm_is_killed(job: FunctionJob, started: Callable[..., int]) -> None:
    started(Endless(deaf=True).work)
    assert job.cancel(0.2).state == "died"


def test_the_error_of_a_job_that_can_not_be_killed_has_its_process(
    job: FunctionJob, started: Callable[..., int]
) -> None:
    """As one whose disk does not answer: the kernel holds all signals back."""

    class Stuck(Process):
        def stop(self, seconds: float) -> None:
            time.sleep(seconds)

    pid = started()
    with pytest.raises(StackError, match=f"its process is {pid}") as caught:
        FunctionJob(job.folder, Stuck(job.folder)).cancel(0.1)
    assert caught.value.id == "model.job_stuck"
    assert job.cancel(5).state == "cancelled"


def test_a_killed_job_has_died_of_the_signal_and_can_be_started_again(
    job: FunctionJob, started: Callable[..., int]
) -> None:
    os.kill(started(), signal.SIGKILL)
    status = job.wait(20)
    assert status.state == "died"
    assert "signal 9 (SIGKILL)" in status.result["error"]["msg"]
    job.start_or_attach(Returns({"again": True}).work)
    assert job.wait(20).result == {"ok": {"again": True}}


def test_a_job_of_which_everything_was_killed_has_died(job: FunctionJob, started: Callable[..., int]) -> None:
    os.killpg(os.getpgid(started()), signal.SIGKILL)
    status = job.wait(20)
    assert (status.state, status.result["error"]["id"]) == ("died", "model.job_died")
    assert "all its processes were killed" in status.result["error"]["msg"]


def test_a_job_runs_as_long_as_its_worker(job: FunctionJob, started: Callable[..., int], tmp_path: Path) -> None:
    """Also if the shell that started it was killed: nobody else is to do the work at the same time."""
    pid = started()
    os.kill(parent_of(pid), signal.SIGKILL)
    same(job).start_or_attach(Returns({}, mark=tmp_path / "second").work)
    assert job.poll().state == "running"
    assert job.cancel().state == "cancelled"
    assert not (tmp_path / "second").exists()


def test_a_job_that_its_launcher_refuses_leaves_nothing(job: FunctionJob, slow: Work) -> None:
    class Refuses(Process):
        def start(self, script: str, folder: str) -> None:
            raise NotStarted("Failed to start transient service unit: no.")

    with pytest.raises(StackError, match="service unit: no") as caught:
        FunctionJob(job.folder, Refuses(job.folder)).start_or_attach(slow)
    assert caught.value.id == "model.job_not_started"
    assert job.poll().state == "none"
    assert not os.path.exists(job.folder)


def test_a_worker_that_does_not_start_is_told_from_one_that_was_killed(
    job: FunctionJob, slow: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function_job, "code_archive", lambda _work: b"not an archive")
    job.start_or_attach(slow)
    status = job.wait(20)
    assert (status.state, status.result["error"]["id"]) == ("died", "model.job_failed")
    assert "exit status 1" in status.result["error"]["msg"]
    assert "SyntaxError" in Path(job.path("log")).read_text()


@pytest.mark.parametrize("cause", ["fails", "unexpected"])
def test_a_failed_job_keeps_its_log(job: FunctionJob, files: Callable[[], list[str]], cause: str) -> None:
    job.start_or_attach(Fails(cause).work)
    job.wait(20)
    job.collect()
    assert files() == ["0123456789abcdef/log"]
