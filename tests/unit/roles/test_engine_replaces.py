"""The container that the engine replaces is stopped right before the engine starts, by the role's own tasks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
TASKS: list[dict[str, Any]] = yaml.safe_load((ROOT / "roles/mistral_server/tasks/run.yml").read_text())
NAMES = [task["name"] for task in TASKS]
STOP = NAMES.index("Stop the container that the engine replaces")
DOCKER = '#!/bin/sh\necho "docker $*" >>{journal}\n'


def test_nothing_is_between_its_stop_and_the_start() -> None:
    assert NAMES[STOP + 1] == "Start the engine"


@pytest.mark.parametrize(
    ("runs", "check", "expected"),
    [
        (True, False, ["docker update --restart=no old-engine", "docker stop -t 30 old-engine"]),
        (True, True, []),
        (False, False, []),
    ],
)
def test_what_is_stopped(tmp_path: Path, runs: bool, check: bool, expected: list[str]) -> None:
    journal = tmp_path / "journal"
    docker = tmp_path / "docker"
    docker.write_text(DOCKER.format(journal=journal))
    docker.chmod(0o755)
    variables = {
        "mistral_server_replaces": "old-engine",
        "__mistral_server_found": {"replaced_runs": runs},
        "ansible_python_interpreter": sys.executable,
    }
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [TASKS[STOP]]}
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump([play]))
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(playbook), *(["--check"] if check else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout
    assert (journal.read_text().splitlines() if journal.exists() else []) == expected
