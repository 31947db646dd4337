"""How the action runs a build: started once, then polled, and its warning is not lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.action import image_build
from ansible_collections.mistralrs.stack.plugins.plugin_utils import _job_action


class Action(image_build.ActionModule):
    """The action with a host that answers from a list."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self._task = SimpleNamespace(args={"reference": "x"}, check_mode=False, async_val=0)
        self._connection = None
        self.answers = list(answers)
        self.modes: list[str] = []

    def _execute_module(self, module_args: dict[str, Any], **_options: Any) -> dict[str, Any]:  # type: ignore[override]
        self.modes.append(module_args["job"])
        return dict(self.answers.pop(0))


def running(phase: str, **more: Any) -> dict[str, Any]:
    progress = {"name": "engine:1", "phase": phase, "crates": 1, "crates_total": 9, "elapsed": 61}
    return {"changed": False, "job": {"state": "running", "progress": progress}, **more}


def test_a_build_is_polled_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(_job_action.display, "display", lines.append)
    monkeypatch.setattr(_job_action.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(_job_action.ActionBase, "run", lambda *_arguments: {})
    begun = running("starting", warnings=["it was ended from outside"])
    action = Action(begun, running("compiling"), running("compiling"), {"changed": True, "image": {"Id": "1"}})
    action._task.args["notice"] = "Upstream has an image."
    result = action.run(task_vars={"inventory_hostname": "b1"})
    assert action.modes == ["start", "poll", "poll", "poll"]
    assert result == {"changed": True, "image": {"Id": "1"}, "warnings": ["it was ended from outside"]}
    assert lines == [
        "b1: Upstream has an image.\nb1: engine:1, starting (1 min 1 s)",
        "b1: engine:1, compiling, 1 of up to 9 crates (1 min 1 s)",
    ]


def test_an_end_without_an_image_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_job_action.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(_job_action.ActionBase, "run", lambda *_arguments: {})
    outcome = Action(running("compiling"), {"changed": False}).run(task_vars={"inventory_hostname": "b1"})
    assert outcome["failed"]
    assert "The build has ended" in outcome["msg"]
