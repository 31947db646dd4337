# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module returns that waits for a job, starts one or cancels one."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs import result_file
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.function_job import FunctionJob, Status
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.modes import FastPath, run
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.worker import Work

from tests.unit.plugins.module_utils._jobs.job_work import FAULT, Fails, Returns


def outcome(value: dict[str, Any] | None) -> FastPath:
    return lambda: value


def test_a_run_without_a_change_starts_nothing(job: FunctionJob, slow: Work) -> None:
    status = run(job, "start", slow, outcome({"changed": False}))
    assert (status.state, status.result) == ("finished", {"ok": {"changed": False}})
    assert not os.path.exists(job.folder)


def test_a_short_job_is_finished_in_the_same_run(job: FunctionJob, files: Callable[[], list[str]]) -> None:
    status = run(job, "start", Returns({"changed": True}).work, outcome(None), 30)
    assert (status.state, status.result, files()) == ("finished", {"ok": {"changed": True}}, [])


def test_a_long_job_is_running_until_its_result_is_returned_once(
    job: FunctionJob, tmp_path: Path, until: Callable[..., Any]
) -> None:
    work = Returns({"changed": True}, go=tmp_path / "go").work
    status = run(job, "start", work, outcome(None), 0.1)
    assert status.as_returned()["state"] == "running"
    until(lambda: run(job, "start", work, outcome(None), 0).progress)
    (tmp_path / "go").touch()
    job.wait(10)
    assert run(job, "start", work, outcome(None)).result == {"ok": {"changed": True}}
    assert run(job, "start", work, outcome({"changed": False})).result == {"ok": {"changed": False}}


def expire_watch(job: FunctionJob) -> None:
    os.utime(f"{job.folder}.lock", (1, 1))


def test_a_good_result_that_no_run_returned_is_returned_by_a_later_one(job: FunctionJob, slow: Work) -> None:
    job.start_or_attach(Returns({"changed": True}).work)
    job.wait(10)
    expire_watch(job)
    assert run(job, "start", slow, outcome({"changed": False})).result == {"ok": {"changed": True}}


def test_a_good_result_that_is_no_longer_true_is_dropped(job: FunctionJob) -> None:
    job.start_or_attach(Returns({"changed": True}).work)
    job.wait(10)
    expire_watch(job)
    status = run(job, "wait", Returns({"new": True}).work, outcome(None))
    assert status.result == {"ok": {"new": True}}


@pytest.mark.parametrize("cause", ["fails", "dies"])
def test_a_run_that_polls_gets_the_failure_and_a_later_run_tries_again(job: FunctionJob, cause: str) -> None:
    work = Fails(cause, seconds=0.2).work
    for _number in range(2):
        assert run(job, "start", work, outcome(None), 0).state == "running"
        job.wait(10)
        expected = "model.job_died" if cause == "dies" else "model.of_this_test"
        assert run(job, "start", work, outcome(None), 0).result["error"]["id"] == expected
    job.start_or_attach(work)
    job.wait(10)
    expire_watch(job)
    assert run(job, "wait", Returns({}).work, outcome(None)).result == {"ok": {}}


def equal_runs(job: FunctionJob, mode: str, work: Work, fast_path: FastPath, folder: Path) -> list[dict[str, Any]]:
    """What five runs at once return, each a process of its own."""
    children = []
    for number in range(5):
        pid = os.fork()
        if pid == 0:
            try:
                status = run(job, mode, work, fast_path, 0.1)
                while status.state == "running":
                    time.sleep(0.05)
                    status = run(job, mode, work, fast_path, 0.1)
                (folder / f"result{number}").write_text(json.dumps(status.result))
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
    return [json.loads((folder / f"result{number}").read_text()) for number in range(5)]


@pytest.mark.parametrize("mode", ["wait", "start"])
@pytest.mark.parametrize("cause", ["fails", "dies", "too large"])
def test_all_runs_that_wait_get_the_failure(job: FunctionJob, tmp_path: Path, cause: str, mode: str) -> None:
    """Of five equal runs one takes the result; for the others nothing is not as good as success."""

    work = Fails(cause, seconds=1, mark=tmp_path / "tries").work
    expected = {"fails": FAULT.id, "dies": "model.job_died", "too large": "model.job_unreadable"}[cause]
    results = equal_runs(job, mode, work, outcome(None), tmp_path)
    assert [each.get("error", {}).get("id") for each in results] == [expected] * 5
    # Who waits shares the failure. Who asks now and then finds no job any more, and tries again.
    assert len((tmp_path / "tries").read_text()) <= {"wait": 2, "start": 5}[mode]


def test_of_two_runs_one_reports_the_change_even_if_both_saw_the_result(job: FunctionJob) -> None:
    other = FunctionJob(job.folder, job.launcher)

    class Slower(FunctionJob):
        def wait(self, seconds: float | None = None) -> Status:
            status = super().wait(seconds)
            assert other.collect().result == {"ok": {"changed": True}}
            return status

    answers = iter([None, {"changed": False}])
    status = run(Slower(job.folder, job.launcher), "wait", Returns({"changed": True}).work, lambda: next(answers))
    assert (status.state, status.result) == ("finished", {"ok": {"changed": False}})


@pytest.mark.parametrize("mode", ["wait", "start"])
def test_all_runs_that_wait_get_the_outcome(job: FunctionJob, tmp_path: Path, mode: str) -> None:
    work = Returns({"changed": True, "models": ["m"]}, seconds=1, mark=tmp_path / "done").work

    def fast_path() -> dict[str, Any] | None:
        return {"changed": False, "models": ["m"]} if (tmp_path / "done").exists() else None

    results = equal_runs(job, mode, work, fast_path, tmp_path)
    assert [each["ok"]["models"] for each in results] == [["m"]] * 5
    assert any(each["ok"]["changed"] for each in results)


def test_a_result_that_is_always_gone_is_no_success(job: FunctionJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else clears the job's directory."""
    wait = FunctionJob.wait

    def cleared(each: FunctionJob, seconds: float | None = None) -> Status:
        wait(each, 10)
        each.collect()
        return each.poll()

    monkeypatch.setattr(FunctionJob, "wait", cleared)
    monkeypatch.setattr(result_file, "_load", lambda _descriptor: {})
    with pytest.raises(StackError, match="its result is gone") as caught:
        run(job, "wait", Returns({"changed": True}).work, outcome(None))
    assert caught.value.id == "model.job_lost"


def test_cancelling_without_a_job_does_nothing(job: FunctionJob, slow: Work) -> None:
    assert run(job, "cancel", slow, outcome(None)).state == "none"
    assert not os.path.exists(job.folder)
