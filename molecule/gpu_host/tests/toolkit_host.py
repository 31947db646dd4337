"""Commands on the scenario's host and in containers of it, and playbooks that are run on it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from tests.tools.scenario import ROOT, Playbook, Played, run_module, run_on_host

HERE = Path(__file__).resolve().parent
SITE = ROOT / "playbooks" / "site.yml"
# What vars/main.yml names; the stand-in repositories on the controller.
REPOSITORY = Path(os.environ.get("MOLECULE_EPHEMERAL_DIRECTORY", "")) / "toolkit-repository"
# Those of the recording a5000-two__590.44.01.
GPUS = ["GPU-12345678-aaaa-bbbb-cccc-0123456789ab", "GPU-12345678-aaaa-bbbb-cccc-0123456789ac"]
DRIVER = "590.44.01"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"


def on_host(command: str, status: int = 0) -> str:
    """Run a shell command on the host; its output."""
    return run_on_host("sh", "-c", command, status=status).strip()


class Play:
    """A playbook that is run on the host; C(state) is a command that shows what a refusal must leave as it is."""

    def __init__(self, playbook: str | Path, state: str = "") -> None:
        self.playbook = Playbook(HERE / playbook, state, timeout=300)

    def run(self, *options: str, **variables: Any) -> Played:
        return self.playbook.play(variables, *options)

    def works(self, *options: str, **variables: Any) -> int:
        """The number of changes."""
        return self.playbook.works(variables, *options).changed

    def refused(self, error_id: str, *words: str, **variables: Any) -> str:
        """What it said, in one line."""
        return self.playbook.refused(variables, error_id, *words).words


def module(name: str, **options: Any) -> dict[str, Any]:
    """A module of the collection, run on the host; its result."""
    return run_module(name, options, timeout=120)


def in_container(script: str, *options: str, image: str = "") -> str:
    """What a shell in a container without network says."""
    words = ["docker", "run", "--rm", "--network", "none", *options, image or check_image(), "sh", "-c", script]
    return on_host(shlex.join(words))


def docker_pid() -> str:
    return on_host("systemctl show --property MainPID --value docker")


def running_since(name: str) -> str:
    """Tells one run of a container from another; it has to run."""
    words = on_host(
        f"docker inspect --format '{{{{.State.Pid}}}} {{{{.State.StartedAt}}}} {{{{.State.Running}}}}' {name}"
    )
    assert words.endswith(" true"), f"{name} does not run"
    return words


def check_image() -> str:
    return on_host("docker images --quiet mistralrs-stack/gpu-check | head -n 1")
