"""Shell commands on the scenario's hosts, and the role run on them as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tools.scenario import Playbook, Played, run_on_host

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def on() -> Callable[..., str]:
    """Run a shell command on a host; its output. A failure fails the test."""
    return lambda host, command: run_on_host("sh", "-c", command, host=host, timeout=1200)


@pytest.fixture(scope="session")
def play() -> Callable[..., Played]:
    """Run a playbook of this folder on one host or some, with variables."""

    def run(host: str, playbook: str = "driver.yml", **variables: Any) -> Played:
        played = Playbook(HERE / playbook, timeout=3600).play(variables, "--limit", f"{host},localhost")
        assert "Traceback" not in played.text, played.text[-3000:]
        return played

    return run
