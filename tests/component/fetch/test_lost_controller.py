# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller dies in the middle of a download: the job on the host goes on, the next run tells how it ended."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.hub.hub import TOKEN
from tests.fakes.hub.place import LABEL, REMOTE, REPOSITORY, Place, make_model
from tests.tools.processes import kill_family

ROOT = Path(__file__).resolve().parents[3]
_SIZE = 12 << 20
_RATE = 2 << 20


def until(condition: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
    """Wait for something that has to happen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.02)


def command_lines() -> str:
    """What any user of the host can see of its processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)


class Controller:
    """Runs a playbook that has the model in the store of this host, by the real action and module."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.result = place.root / "result.json"
        self.said = place.root / "said.txt"
        self.playbook = place.root / "play.yml"
        options = {
            "path": str(place.store),
            "name": "m",
            "quantization": LABEL,
            "source": place.source,
            "endpoint": place.hub.url,
            "rate_limit": _RATE,
            "token": TOKEN,
        }
        tasks: list[dict[str, Any]] = [
            {"mistralrs.stack.model": options, "register": "outcome"},
            {"ansible.builtin.copy": {"content": "{{ outcome | to_json }}", "dest": str(self.result), "mode": "0600"}},
        ]
        interpreter = {"ansible_python_interpreter": sys.executable}
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": interpreter, "tasks": tasks}
        self.playbook.write_text(json.dumps([play]))

    def start(self) -> subprocess.Popen[bytes]:
        command = ["ansible-playbook", "-vvv", "-i", "localhost,", str(self.playbook)]
        with self.said.open("wb") as said:
            return subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Everything of the controller is gone at once, as with its host; the job is none of its children."""
        kill_family(process.pid)
        process.wait()

    def outcome(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """What the module returned to a run that went to its end."""
        assert process.wait(60) == 0, self.said.read_text()
        return dict(json.loads(self.result.read_text()))


def peak_memory(controller: Controller) -> int:
    """The most that the job has had in memory so far, in bytes."""
    (record,) = controller.place.store.glob(".store/jobs/*/progress.json")
    status = Path(f"/proc/{json.loads(record.read_text())['pid']}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.fixture
def controller(place: Place) -> Iterator[Controller]:
    place.content = make_model(place.gguf, _SIZE)
    place.hub.add(REPOSITORY, {REMOTE: place.content})
    yield Controller(place)
    # Of a test that failed: nothing is to write to the store any more.
    job = [str(path) for path in place.store.glob(".store/jobs/*/progress.json")]
    for path in filter(os.path.exists, job):
        with suppress(OSError, ValueError, KeyError):
            os.kill(int(json.loads(Path(path).read_text())["pid"]), signal.SIGTERM)


def test_the_job_outlives_the_controller_and_the_next_run_attaches(place: Place, controller: Controller) -> None:
    first = controller.start()

    def arrived() -> int:
        for path in (place.final, place.part):
            with suppress(FileNotFoundError):
                return path.stat().st_size
        return 0

    until(lambda: arrived() > 0.3 * _SIZE, 40, controller.said.read_text)
    assert TOKEN not in command_lines()
    controller.kill(first)
    assert not controller.result.exists()
    at_the_kill = arrived()
    assert not place.final.exists()
    assert at_the_kill < 0.8 * _SIZE
    # Nobody asks for it, and it goes on.
    until(lambda: arrived() >= at_the_kill + _RATE // 2, 10, lambda: f"{arrived()} bytes, {at_the_kill} at the kill")
    assert TOKEN not in command_lines()
    assert peak_memory(controller) < 100e6

    outcome = controller.outcome(controller.start())
    assert outcome["changed"] is True
    for file in (controller.said, controller.result):
        assert TOKEN not in file.read_text()
    assert outcome["model"]["path"] == str(place.final)
    assert outcome["model"]["sha256"] == hashlib.sha256(place.content).hexdigest()
    place.check(there=True)
    # One download, from its start to its end.
    assert place.bodies() == [""]
    assert place.leftovers() == []

    assert controller.outcome(controller.start())["changed"] is False
    assert place.bodies() == [""]
