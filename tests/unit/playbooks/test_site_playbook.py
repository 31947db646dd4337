"""The order of site.yml on many hosts. Its roles are stand-ins here, which write down that they ran."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
HOSTS = [f"h{number}" for number in range(1, 5)]
NOTE = """
- name: Write it down
  ansible.builtin.lineinfile:
    path: "{{ journal }}"
    line: "%s {{ ansible_play_batch | join(' ') }}"
    create: true
    mode: "0600"
  run_once: true
"""
DRIVER = """
- name: Check the host
  ansible.builtin.assert:
    that: inventory_hostname not in refused
- name: Say whether the driver changes
  ansible.builtin.set_fact:
    nvidia_driver_turn: "{{ batch if inventory_hostname in changing else '' }}"
"""
SERVER = """
- name: Say what the gateway is to do
  ansible.builtin.set_fact:
    mistral_server_expected_gateway: {default_model: "of {{ inventory_hostname }}"}
"""
PLANNED = """
- name: Say what the gateway is to do now
  ansible.builtin.set_fact:
    mistral_server_plan: {gateway: {default_model: "planned by {{ inventory_hostname }}"}}
  tags: [always]
"""
GATEWAY = """
- name: Write down what the gateway's checks know
  ansible.builtin.lineinfile:
    path: "{{ journal }}"
    line: "gateway_knows {{ mistral_gateway_plan.default_model }}"
    create: true
    mode: "0600"
"""
PREFLIGHT = {"nvidia_driver": DRIVER, "mistral_server": SERVER, "mistral_gateway": GATEWAY}
FAIL = """
- name: Fail where that is asked for
  ansible.builtin.assert:
    that: inventory_hostname not in broken
"""


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path of collections with this one, whose roles do nothing."""
    path = tmp_path_factory.mktemp("collections")
    stack = path / "ansible_collections" / "mistralrs" / "stack"
    stack.mkdir(parents=True)
    for name in ("galaxy.yml", "meta", "playbooks", "plugins"):
        (stack / name).symlink_to(ROOT / name)
    for role in (ROOT / "roles").iterdir():
        tasks = stack / "roles" / role.name / "tasks"
        tasks.mkdir(parents=True)
        is_driver = role.name == "nvidia_driver"
        (tasks / "preflight.yml").write_text("---" + PREFLIGHT.get(role.name, "\n[]\n"))
        main = NOTE % role.name + (FAIL if is_driver else "")
        if role.name == "mistral_server":
            main += PLANNED
        if role.name == "mistral_gateway":
            main += GATEWAY.replace("gateway_knows", "gateway_serves")
        (tasks / "main.yml").write_text("---" + main)
    return path


def play(
    collections: Path,
    journal: Path,
    settings: dict[str, str] | None = None,
    tags: str = "driver,docker",
    playbook: str = "site",
    gateways: Sequence[str] = ("h1",),
    **variables: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a playbook; C(settings) are those of the user's ansible.cfg, as environment variables."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    members = {"hosts": dict.fromkeys(HOSTS, local)}
    groups = {"gpu_hosts": members, "gateways": {"hosts": dict.fromkeys(gateways)}}
    inventory = journal.with_name("inventory.yml")
    inventory.write_text(json.dumps({"all": {"children": groups}}))
    given = {"journal": str(journal), "batch": "1", "changing": [], "broken": [], "refused": []}
    # Whoever runs the tests is not asked to be root for roles that do nothing.
    facts = {"ansible_facts": {"effective_user_id": 0, "pkg_mgr": ""}}
    command = ["ansible-playbook", "-i", str(inventory), f"mistralrs.stack.{playbook}", "--tags", tags]
    command += ["-e", json.dumps({**given, **variables, **facts})]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": f"{collections}",
        "ANSIBLE_NOCOLOR": "1",
        **(settings or {}),
    }
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=journal.parent)


def run(
    collections: Path, journal: Path, settings: dict[str, str] | None = None, **variables: Any
) -> tuple[int, list[str]]:
    """The status of a run and what it did, each as the role and the hosts that it was run on together."""
    done = play(collections, journal, settings, **variables)
    assert "Traceback" not in done.stdout + done.stderr
    lines = journal.read_text().splitlines() if journal.exists() else []
    assert lines or variables.get("refused"), done.stdout[-3000:]
    return done.returncode, lines


def of(role: str, lines: list[str]) -> list[str]:
    return [line.partition(" ")[2] for line in lines if line.startswith(f"{role} ")]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_the_endpoint_that_is_shown(collections: Path, journal: Path) -> None:
    addresses = {"h1": "2001:db8::1", "h2": "192.0.2.1", "h3": "gate.lan"}
    given = {"ansible_host": f"{{{{ {addresses}[inventory_hostname] | default(inventory_hostname) }}}}"}
    said = play(collections, journal, tags="untagged", gateways=list(addresses), **given).stdout
    for shown in ("[2001:db8::1]", "192.0.2.1", "gate.lan"):
        assert f"Endpoint: https://{shown}:443/v1" in said


