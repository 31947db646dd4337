"""Runs the role on the scenario's host, with other variables than the scenario's where a test gives some.

Reads INVENTORY and GATEWAY_HOST_EXEC (the command prefix that runs a command on the host).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).resolve().parents[1]
PLAYBOOK = HERE / "image.yml"


class Played(NamedTuple):
    """What ansible-playbook said; the role's result with its seconds if it came that far."""

    code: int
    text: str
    changed: int
    result: dict[str, Any]

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", self.text)


class Role:
    """The role, played."""

    def __init__(self) -> None:
        # Each its own cache of compiled crates, where a test wants one.
        self.number = int(time.time())

    def fresh(self) -> dict[str, Any]:
        """Variables with which everything is compiled anew."""
        self.number += 1
        return {"mistral_image_rustflags": f"-C target-cpu=generic -C metadata=m{self.number}"}

    def begin(self, variables: dict[str, Any] | None = None, *options: str) -> subprocess.Popen[str]:
        variables_of = ["--extra-vars", f"@{HERE / 'vars' / 'main.yml'}", "--extra-vars", json.dumps(variables or {})]
        return self._start("ansible-playbook", *options, *variables_of, str(PLAYBOOK))

    def _start(self, program: str, *options: str) -> subprocess.Popen[str]:
        command = [program, "--inventory", os.environ["INVENTORY"], *options]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(HERE.parents[1] / "ansible.cfg"),
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_NOCOLOR": "1",
        }
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> Played:
        text, _ = process.communicate(timeout=300)
        changed = [int(count) for count in re.findall(r"changed=(\d+)", text)]
        found = re.search(r"RESULT (\{.*\})", re.sub(r"\n\s+", " ", text))
        result = json.loads(found[1].replace("''", "'")) if found else {}
        return Played(process.returncode, text, sum(changed), result)

    def module(self, name: str, options: dict[str, Any]) -> Played:
        """A module of the collection alone."""
        return self.end(self._start("ansible", "builders", "-m", f"mistralrs.stack.{name}", "-a", json.dumps(options)))

    def play(self, variables: dict[str, Any] | None = None, *options: str) -> Played:
        return self.end(self.begin(variables, *options))

    def refused(self, variables: dict[str, Any], error_id: str, *words: str) -> Played:
        played = self.play(variables)
        assert played.code != 0, f"accepted: {variables}"
        assert f"[{error_id}]" in played.words, played.text[-3000:]
        for word in words:
            assert word in played.words, f"{word!r} is not said: {played.text[-3000:]}"
        assert "Traceback" not in played.text
        assert played.changed == 0
        return played


@pytest.fixture(scope="session")
def role() -> Role:
    return Role()


@pytest.fixture(scope="session")
def until(on_host: Callable[..., str]) -> Callable[[str, float], str]:
    """Wait until a shell command on the host succeeds; its output."""

    def wait(command: str, seconds: float = 60) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            said = on_host("sh", "-c", f"{command} && echo done || true")
            if said.endswith("done\n"):
                return said[: -len("done\n")]
            time.sleep(0.3)
        pytest.fail(f"not within {seconds} s: {command}")

    return wait
