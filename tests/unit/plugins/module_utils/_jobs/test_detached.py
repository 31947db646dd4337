# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs: real processes that are started, watched, cancelled and killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils import _errors, _process
from ansible_collections.mistralrs.stack.plugins.module_utils._files import lock
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs import detached as subject

ID = "0123456789abcdef"
FAULT = _errors.Fault("model.of_this_test", "The {what} is wrong.", "Mend it.")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[subject.Job]:
    job = subject.Job(str(tmp_path / "store"), ID)
    yield job
    job.cancel(2)


def files(job: subject.Job) -> list[str]:
    return sorted(os.listdir(job._directory)) if os.path.isdir(job._directory) else []


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def slow(report: subject.Reporter) -> dict[str, Any]:
    """Work that never ends by itself."""
    report.update("m", 10, 100, "download")
    while True:
        time.sleep(0.01)


def started(job: subject.Job, work: subject.Work = slow) -> int:
    job.start_or_attach(work)
    return int(until(job._pid))


def test_the_outcome_of_a_job_is_there_when_it_has_ended_and_gone_when_it_was_collected(job: subject.Job) -> None:
    job.start_or_attach(lambda _report: {"changed": True})
    assert job.wait(10).result == {"ok": {"changed": True}}
    assert job.poll().state == "finished"
    assert job.collect().result == {"ok": {"changed": True}}
    assert (job.poll().state, files(job)) == ("none", [])


