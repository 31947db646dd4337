# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts a script: a transient unit, by the commands that it runs, and a detached process, a real one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.launch import (
    Launcher,
    NotStarted,
    Process,
    Unit,
    launcher_for,
)


class Host:
    """Answers commands by the first word of an answer that is in the command."""

    def __init__(self, **answers: tuple[int, str, str]) -> None:
        self.answers = answers
        self.asked: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> tuple[int, str, str]:
        self.asked.append(list(command))
        return next((answer for name, answer in self.answers.items() if name in " ".join(command)), (0, "", ""))


def unit(host: Host, runtime: Path) -> Unit:
    return Unit("mistral-model-1", "Download of m in /models", host, str(runtime))


def test_a_unit_is_named_described_collected_and_has_absolute_paths(tmp_path: Path) -> None:
    host = Host()
    unit(host, tmp_path).start("/models/50 $x/run", "/models/50 $x")
    command = host.asked[-1]
    assert command[0] == "systemd-run"
    assert {"--unit=mistral-model-1", "--description=Download of m in /models", "--collect"} <= set(command)
    assert "--property=WorkingDirectory=/models/50 $x" in command
    assert "--property=RuntimeDirectory=mistral-model-1" in command
    # systemd replaces $x in a command.
    assert command[-2:] == ["/bin/sh", "/models/50 $$x/run"]
    assert ["systemctl", "reset-failed", "mistral-model-1.service"] in host.asked


def test_a_unit_that_systemd_refuses_says_why(tmp_path: Path) -> None:
    host = Host(**{"systemd-run": (1, "", "x\nFailed to start transient service unit: no.\n")})
    with pytest.raises(NotStarted, match="^Failed to start transient service unit: no$"):
        unit(host, tmp_path).start("/x/run", "/x")


@pytest.mark.parametrize(
    ("word", "running"), [("active", True), ("deactivating", True), ("inactive", False), ("failed", False)]
)
def test_a_unit_runs_until_its_last_process_has_ended(word: str, running: bool, tmp_path: Path) -> None:
    assert unit(Host(active=(0 if running else 3, f"{word}\n", "")), tmp_path).is_running() is running


def test_a_unit_is_stopped_by_systemd(tmp_path: Path) -> None:
    host = Host()
    unit(host, tmp_path).stop(30)
    assert host.asked == [["systemctl", "stop", "mistral-model-1.service"]]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(str(tmp_path))
    yield process
    process.stop(0.1)


def script(folder: Path, text: str) -> str:
    path = folder / "script"
    path.write_text(text)
    return str(path)


def test_a_process_runs_until_the_last_one_that_it_started_has_ended(
    process: Process, tmp_path: Path, until: Callable[..., Any]
) -> None:
    assert not process.is_running()
    process.start(script(tmp_path, "sleep 1 &\npwd >here\n"), str(tmp_path))
    until((tmp_path / "here").exists)
    assert process.is_running()
    assert (tmp_path / "here").read_text() == f"{tmp_path}\n"
    until(lambda: not process.is_running())


def test_a_process_is_in_a_session_of_its_own(process: Process, tmp_path: Path, until: Callable[..., Any]) -> None:
    process.start(script(tmp_path, "echo $$ >pid.new\nmv pid.new pid\nsleep 60\n"), str(tmp_path))
    until((tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())
    assert os.getsid(pid) not in (os.getsid(0), pid)
    with pytest.raises(NotStarted, match="an earlier one still runs"):
        process.start(script(tmp_path, "true\n"), str(tmp_path))


def test_a_process_that_ignores_sigterm_is_killed(process: Process, tmp_path: Path, until: Callable[..., Any]) -> None:
    process.start(script(tmp_path, "trap '' TERM\n>deaf\nwhile :; do sleep 0.1; done\n"), str(tmp_path))
    until((tmp_path / "deaf").exists)
    process.stop(0.2)
    assert not process.is_running()


def test_a_process_group_that_ended_is_not_signalled(process: Process, tmp_path: Path) -> None:
    """Its number may be somebody else's by then."""
    (tmp_path / "running").write_text(f"{os.getpgid(0)}\n")
    before = signal.signal(signal.SIGTERM, lambda *_arguments: pytest.fail("it was signalled"))
    process.stop(0)
    signal.signal(signal.SIGTERM, before)


def test_without_systemd_a_job_is_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[tuple[bool, int], type[Launcher]] = {}
    for is_booted in (True, False):
        for user in (0, 1000):
            monkeypatch.setattr(os.path, "isdir", lambda path, there=is_booted: there and path == "/run/systemd/system")
            monkeypatch.setattr(os, "geteuid", lambda uid=user: uid)
            made[is_booted, user] = type(launcher_for("mistral-model-1", "x", "/x", Host()))
    assert made == {(True, 0): Unit, (True, 1000): Process, (False, 0): Process, (False, 1000): Process}
