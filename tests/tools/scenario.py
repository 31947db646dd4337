"""A scenario's hosts, and playbooks that are run on them as a user runs them: a pytest plugin for molecule/*/tests.

molecule/shared/verify.yml describes the scenario in the environment: BED (the command of the test bed), HOSTS (their
names; the first is meant where none is given), INVENTORY, EXTRA_VARS (the files of variables that the scenario was
converged with, separated by colons), and GATEWAY_URL, GATEWAY_KEY_FILE and GATEWAY_CA for clients. SLOW is set by
`make test-all`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import ssl
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.tools.processes import kill_family

ROOT = Path(__file__).resolve().parents[2]
# As a user has it, without the settings of molecule around this.
SETTINGS = {
    "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
    "ANSIBLE_FORCE_COLOR": "0",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_PIPELINING": "1",
    "ANSIBLE_INJECT_FACT_VARS": "0",
}


def hosts() -> list[str]:
    """The names of the scenario's hosts."""
    return os.environ.get("HOSTS", "").split()


def bed(verb: str, *words: str, host: str = "") -> list[str]:
    """A command of the test bed for a host, C(exec) or C(reboot)."""
    return [*shlex.split(os.environ["BED"]), verb, host or hosts()[0], *words]


def run_on_host(*command: str, host: str = "", status: int = 0, timeout: float = 120) -> str:
    """Run a command on a host; its output. Another exit status than C(status) fails the test."""
    done = subprocess.run(
        bed("exec", *command, host=host), capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == status, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class Played(NamedTuple):
    """How a playbook ended: its exit status, what it said, and the number of changes."""

    code: int
    text: str
    changed: int

    @property
    def words(self) -> str:
        """What it said, in one line."""
        return re.sub(r"\s+", " ", self.text)


class Playbook:
    """A playbook for the scenario's hosts; C(state) is a shell command: what it says, a refusal leaves as it is."""

    def __init__(self, playbook: str | Path, state: str = "", timeout: float = 600) -> None:
        self.playbook = str(playbook)
        self.state = state
        self.timeout = timeout

    def begin(self, variables: Mapping[str, Any] | None = None, *options: str) -> subprocess.Popen[str]:
        """Start it in a session of its own."""
        command = ["ansible-playbook", "--inventory", os.environ["INVENTORY"], *options]
        for path in filter(None, os.environ.get("EXTRA_VARS", "").split(":")):
            command += ["--extra-vars", f"@{path}"]
        command += ["--extra-vars", json.dumps(variables or {}), self.playbook]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **SETTINGS},
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> Played:
        """Wait for the end of what was begun."""
        try:
            text, _nothing = process.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            kill_family(process.pid)
            raise
        return Played(process.returncode, text, sum(map(int, re.findall(r"changed=(\d+)", text))))

    def play(self, variables: Mapping[str, Any] | None = None, *options: str) -> Played:
        """Run it."""
        return self.end(self.begin(variables, *options))

    def works(self, variables: Mapping[str, Any] | None = None, *options: str) -> Played:
        """Run it; it has to succeed."""
        played = self.play(variables, *options)
        assert played.code == 0, played.text[-4000:]
        return played

    def refused(self, variables: Mapping[str, Any], error_id: str, *words: str) -> Played:
        """Run it; it has to stop with the id and the words before it has changed anything."""
        before = run_on_host("sh", "-c", self.state) if self.state else ""
        played = self.play(variables)
        assert played.code != 0, f"accepted: {variables}"
        for word in (f"[{error_id}]", *words):
            assert word in played.words, f"{word!r} is not said: {played.text[-3000:]}"
        assert "Traceback" not in played.text
        assert set(re.findall(r"changed=(\d+)", played.text)) == {"0"}, played.text[-1000:]
        if self.state:
            assert run_on_host("sh", "-c", self.state) == before
        return played


def run_module(name: str, options: Mapping[str, Any], group: str = "gpu_hosts", timeout: float = 600) -> dict[str, Any]:
    """Run a module of the collection on a group of one host; its result, with C(failed) and what was C(warned)."""
    command = ["ansible", group, "--inventory", os.environ["INVENTORY"], "--module-name", f"mistralrs.stack.{name}"]
    command += ["--args", json.dumps(options)]
    environment = {**os.environ, **SETTINGS, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environment)
    head, arrow, said = done.stdout.partition("=> ")
    assert arrow, done.stdout + done.stderr
    result, _end = json.JSONDecoder().raw_decode(said)
    return {**result, "failed": "FAILED" in head, "warned": re.sub(r"\s+", " ", done.stderr)}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "host(name): needs that host of the scenario")
    config.addinivalue_line("markers", "slow(reason): only `make test-all` runs it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("host"):
            if mark.args[0] not in hosts():
                item.add_marker(pytest.mark.skip(reason=f"the scenario has no host {mark.args[0]}"))
        slow = item.get_closest_marker("slow")
        if slow and "SLOW" not in os.environ:
            item.add_marker(pytest.mark.skip(reason=f"{slow.kwargs['reason']}; make test-all sets SLOW"))


@pytest.fixture(scope="session")
def on_host() -> Callable[..., str]:
    """Run a command on the scenario's first host; its output. A failure fails the test."""
    return run_on_host


@pytest.fixture(scope="session")
def url() -> str:
    """Where clients reach the gateway."""
    return os.environ["GATEWAY_URL"]


@pytest.fixture(scope="session")
def key() -> str:
    """An API key that the gateway takes."""
    return Path(os.environ["GATEWAY_KEY_FILE"]).read_text().strip()


@pytest.fixture(scope="session")
def trust() -> ssl.SSLContext:
    """What a client has to trust."""
    return ssl.create_default_context(cafile=os.environ["GATEWAY_CA"])
