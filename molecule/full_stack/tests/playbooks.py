"""Playbooks as a user runs them, against the scenario's host (INVENTORY) with its variables (EXTRA_VARS)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def command(playbook: str, variables: dict[str, Any]) -> list[str]:
    """The command that runs a playbook."""
    extra = [word for file in os.environ["EXTRA_VARS"].split() for word in ("--extra-vars", f"@{file}")]
    program = ["ansible-playbook", "--inventory", os.environ["INVENTORY"], *extra]
    return [*program, "--extra-vars", json.dumps(variables), playbook]


def environment() -> dict[str, str]:
    """As a user has it, without the settings of the test driver around this."""
    settings = {
        "ANSIBLE_CONFIG": str(HERE.parents[2] / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
    }
    return {**os.environ, **settings}


def play(playbook: str, variables: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run a playbook; what it said."""
    return subprocess.run(
        command(playbook, variables), capture_output=True, text=True, timeout=600, check=False, env=environment()
    )
