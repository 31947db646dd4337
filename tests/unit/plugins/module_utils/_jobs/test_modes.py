# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module returns that waits for a job, starts one or cancels one."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.detach import run_and_exit
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job import Job, Status
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.modes import FastPath, run
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.reporter import Reporter
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.worker import Work

FAULT = Fault("model.of_this_test", "The {what} is wrong.", "Mend it.")


def outcome(value: dict[str, Any] | None) -> FastPath:
    return lambda: value


def test_a_run_without_a_change_starts_nothing(job: Job, slow: Work) -> None:
    status = run(job, "start", slow, outcome({"changed": False}))
    assert (status.state, status.result) == ("finished", {"ok": {"changed": False}})
    assert not os.path.exists(job.files.store)


def test_a_short_job_is_finished_in_the_same_run(job: Job, files: Callable[[], list[str]]) -> None:
    status = run(job, "start", lambda _report: {"changed": True}, outcome(None), 30)
    assert (status.state, status.result, files()) == ("finished", {"ok": {"changed": True}}, [])


def test_a_long_job_is_running_until_its_result_is_returned_once(
    job: Job, tmp_path: Path, until: Callable[..., Any]
) -> None:
    def work(report: Reporter) -> dict[str, Any]:
        report.update("m", 1, 4, "download")
        until((tmp_path / "go").exists)
        return {"changed": True}

    status = run(job, "start", work, outcome(None), 0.1)
    assert status.as_returned()["state"] == "running"
    until(lambda: run(job, "start", work, outcome(None), 0).progress)
    (tmp_path / "go").touch()
    job.wait(10)
    assert run(job, "start", work, outcome(None)).result == {"ok": {"changed": True}}
    assert run(job, "start", work, outcome({"changed": False})).result == {"ok": {"changed": False}}


def expire_watch(job: Job) -> None:
    os.utime(job.files.path("lock"), (1, 1))


def test_a_good_result_that_no_run_returned_is_returned_by_a_later_one(job: Job, slow: Work) -> None:
    job.start_or_attach(lambda _report: {"changed": True})
    job.wait(10)
    expire_watch(job)
    assert run(job, "start", slow, outcome({"changed": False})).result == {"ok": {"changed": True}}


def test_a_good_result_that_is_no_longer_true_is_dropped(job: Job) -> None:
    job.start_or_attach(lambda _report: {"changed": True})
    job.wait(10)
    expire_watch(job)
    status = run(job, "wait", lambda _report: {"new": True}, outcome(None))
    assert status.result == {"ok": {"new": True}}


@pytest.mark.parametrize("cause", ["fails", "dies"])
def test_a_run_that_polls_gets_the_failure_and_a_later_run_tries_again(job: Job, cause: str) -> None:
    def work(report: Reporter) -> dict[str, Any]:
        time.sleep(0.2)
        if cause == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        raise StackError(FAULT, what="thing")

    for _number in range(2):
        assert run(job, "start", work, outcome(None), 0).state == "running"
        job.wait(10)
        expected = "model.job_died" if cause == "dies" else "model.of_this_test"
        assert run(job, "start", work, outcome(None), 0).result["error"]["id"] == expected
    job.start_or_attach(work)
    job.wait(10)
    expire_watch(job)
    assert run(job, "wait", lambda _report: {}, outcome(None)).result == {"ok": {}}


def equal_runs(job: Job, mode: str, work: Work, fast_path: FastPath, folder: Path) -> list[dict[str, Any]]:
    """What five runs at once return, each a process of its own."""
    children = []
    for number in range(5):
        pid = os.fork()
        if pid == 0:

            def run_until_ended(number: int = number) -> int:
                status = run(job, mode, work, fast_path, 0.1)
                while status.state == "running":
                    time.sleep(0.05)
                    status = run(job, mode, work, fast_path, 0.1)
                (folder / f"result{number}").write_text(json.dumps(status.result))
                return 0

            run_and_exit(run_until_ended)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
    return [json.loads((folder / f"result{number}").read_text()) for number in range(5)]


@pytest.mark.parametrize("mode", ["wait", "start"])
@pytest.mark.parametrize("cause", ["fails", "dies", "too large"])
def test_all_runs_that_wait_get_the_failure(job: Job, tmp_path: Path, cause: str, mode: str) -> None:
    """Of five equal runs one takes the result; for the others nothing is not as good as success."""

    def work(_report: Reporter) -> dict[str, Any]:
        with (tmp_path / "tries").open("a") as file:
            file.write("x")
        time.sleep(1)
        if cause == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if cause == "too large":
            return {"types": ["type"] * 1_000_000}
        raise StackError(FAULT, what="thing")

    expected = {"fails": FAULT.id, "dies": "model.job_died", "too large": "model.job_unreadable"}[cause]
    results = equal_runs(job, mode, work, outcome(None), tmp_path)
    assert [each.get("error", {}).get("id") for each in results] == [expected] * 5
    # Who waits shares the failure. Who asks now and then finds no job any more, and tries again.
    assert len((tmp_path / "tries").read_text()) <= {"wait": 2, "start": 5}[mode]


def test_of_two_runs_one_reports_the_change_even_if_both_saw_the_result(job: Job) -> None:
    other = Job(job.files.store, job.id)

    class Slower(Job):
        def wait(self, seconds: float | None = None) -> Status:
            status = super().wait(seconds)
            assert other.collect().result == {"ok": {"changed": True}}
            return status

    answers = iter([None, {"changed": False}])
    status = run(Slower(job.files.store, job.id), "wait", lambda _report: {"changed": True}, lambda: next(answers))
    assert (status.state, status.result) == ("finished", {"ok": {"changed": False}})


@pytest.mark.parametrize("mode", ["wait", "start"])
def test_all_runs_that_wait_get_the_outcome(job: Job, tmp_path: Path, mode: str) -> None:
    def work(_report: Reporter) -> dict[str, Any]:
        time.sleep(1)
        (tmp_path / "done").touch()
        return {"changed": True, "models": ["m"]}

    def fast_path() -> dict[str, Any] | None:
        return {"changed": False, "models": ["m"]} if (tmp_path / "done").exists() else None

    results = equal_runs(job, mode, work, fast_path, tmp_path)
    assert [each["ok"]["models"] for each in results] == [["m"]] * 5
    assert any(each["ok"]["changed"] for each in results)


def test_a_result_that_is_always_gone_is_no_success(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else clears the job's directory."""
    wait = Job.wait

    def cleared(each: Job, seconds: float | None = None) -> Status:
        wait(each, 10)
        each.collect()
        return each.poll()

    monkeypatch.setattr(Job, "wait", cleared)
    monkeypatch.setattr(json, "loads", lambda _text: {})
    with pytest.raises(StackError, match="what came out is gone") as caught:
        run(job, "wait", lambda _report: {"changed": True}, outcome(None))
    assert caught.value.id == "model.job_lost"


def test_cancelling_without_a_job_does_nothing(job: Job, slow: Work) -> None:
    assert run(job, "cancel", slow, outcome(None)).state == "none"
    assert not os.path.exists(job.files.store)
