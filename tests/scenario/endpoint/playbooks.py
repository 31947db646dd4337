"""Playbooks as a user runs them, against the scenario's host (INVENTORY) with its variables (EXTRA_VARS)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def play(playbook: str, variables: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run a playbook against the scenario's host; what it said."""
    extra = [word for file in os.environ["EXTRA_VARS"].split() for word in ("--extra-vars", f"@{file}")]
    command = ["ansible-playbook", "--inventory", os.environ["INVENTORY"], *extra]
    command += ["--extra-vars", json.dumps(variables), playbook]
    # As a user runs it, not with the settings of the test driver around this.
    settings = {
        "ANSIBLE_CONFIG": str(HERE.parents[2] / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
    }
    environment = {**os.environ, **settings}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
