"""Runs the role on the scenario's host, with other variables than the scenario's where a test gives some."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.tools.scenario import ROOT, Playbook, Played


class Result(Played):
    """How the role ended, and its result with its seconds if it came that far."""

    @property
    def result(self) -> dict[str, Any]:
        found = re.search(r"RESULT (\{.*\})", re.sub(r"\n\s+", " ", self.text))
        return json.loads(found[1].replace("''", "'")) if found else {}


class Role(Playbook):
    """The role, played."""

    def __init__(self) -> None:
        super().__init__(ROOT / "molecule" / "engine_image" / "image.yml", timeout=300)
        # Each its own cache of compiled crates, where a test wants one.
        self.number = int(time.time())

    def fresh(self) -> dict[str, Any]:
        """Variables with which everything is compiled anew."""
        self.number += 1
        return {"mistral_image_rustflags": f"-C target-cpu=generic -C metadata=m{self.number}"}

    def end(self, process: subprocess.Popen[str]) -> Result:
        return Result(*super().end(process))

    def play(self, variables: Mapping[str, Any] | None = None, *options: str) -> Result:
        return self.end(self.begin(variables, *options))


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
