"""Commands on the scenario's host, and playbooks that are run on it.

TOOLKIT_HOST_EXEC (the command prefix that runs a command on the host), TOOLKIT_REPOSITORY (the stand-in repositories'
folder on the controller), INVENTORY, EXTRA_VARS (files of variables) come from the scenario's verify step.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SITE = HERE.parents[2] / "playbooks" / "site.yml"
# Those of the recording a5000-two__590.44.01.
GPUS = ["GPU-12345678-aaaa-bbbb-cccc-0123456789ab", "GPU-12345678-aaaa-bbbb-cccc-0123456789ac"]
DRIVER = "590.44.01"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
SETTINGS = {
    "ANSIBLE_CONFIG": str(HERE.parents[2] / "ansible.cfg"),
    "ANSIBLE_FORCE_COLOR": "0",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_PIPELINING": "1",
    "ANSIBLE_INJECT_FACT_VARS": "0",
}


def on_host(command: str, status: int = 0) -> str:
    prefix = shlex.split(os.environ["TOOLKIT_HOST_EXEC"])
    done = subprocess.run([*prefix, "sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


class Play:
    """A playbook that is run on the host; C(state) is a command that shows what a refusal must leave as it is."""

    def __init__(self, playbook: str | Path, state: str = "") -> None:
        self.playbook = HERE / playbook
        self.state = state

    def run(self, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        command = ["ansible-playbook", "--inventory", os.environ["INVENTORY"], *options]
        for path in os.environ["EXTRA_VARS"].split(":"):
            command += ["--extra-vars", f"@{path}"]
        command += ["--extra-vars", json.dumps(variables), str(self.playbook)]
        environment = {**os.environ, **SETTINGS}
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)

    def works(self, *options: str, **variables: Any) -> int:
        """The number of changes."""
        done = self.run(*options, **variables)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr
        return changes(done)

    def refused(self, error_id: str, *words: str, **variables: Any) -> str:
        """It has to stop with the id and the words before it has changed anything; what it said."""
        before = on_host(self.state)
        done = self.run(**variables)
        said = one_line(done.stdout)
        assert done.returncode != 0, "accepted"
        for word in (f"[{error_id}]", *words):
            assert word in said, f"{word!r} is not said: {done.stdout[-3000:]}"
        assert "Traceback" not in done.stdout + done.stderr
        assert changes(done) == 0, done.stdout[-1000:]
        assert on_host(self.state) == before
        return said


def one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def changes(done: subprocess.CompletedProcess[str]) -> int:
    return sum(int(count) for count in re.findall(r"changed=(\d+)", done.stdout))


def module(name: str, **options: Any) -> dict[str, Any]:
    command = ["ansible", "gpu_hosts", "--inventory", os.environ["INVENTORY"], "--module-name"]
    command += [f"mistralrs.stack.{name}", "--args", json.dumps(options)]
    environment = {**os.environ, **SETTINGS, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    match = re.search(r"=> (\{.*\})", done.stdout, re.DOTALL)
    assert match, done.stdout + done.stderr
    return dict(json.loads(match.group(1)))


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