def test_drivers_that_stay_are_looked_at_all_at_once(collections: Path, journal: Path) -> None:
    status, lines = run(collections, journal, broken=["h3"])
    assert of("nvidia_driver", lines) == ["h1 h2 h3 h4"]
    # A failure stops the host that it happens to.
    assert status != 0
    assert of("docker_engine", lines) == ["h1 h2 h4"]


def test_drivers_change_batch_by_batch(collections: Path, journal: Path) -> None:
    status, lines = run(collections, journal, batch="67%", changing=["h1", "h2", "h4"])
    assert status == 0
    # The gateway's checks know what it will be asked to do.
    assert lines[0] == "gateway_knows of h1"
    assert of("nvidia_driver", lines) == ["h1 h2", "h4", "h3"]
    assert of("docker_engine", lines) == ["h1 h2 h3 h4"]


def test_a_driver_that_fails_is_the_last_that_changes_whatever_the_users_strategy_is(
    collections: Path, journal: Path
) -> None:
    given: dict[str, Any] = {"batch": "2", "changing": ["h1", "h2", "h4"], "broken": ["h2"]}
    status, lines = run(collections, journal, {"ANSIBLE_STRATEGY": "free"}, **given)
    assert status != 0
    assert of("nvidia_driver", lines) == ["h1 h2"]
    assert of("docker_engine", lines) == []


USERS_SETTINGS = [
    {"ANSIBLE_STRATEGY": "free", "ANSIBLE_FORCE_HANDLERS": "1", "ANSIBLE_GATHERING": "explicit"},
    {"ANSIBLE_STRATEGY": "host_pinned", "ANSIBLE_HASH_BEHAVIOUR": "merge", "ANSIBLE_PRIVATE_ROLE_VARS": "1"},
]


@pytest.mark.parametrize("settings", USERS_SETTINGS, ids=lambda settings: " ".join(settings.values()))
def test_no_host_is_changed_when_one_fails_its_checks(
    collections: Path, journal: Path, settings: dict[str, str]
) -> None:
    status, lines = run(collections, journal, settings, refused=["h4"])
    assert status != 0
    assert lines == []


def imported(playbook: Path) -> list[str]:
    return [entry.get("ansible.builtin.import_playbook", "") for entry in yaml.safe_load(playbook.read_text())]


def test_each_part_runs_alone_after_the_same_checks() -> None:
    playbooks = ROOT / "playbooks"
    alone = {path.stem: imported(path) for path in playbooks.glob("*.yml") if "plays/" in path.read_text()}
    site = alone.pop("site")
    assert {paths[0] for paths in [site, *alone.values()]} == {"preflight.yml"}
    assert {path for paths in alone.values() for path in paths} == set(site)
    assert {path for path in site if path.startswith("plays/")} == {
        f"plays/{path.name}" for path in (playbooks / "plays").iterdir()
    }
    assert all(f"plays/{name}.yml" in paths for name, paths in alone.items())
    # An image and an engine are set up for the Docker that is there.
    for name in ("image", "serve"):
        assert alone[name] == ["preflight.yml", "plays/docker.yml", f"plays/{name}.yml"]


def test_the_gateway_alone(collections: Path, journal: Path) -> None:
    done = play(collections, journal, tags="all", playbook="gateway")
    assert done.returncode == 0, done.stdout[-3000:]
    assert journal.read_text().splitlines() == ["gateway_knows of h1", "mistral_gateway h1", "gateway_serves of h1"]
    assert "Endpoint: https://" in done.stdout


def test_the_gateway_follows_the_engines_plan(collections: Path, journal: Path) -> None:
    _status, lines = run(collections, journal, tags="gateway")
    assert lines == ["gateway_knows of h1", "mistral_gateway h1", "gateway_serves planned by h1"]


def test_the_gateway_alone_waits_for_the_checks_of_all(collections: Path, journal: Path) -> None:
    done = play(collections, journal, tags="all", playbook="gateway", refused=["h4"])
    assert done.returncode != 0
    assert not journal.exists()


PLAYS = [
    pytest.param(play, id=f"{path.stem}: {play['name']}")
    for path in sorted((ROOT / "playbooks").rglob("*.yml"))
    for play in yaml.safe_load(path.read_text())
    if "ansible.builtin.import_playbook" not in play
]


@pytest.mark.parametrize("play", PLAYS)
def test_a_play_says_itself_what_it_rests_on(play: dict[str, Any]) -> None:
    assert play["strategy"] == "ansible.builtin.linear"
    # A user's cache of facts would take the place of a look at the host.
    assert play["gather_facts"] is False
