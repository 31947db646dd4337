"""Another program installs packages: every role waits as long for it, and says who it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.mistralrs.stack.plugins.action import packages
from ansible_collections.mistralrs.stack.plugins.module_utils._host import package_lock

ROOT = Path(__file__).resolve().parents[3]
# As apt 2.6 on Debian 12 and Ansible's module apt said it.
LISTS = (
    "Failed to lock apt for exclusive operation: Failed to lock directory /var/lib/apt/lists/:"
    " E:Could not get lock /var/lib/apt/lists/lock. It is held by process 19543 (python3)"
)
WAITED = (
    "Waiting for cache lock: Could not get lock /var/lib/dpkg/lock-frontend."
    " It is held by process 19569 (unattended-upgr)..."
)
FRONTEND = (
    f"{WAITED}\nE: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?"
)


@pytest.mark.parametrize(
    ("text", "holder"),
    [
        pytest.param(LISTS, "python3 (process 19543)", id="lists"),
        pytest.param(FRONTEND, "unattended-upgr (process 19569)", id="packages"),
        pytest.param("Failed to obtain the transaction lock, already locked by 42", "the process 42", id="dnf"),
        pytest.param("dnf lockfile is held by another process", "another program", id="dnf, unnamed"),
    ],
)
def test_the_holder_is_named(text: str, holder: str) -> None:
    error = package_lock.busy(text, "h: it")
    assert error is not None
    said = f"{holder} is installing or updating packages and did not finish within 600 s."
    assert str(error).startswith(f"h: it: {said} ")
    assert error.id == "packages.busy"


@pytest.mark.parametrize("text", ["", "E: Unable to locate package x", f"{WAITED}\nE: Unable to locate package x"])
def test_another_failure_is_none_of_it(text: str) -> None:
    assert package_lock.busy(text, "x") is None


def test_nobody_waits_for_another_time() -> None:
    files = [
        path for part in ("roles", "playbooks") for path in (ROOT / part).rglob("*") if path.suffix in (".yml", ".sh")
    ]
    texts = {path: path.read_text() for path in files}
    waits = {(path.name, time) for path, text in texts.items() for time in re.findall(r"Lock::Timeout=(\S+)", text)}
    assert {time for _name, time in waits} == {str(package_lock.TIMEOUT)}
    for path, text in texts.items():
        # No task uses Ansible's own modules past the one that names the holder, and no script apt-get without the time.
        assert not re.search(r"ansible\.builtin\.(apt|dnf|package):", text), path
        for line in re.sub(r"\\\n", " ", text).splitlines():
            if re.match(r"[^#]*\bapt-get\b.*\b(update|install|--yes)\b", line):
                assert "Lock::Timeout=" in line, f"{path}: {line}"


class Action(packages.ActionModule):
    """The action on a host whose module gives one answer."""

    def __init__(self, answer: dict[str, Any], **arguments: Any) -> None:
        self._task = SimpleNamespace(args=arguments, check_mode=False, async_val=0)
        self._connection = None
        self.answer = answer
        self.ran: dict[str, Any] = {}

    def _execute_module(self, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        self.ran = options
        return dict(self.answer)


@pytest.mark.parametrize("use", ["apt", "dnf"])
def test_the_module_says_who_is_in_the_way(monkeypatch: pytest.MonkeyPatch, use: str) -> None:
    monkeypatch.setattr(packages.ActionBase, "run", lambda *_arguments: {})
    action = Action({"failed": True, "msg": "it failed", "stderr": FRONTEND}, use=use, name="hello")
    result = action.run(task_vars={"inventory_hostname": "h1"})
    assert action.ran["module_name"] == f"ansible.builtin.{use}"
    assert action.ran["module_args"] == {"name": "hello", "lock_timeout": 600}
    assert result["error_id"] == "packages.busy"
    assert "The packages of h1 cannot be changed: unattended-upgr (process 19569) is installing" in result["msg"]


def test_another_failure_keeps_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.ActionBase, "run", lambda *_arguments: {})
    answer = {"failed": True, "msg": "No package matching 'x' is available"}
    assert Action(answer, name="x", lock_timeout=5).run(task_vars={}) == answer


def test_the_documentation_names_the_time() -> None:
    text = (ROOT / "plugins" / "modules" / "packages.py").read_text()
    found = re.search(r'DOCUMENTATION = r"""(.*?)"""', text, re.DOTALL)
    assert found
    assert yaml.safe_load(found[1])["options"]["lock_timeout"]["default"] == package_lock.TIMEOUT


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        pytest.param({"stderr": FRONTEND, "stdout": ""}, "unattended-upgr (process 19569) is installing", id="script"),
        pytest.param({"msg": "x [packages.busy]", "error_id": "packages.busy"}, "x [packages.busy]", id="module"),
        pytest.param({"stderr": "E: Unable to locate package x", "msg": "rc 100"}, "", id="another failure"),
    ],
)
def test_the_driver_role_takes_nothing_back_when_somebody_is_in_the_way(
    tmp_path: Path, failed: dict[str, str], said: str
) -> None:
    answer = tmp_path / "answer"
    copy = {"content": "{{ __nvidia_driver_in_the_way }}", "dest": str(answer), "mode": "0600"}
    files = [str(ROOT / "roles" / "nvidia_driver" / "vars" / "main.yml")]
    play = {"hosts": "localhost", "gather_facts": False, "vars_files": files, "tasks": [{"ansible.builtin.copy": copy}]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    given = {"ansible_failed_result": failed, "ansible_python_interpreter": sys.executable}
    command = [
        "ansible-playbook",
        "-i",
        "localhost,",
        "-c",
        "local",
        str(tmp_path / "play.yml"),
        "-e",
        json.dumps(given),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert said in answer.read_text()
    assert bool(said) is bool(answer.read_text())
