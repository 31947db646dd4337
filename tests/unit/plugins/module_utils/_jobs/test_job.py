# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a job, by real scripts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job import Job
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.launch import Process


@pytest.fixture
def script_job(tmp_path: Path) -> Iterator[Job]:
    folder = str(tmp_path / "jobs" / "one")
    job = Job(folder, Process(folder))
    yield job
    job.launcher.stop(0.1)


def ended(job: Job) -> str:
    state = job.state()
    return "" if state.name == "running" else f"{state.name} {state.code}"


@pytest.mark.parametrize(("program", "state"), [("true", "succeeded 0"), ("true\n(exit 7)", "failed 7")])
def test_the_state_is_the_last_commands(script_job: Job, program: str, state: str, until: Callable[..., Any]) -> None:
    assert script_job.state().name == "none"
    script_job.start(program, {}, reference="x")
    assert until(lambda: ended(script_job)) == state
    assert script_job.attempt()["reference"] == "x"


def test_what_a_program_says_is_its_log_and_its_end_is_said_again(
    script_job: Job, tmp_path: Path, until: Callable[..., Any]
) -> None:
    """The journal of a unit has what the script writes."""
    script_job.start('for number in $(seq 30); do echo "line $number"; done\necho wrong >&2', {})
    until(lambda: ended(script_job))
    lines = script_job.read("log").splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("line 1", "wrong", 31)
    said = subprocess.run(["/bin/sh", script_job.path("run")], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == lines[-20:]


def test_what_is_private_is_gone_when_it_has_ended(script_job: Job, tmp_path: Path, until: Callable[..., Any]) -> None:
    private = Path(script_job.launcher.private)
    go = tmp_path / "go"
    script_job.start(f"while [ ! -e '{go}' ]; do sleep 0.01; done; cat '{private}/secret'", {"secret": b"s3cret"})
    assert (private / "secret").stat().st_mode & 0o777 == 0o600
    assert private.stat().st_mode & 0o777 == 0o700
    assert "s3cret" not in script_job.read("run") + script_job.read("attempt.json")
    go.touch()
    until(lambda: ended(script_job))
    assert script_job.read("log") == "s3cret"
    assert not private.exists()


def test_a_job_that_was_killed_is_interrupted_until_it_is_started_again(
    script_job: Job, until: Callable[..., Any]
) -> None:
    script_job.start("sleep 60", {"secret": b"s3cret"})
    assert script_job.state().name == "running"
    script_job.launcher.stop(5)
    assert script_job.state().name == "interrupted"
    script_job.start("true", {})
    assert until(lambda: ended(script_job)) == "succeeded 0"
    assert not os.path.exists(os.path.join(script_job.launcher.private, "secret"))
