# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the action runs a job; the host is a list of what the module returns."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.mistralrs.stack.plugins.action import model
from ansible_collections.mistralrs.stack.plugins.plugin_utils import _job_action as subject

DONE = {"changed": True, "model": {"name": "m"}, "job": {"state": "finished"}}


def running(done: int) -> dict[str, Any]:
    progress = {"name": "m", "done": done, "total": 100_000_000, "rate": 1e7, "eta": 5, "phase": "downloading"}
    return {"changed": False, "job": {"state": "running", "progress": progress}}


class Action(model.ActionModule):
    """The action with a host that answers from a list."""

    def __init__(self, answers: list[Any], check: bool = False, **arguments: Any) -> None:
        self._task = SimpleNamespace(args=arguments, check_mode=check, async_val=0)
        self._connection = None
        self.answers = answers
        self.modes: list[str] = []

    def _execute_module(self, module_args: dict[str, Any], **_options: Any) -> dict[str, Any]:  # type: ignore[override]
        self.modes.append(module_args.get("job", "wait"))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        if callable(answer):
            return dict(answer())
        return dict(answer)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    shown: list[str] = []
    monkeypatch.setattr(subject.display, "display", shown.append)
    monkeypatch.setattr(subject.display, "warning", shown.append)
    monkeypatch.setattr(subject.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(subject.ActionBase, "run", lambda *_arguments: {})
    return shown


def run(action: Action) -> dict[str, Any]:
    return action.run(task_vars={"inventory_hostname": "h1"})


def test_a_job_is_polled_until_it_ends(lines: list[str]) -> None:
    action = Action([running(10_000_000), running(50_000_000), DONE])
    assert run(action) == {"changed": True, "model": {"name": "m"}}
    assert action.modes == ["start"] * 3
    assert lines == [
        "h1: m, downloading 10 % (10.0 of 100.0 MB, 10 MB/s, 5 s left)",
        "h1: m, downloading 50 % (50.0 of 100.0 MB, 10 MB/s, 5 s left)",
    ]


def test_the_holder_of_a_lock_is_shown_once(lines: list[str]) -> None:
    progress = {"name": "m", "done": 0, "phase": "waiting", "waiting_for": "process 7 of this host, since 10:00"}
    waiting = {"changed": False, "job": {"state": "running", "progress": progress}}
    run(Action([waiting, waiting, running(50_000_000), DONE]))
    assert lines == [
        "h1: m, waiting for process 7 of this host, since 10:00",
        "h1: m, downloading 50 % (50.0 of 100.0 MB, 10 MB/s, 5 s left)",
    ]


def test_a_run_without_a_change_shows_nothing(lines: list[str]) -> None:
    nothing = {"changed": False, "models": []}
    assert run(Action([{**nothing, "job": {"state": "finished"}}])) == nothing
    assert lines == []


@pytest.mark.parametrize("state", ["none", "finished", "cancelled"])
def test_an_end_without_a_result_is_no_success(state: str, lines: list[str]) -> None:
    outcome = run(Action([running(1), {"changed": False, "job": {"state": state}}]))
    assert outcome["failed"]
    assert "its result is not known" in outcome["msg"]


@pytest.mark.parametrize("quiet", ["callback", "environment"])
def test_lines_can_be_turned_off(quiet: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if quiet == "callback":
        monkeypatch.setattr(subject.constants.config, "get_config_value", lambda _name: "ansible.builtin.oneline")
    else:
        monkeypatch.setenv("MISTRALRS_STACK_PROGRESS", "never")
    run(Action([running(1), DONE]))
    assert lines == []


@pytest.mark.parametrize("arguments", [{"check": True}, {"state": "absent"}, {"job": "start"}])
def test_modes_without_progress_are_one_call(arguments: dict[str, Any], lines: list[str]) -> None:
    action = Action([DONE], **arguments)
    assert run(action)["job"] == {"state": "finished"}
    assert len(action.modes) == 1


def test_a_failure_is_returned_at_once(lines: list[str]) -> None:
    assert run(Action([{"failed": True, "msg": "x"}])) == {"failed": True, "msg": "x"}


@pytest.mark.parametrize("lost", [AnsibleConnectionFailure("lost"), {"unreachable": True, "msg": "lost"}])
def test_a_lost_connection_is_made_again(lost: Any, lines: list[str]) -> None:
    action = Action([running(1), lost, lost, DONE])
    assert run(action)["changed"]
    assert sum("connection is lost" in line for line in lines) == 2


def test_a_connection_that_stays_lost(lines: list[str]) -> None:
    with pytest.raises(AnsibleConnectionFailure):
        run(Action([running(1), *[AnsibleConnectionFailure("lost")] * 6]))
    # An unreachable host is reported at once.
    with pytest.raises(AnsibleConnectionFailure):
        run(Action([AnsibleConnectionFailure("lost")]))


@pytest.mark.parametrize(
    ("number", "state", "words"),
    [
        (signal.SIGINT, "present", "the download is being stopped; what has arrived is kept"),
        (signal.SIGTERM, "verified", "the verification is being stopped; what it has found is kept"),
    ],
)
def test_a_stopped_playbook_stops_the_job(number: int, state: str, words: str, lines: list[str]) -> None:
    received_signals: list[int] = []
    before = signal.signal(number, lambda received, _frame: received_signals.append(received))

    def stop() -> dict[str, Any]:
        os.kill(os.getpid(), number)
        return running(1)

    try:
        action = Action([running(1), stop, {"changed": False, "job": {"state": "cancelled"}}], state=state)
        run(action)
    finally:
        signal.signal(number, before)
    assert action.modes == ["start", "start", "cancel"]
    assert words in lines[-1]
    # The process gets it after all.
    assert received_signals == [number]