def test_a_job_is_in_a_session_of_its_own_without_any_open_file_of_the_module(job: subject.Job, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with secret.open():
        pid = started(job)
    assert os.getsid(pid) != os.getsid(0)
    targets = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    assert sorted(set(targets)) == sorted(["/dev/null", job._path("lock")])
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(status.split("SigIgn:")[1].split()[0], 16)
    assert ignored >> (signal.SIGHUP - 1) & 1
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"
    assert os.getpriority(os.PRIO_PROCESS, pid) >= 5


def test_a_second_start_attaches(job: subject.Job) -> None:
    pid = started(job)
    subject.Job(job._store, ID).start_or_attach(lambda _report: {"second": True})
    assert (job._pid(), job.poll().state) == (pid, "running")


def test_of_many_starts_at_the_same_time_one_does_the_work(job: subject.Job, tmp_path: Path) -> None:
    def work(_report: subject.Reporter) -> dict[str, Any]:
        with open(tmp_path / "done", "a") as file:
            file.write("x")
        time.sleep(1.5)
        return {}

    children = []
    for _number in range(12):
        pid = os.fork()
        if pid == 0:
            subject._forked(lambda: job.start_or_attach(work) or 0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 12
    assert job.wait(10).state == "finished"
    assert (tmp_path / "done").read_text() == "x"


def test_cancelling_raises_in_the_work_and_leaves_nothing(job: subject.Job, tmp_path: Path) -> None:
    def work(report: subject.Reporter) -> dict[str, Any]:
        try:
            return slow(report)
        finally:
            (tmp_path / "cleaned").write_text("yes")

    pid = started(job, work)
    status = job.cancel()
    assert (status.state, status.result["error"]["id"]) == ("cancelled", "model.job_cancelled")
    assert (tmp_path / "cleaned").read_text() == "yes"
    assert not os.path.exists(f"/proc/{pid}")
    assert files(job) == ["0123456789abcdef.log"]


def test_a_job_that_does_not_listen_is_killed(job: subject.Job) -> None:
    def work(_report: subject.Reporter) -> dict[str, Any]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return slow(_report)

    started(job, work)
    until(lambda: job.poll().progress)
    assert job.cancel(0.2).state == "died"


def test_a_job_that_can_not_be_killed_is_named(job: subject.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose disk does not answer: the kernel holds all signals back."""
    pid = started(job)
    begun = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(subject.os, "kill", lambda *_signal: None)
        with pytest.raises(_errors.StackError, match=f"its process is {pid}") as caught:
            job.cancel(0.1)
    assert caught.value.id == "model.job_stuck"
    assert time.monotonic() - begun < 10
    assert job.cancel(5).state == "cancelled"


def test_a_killed_job_is_said_to_have_died_of_the_signal_and_can_be_started_again(job: subject.Job) -> None:
    os.kill(started(job), signal.SIGKILL)
    status = job.wait(10)
    assert status.state == "died"
    assert "signal 9 (SIGKILL)" in status.result["error"]["msg"]
    job.start_or_attach(lambda _report: {"again": True})
    assert job.wait(10).result == {"ok": {"again": True}}


def test_a_job_whose_keeper_was_killed_too_is_said_to_have_died(job: subject.Job) -> None:
    pid = started(job)
    keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    assert job.wait(10).state == "died"


def test_a_fault_of_the_work_is_the_error(job: subject.Job) -> None:
    def work(_report: subject.Reporter) -> dict[str, Any]:
        raise _errors.StackError(FAULT, what="thing")

    job.start_or_attach(work)
    error = {"id": "model.of_this_test", "msg": "The thing is wrong. Mend it. [model.of_this_test]"}
    assert job.wait(10).result == {"error": error}


def test_an_unexpected_error_is_said_with_its_kind_and_place_but_without_its_text(job: subject.Job) -> None:
    def work(_report: subject.Reporter) -> dict[str, Any]:
        raise ValueError("https://host/?token=hf_secret")

    job.start_or_attach(work)
    error = job.wait(10).result["error"]
    assert error["id"] == "model.job_failed"
    assert f"ValueError at {Path(__file__).name}:" in error["msg"]
    for name in files(job):
        assert "hf_secret" not in Path(job._directory, name).read_text()


def test_only_the_owner_can_read_anything(job: subject.Job) -> None:
    started(job)
    until(lambda: job.poll().progress)
    assert os.stat(job._directory).st_mode & 0o777 == 0o700
    assert {os.stat(os.path.join(job._directory, name)).st_mode & 0o077 for name in files(job)} == {0}


def test_a_link_in_place_of_the_directory_is_refused(job: subject.Job, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.makedirs(os.path.dirname(job._directory))
    os.symlink(tmp_path / "elsewhere", job._directory)
    with pytest.raises(_errors.StackError, match="model.job_unusable"):
        job.start_or_attach(slow)


def test_an_id_depends_on_the_options_and_not_on_secrets() -> None:
    params = {"name": "m", "source": "https://u:p@host/a?id=1", "token": "t", "job": "start", "_ansible_debug": True}
    same = {"name": "m", "source": "https://host/a?id=1", "token": "other", "job": "wait"}
    assert subject.job_id(params) == subject.job_id(same)
    assert len(subject.job_id(params)) == 16
    assert subject.job_id(params) != subject.job_id({**params, "source": "https://host/a?id=2"})
    assert subject.job_id({"tokenizer": "a"}) != subject.job_id({"tokenizer": "b"})
    assert subject.job_id({"key": "a"}, {"key"}) == subject.job_id({})
    several, others = ({"models": [{"name": "m", "source": f"https://{user}host/a"}]} for user in ("u:p@", ""))
    assert subject.job_id(several) == subject.job_id(others)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_the_average_of_the_last_ten_seconds_and_counts_nothing_that_was_there() -> None:
    written: list[dict[str, Any]] = []
    clock = Clock()
    reporter = subject.Reporter(written.append, clock=clock)
    done = 5000
    reporter.update("m", done, 100000, "download")
    assert (written[-1]["rate"], written[-1]["eta"]) == (0, None)
    for step in range(400):
        clock.now += 0.1
        done += 100 if step < 200 else 10
        reporter.update("m", done, 100000, "download")
    assert 95 <= written[-1]["rate"] <= 105
    assert written[-1]["eta"] == pytest.approx((100000 - written[-1]["done"]) / written[-1]["rate"], abs=1)
    assert len(written) <= 82
    reporter.update("m", 100000, 100000, "download")
    assert (written[-1]["done"], written[-1]["eta"]) == (100000, 0)
    reporter.update("m", 0, 100000, "verify")
    assert (written[-1]["phase"], written[-1]["rate"]) == ("verify", 0)


def outcome(value: dict[str, Any] | None) -> Callable[[], dict[str, Any] | None]:
    return lambda: value


def test_a_run_without_a_change_starts_nothing(job: subject.Job) -> None:
    status = subject.run(job, "start", slow, outcome({"changed": False}))
    assert (status.state, status.result) == ("finished", {"ok": {"changed": False}})
    assert not os.path.exists(job._store)


def test_a_short_job_is_finished_in_the_same_run(job: subject.Job) -> None:
    status = subject.run(job, "start", lambda _report: {"changed": True}, outcome(None))
    assert (status.state, status.result, files(job)) == ("finished", {"ok": {"changed": True}}, [])


def test_a_long_job_is_followed_and_then_told_once(job: subject.Job, tmp_path: Path) -> None:
    def work(report: subject.Reporter) -> dict[str, Any]:
        report.update("m", 1, 4, "download")
        until((tmp_path / "go").exists)
        return {"changed": True}

    status = subject.run(job, "start", work, outcome(None), 0.1)
    assert status.shown()["state"] == "running"
    until(lambda: subject.run(job, "start", work, outcome(None), 0).progress)
    (tmp_path / "go").touch()
    job.wait(10)
    assert subject.run(job, "start", work, outcome(None)).result == {"ok": {"changed": True}}
    assert subject.run(job, "start", work, outcome({"changed": False})).result == {"ok": {"changed": False}}


def forget_watchers(job: subject.Job) -> None:
    os.utime(job._path("lock"), (1, 1))


def test_a_good_result_that_nobody_heard_is_told_by_a_later_run(job: subject.Job) -> None:
    job.start_or_attach(lambda _report: {"changed": True})
    job.wait(10)
    forget_watchers(job)
    assert subject.run(job, "start", slow, outcome({"changed": False})).result == {"ok": {"changed": True}}


def test_a_good_result_that_is_no_longer_true_is_forgotten(job: subject.Job) -> None:
    job.start_or_attach(lambda _report: {"changed": True})
    job.wait(10)
    forget_watchers(job)
    status = subject.run(job, "wait", lambda _report: {"new": True}, outcome(None))
    assert status.result == {"ok": {"new": True}}


@pytest.mark.parametrize("cause", ["fails", "dies"])
def test_who_follows_a_job_hears_its_end_and_a_later_run_tries_again(job: subject.Job, cause: str) -> None:
    def work(report: subject.Reporter) -> dict[str, Any]:
        time.sleep(0.2)
        if cause == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        raise _errors.StackError(FAULT, what="thing")

    for _number in range(2):
        assert subject.run(job, "start", work, outcome(None), 0).state == "running"
        job.wait(10)
        expected = "model.job_died" if cause == "dies" else "model.of_this_test"
        assert subject.run(job, "start", work, outcome(None), 0).result["error"]["id"] == expected
    job.start_or_attach(work)
    job.wait(10)
    forget_watchers(job)
    assert subject.run(job, "wait", lambda _report: {}, outcome(None)).result == {"ok": {}}


def equal_runs(
    job: subject.Job, mode: str, work: subject.Work, quick: Callable[[], dict[str, Any] | None], folder: Path
) -> list[dict[str, Any]]:
    """What five runs at once are told, each a process of its own."""
    children = []
    for number in range(5):
        pid = os.fork()
        if pid == 0:

            def tell(number: int = number) -> int:
                status = subject.run(job, mode, work, quick, 0.1)
                while status.state == "running":
                    time.sleep(0.05)
                    status = subject.run(job, mode, work, quick, 0.1)
                (folder / f"told{number}").write_text(json.dumps(status.result))
                return 0

            subject._forked(tell)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
    return [json.loads((folder / f"told{number}").read_text()) for number in range(5)]


@pytest.mark.parametrize("mode", ["wait", "start"])
@pytest.mark.parametrize("cause", ["fails", "dies", "too large"])
def test_all_who_wait_are_told_of_a_failure(job: subject.Job, tmp_path: Path, cause: str, mode: str) -> None:
    """Of five equal runs one takes the result; for the others nothing is not as good as success."""

    def work(_report: subject.Reporter) -> dict[str, Any]:
        with (tmp_path / "tries").open("a") as file:
            file.write("x")
        time.sleep(1)
        if cause == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if cause == "too large":
            return {"types": ["type"] * 1_000_000}
        raise _errors.StackError(FAULT, what="thing")

    expected = {"fails": FAULT.id, "dies": "model.job_died", "too large": "model.job_unreadable"}[cause]
    told = equal_runs(job, mode, work, outcome(None), tmp_path)
    assert [each.get("error", {}).get("id") for each in told] == [expected] * 5
    # Who waits shares the failure. Who asks now and then finds no job any more, and tries again.
    assert len((tmp_path / "tries").read_text()) <= {"wait": 2, "start": 5}[mode]


@pytest.mark.parametrize("mode", ["wait", "start"])
def test_all_who_wait_are_told_what_came_out(job: subject.Job, tmp_path: Path, mode: str) -> None:
    def work(_report: subject.Reporter) -> dict[str, Any]:
        time.sleep(1)
        (tmp_path / "done").touch()
        return {"changed": True, "models": ["m"]}

    def quick() -> dict[str, Any] | None:
        return {"changed": False, "models": ["m"]} if (tmp_path / "done").exists() else None

    told = equal_runs(job, mode, work, quick, tmp_path)
    assert [each["ok"]["models"] for each in told] == [["m"]] * 5
    assert any(each["ok"]["changed"] for each in told)


def test_a_result_that_is_always_gone_is_no_success(job: subject.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else clears the job's directory."""
    wait = subject.Job.wait

    def cleared(each: subject.Job, seconds: float | None = None) -> subject.Status:
        wait(each, 10)
        each.collect()
        return each.poll()

    monkeypatch.setattr(subject.Job, "wait", cleared)
    monkeypatch.setattr(subject.json, "loads", lambda _text: {})
    with pytest.raises(_errors.StackError, match="what came out is gone") as caught:
        subject.run(job, "wait", lambda _report: {"changed": True}, outcome(None))
    assert caught.value.id == "model.job_lost"


def test_a_damaged_result_is_not_said_to_be_a_restart(job: subject.Job) -> None:
    job.start_or_attach(lambda _report: {"changed": True})
    job.wait(10)
    Path(job._path("result.json")).write_text('{"ok": {"chan')
    assert job.collect().result["error"]["id"] == "model.job_unreadable"


def test_cancelling_without_a_job_does_nothing(job: subject.Job) -> None:
    assert subject.run(job, "cancel", slow, outcome(None)).state == "none"
    assert not os.path.exists(job._store)


# A module as Ansible runs it: its code is in an archive that is deleted when it ends.
MODULE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.detached import Job

def work(report):
    while os.path.exists(sys.argv[1]):
        pass
    import colorsys, json.tool
    try:
        import ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_header
    except ImportError as error:
        return {"late": str(error)}
    return {"late": "imported"}

Job(sys.argv[2], "0123456789abcdef").start_or_attach(work)
print("started")
os.unlink(sys.argv[1])
"""


def test_a_job_outlives_the_archive_that_its_code_came_from(job: subject.Job, tmp_path: Path) -> None:
    archive = tmp_path / "ansible_model_payload.zip"
    names = [module.__name__.replace(".", "/") for module in (subject, lock, _errors, _process)]
    packages = {str(parent) for name in names for parent in Path(name).parents if str(parent) != "."}
    with zipfile.ZipFile(archive, "w") as file:
        for package in sorted(packages):
            file.writestr(f"{package}/__init__.py", "")
        for name, module in zip(names, (subject, lock, _errors, _process)):
            file.write(str(module.__file__), f"{name}.py")
    command = [sys.executable, "-c", MODULE, str(archive), job._store]
    # The pipes are closed at once, although the job goes on.
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "started\n"
    assert "was not imported before" in job.wait(10).result["ok"]["late"]


def test_a_job_ends_well_on_a_full_disk(tmp_path: Path) -> None:
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        job = subject.Job(str(mount), ID)

        def work(report: subject.Reporter) -> dict[str, Any]:
            with open(mount / "part", "wb") as file:
                for step in range(100):
                    file.write(b"x" * 65536)
                    file.flush()
                    report.update("m", step, 100, f"step {step}")
            return {}

        job.start_or_attach(work)
        assert "No space left" in job.wait(10).result["error"]["msg"]
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def test_what_nobody_asked_about_for_a_month_is_removed(job: subject.Job) -> None:
    os.makedirs(job._directory, 0o700)
    for name in ("aaaaaaaaaaaaaaaa.log", "bbbbbbbbbbbbbbbb.result.json", "other"):
        Path(job._directory, name).write_text(json.dumps({}))
        os.utime(Path(job._directory, name), (1, 1))
    Path(job._directory, "cccccccccccccccc.result.json").write_text("{}")
    job.start_or_attach(lambda _report: {})
    job.wait(10)
    job.collect()
    assert files(job) == ["cccccccccccccccc.result.json", "other"]
    shutil.rmtree(job._directory)
