"""The hosts of the scenario, and the role run on them as a user runs it.

BED is the command of the test bed, INVENTORY the inventory, HOSTS the names of the hosts that are there. Tests
of one that is not are skipped, and without SLOW those that build another driver.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
HOSTS = os.environ.get("HOSTS", "").split()
SLOW = "SLOW" in os.environ


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "host(name): needs that host")
    config.addinivalue_line("markers", "slow: builds another driver, for minutes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("host"):
            if mark.args[0] not in HOSTS:
                item.add_marker(
                    pytest.mark.skip(reason=f"{mark.args[0]} is a host of the scenario nvidia_driver_matrix only")
                )
        if not SLOW and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="builds another driver; make test-all sets SLOW"))


class Played(NamedTuple):
    """How a playbook ended, what it said in one line, and the number of changes."""

    status: int
    output: str
    changes: int


@pytest.fixture(scope="session")
def on() -> Callable[..., str]:
    """Run a shell command on a host; its output. A failure fails the test."""

    def run(host: str, command: str) -> str:
        words = [*shlex.split(os.environ["BED"]), "exec", host, "sh", "-c", command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=1200, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def play() -> Callable[..., Played]:
    """Run a playbook of this folder on one host or all, with variables."""

    def run(host: str, playbook: str = "driver.yml", **variables: Any) -> Played:
        command = ["ansible-playbook", "--inventory", os.environ["INVENTORY"], "--limit", f"{host},localhost"]
        command += ["--extra-vars", json.dumps(variables), str(HERE / playbook)]
        # As a user runs it, not with the settings of the test driver around this.
        settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
        environment = {**os.environ, **settings}
        done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False, env=environment)
        assert "Traceback" not in done.stdout + done.stderr, done.stdout[-3000:]
        output = re.sub(r"\s+", " ", done.stdout + done.stderr)
        return Played(done.returncode, output, sum(map(int, re.findall(r"changed=(\d+)", done.stdout))))

    return run
