"""What a run wrote and did not live to put into effect: the next run finds it and makes up for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = ROOT / "roles"
NOW = time.time()
SYSTEMCTL = """#!/bin/sh
# Answers from the file of the unit, whose lines are Property=value; writes down what changes something.
for unit; do :; done
case $1 in
  is-active) sed -n 's/^ActiveState=//p' "{state}/$unit" ;;
  is-enabled) echo enabled ;;
  show)
    for word; do
      case $word in --property) next=1 ;; *) [ -z "$next" ] || property=$word; next= ;; esac
    done
    sed -n "s/^$property=//p" "{state}/$unit" ;;
  *) echo "$*" >>"{state}/log" ;;
esac
"""


def stamp(seconds: float) -> str:
    """A time as systemd writes it."""
    return time.strftime("%a %Y-%m-%d %H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1e6):06d} UTC"


class Host:
    """A folder in place of a host, and a systemctl that knows the units it is told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs = root / "bin"
        self.state = root / "state"
        for folder in (self.programs, self.state):
            folder.mkdir()
        program = self.programs / "systemctl"
        program.write_text(SYSTEMCTL.replace("{state}", str(self.state)))
        program.chmod(0o755)

    def unit(self, name: str, started: float, changed: float | None = None, reload: str = "no") -> None:
        values = {
            "ActiveState": "active",
            "ExecMainStartTimestamp": stamp(started),
            "StateChangeTimestamp": stamp(changed or started),
            "NeedDaemonReload": reload,
        }
        (self.state / name).write_text("".join(f"{key}={value}\n" for key, value in values.items()))

    def file(self, path: str, written: float) -> None:
        file = Path(f"{self.root}{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
        for each in (file, file.parent):
            os.utime(each, (written, written))

    def script(self, path: str, *arguments: str) -> list[str]:
        """What a role's script says here; the host's folders are those below the root."""
        text = (ROLES / path).read_text().replace("/etc/", f"{self.root}/etc/")
        environment = {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}"}
        command = ["sh", "-s", *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


Evaluate = Callable[..., Any]


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """What an expression of a role's variables comes to, as Ansible itself sees it."""

    def run(role: str, expression: str, tasks: list[dict[str, Any]] | None = None, **given: Any) -> Any:
        answer = tmp_path / "answer.json"
        content = "{{ (" + expression + ") | to_json }}"
        write = {"ansible.builtin.copy": {"content": content, "dest": str(answer), "mode": "0600"}}
        files = [str(ROLES / role / part / "main.yml") for part in ("defaults", "vars")]
        play = {"hosts": "localhost", "gather_facts": False, "vars_files": files}
        playbook = tmp_path / "play.yml"
        playbook.write_text(json.dumps([{**play, "tasks": [*(tasks or []), write]}]))
        command = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(playbook)]
        command += ["-e", json.dumps({**given, "ansible_python_interpreter": sys.executable})]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(answer.read_text())

    return run


@pytest.mark.parametrize("outdated", [True, False])
def test_an_exporter_with_settings_that_it_has_not_read_is_restarted(evaluate: Evaluate, outdated: bool) -> None:
    found = {"services": {"prometheus-node-exporter": {"unit_file": "/usr/lib/x", "outdated": outdated}}}
    expected = ["prometheus-node-exporter"] if outdated else []
    assert evaluate("mistral_exporters", "__mistral_exporters_outdated", __mistral_exporters_probe=found) == expected


@pytest.mark.parametrize(
    ("unit_file", "settings", "rules", "restart", "reload"),
    [
        pytest.param(9, 9, 9, False, False, id="all is read"),
        pytest.param(9, 1, 9, False, True, id="settings written, not reloaded"),
        pytest.param(9, 9, 1, False, True, id="rules written, not reloaded"),
        pytest.param(4, 9, 9, True, False, id="service's settings written, then only reloaded"),
        pytest.param(9, 4, 9, False, False, id="settings that a reload has read"),
    ],
)
def test_prometheus_reads_what_it_has_not_read(
    host: Host, evaluate: Evaluate, unit_file: int, settings: int, rules: int, restart: bool, reload: bool
) -> None:
    # It runs for 5 s and was reloaded 3 s ago.
    host.unit("prometheus.service", started=NOW - 5, changed=NOW - 3)
    host.file("/etc/systemd/system/prometheus.service.d/mistral.conf", NOW - unit_file)
    host.file("/etc/prometheus/mistral/prometheus.yml", NOW - settings)
    host.file("/etc/prometheus/mistral/rules.yml", NOW - rules)
    folder = f"{host.root}/etc/prometheus/mistral"
    said = host.script("mistral_monitor/files/look.sh", "prometheus", "127.0.0.1:9090", folder, "/")
    same = {"changed": False}
    given = {
        "__mistral_monitor_probe": {"stdout_lines": said},
        "__mistral_monitor_rules": same,
        "__mistral_monitor_settings": same,
        "__mistral_monitor_service_settings": same,
    }
    expression = "[__mistral_monitor_must_restart, __mistral_monitor_must_reload]"
    assert evaluate("mistral_monitor", expression, **given) == [restart, reload]


@pytest.mark.parametrize(
    ("unread", "replaced", "changed"),
    [(["/etc/docker/mistral-proxies.env"], False, True), ([], True, True), ([], False, False)],
)
def test_docker_is_restarted_for_what_it_has_not_read(
    evaluate: Evaluate, unread: list[str], replaced: bool, changed: bool
) -> None:
    found = {"docker_info": {"unread": unread, "program_replaced": replaced}}
    assert evaluate("docker_engine", "__docker_engine_unit_changed", __docker_engine_probe=found) is changed


@pytest.mark.parametrize(
    ("wanted", "state", "written", "reload", "log"),
    [
        pytest.param("started", "active", NOW - 1, "no", ["restart gpu.service"], id="written, not read"),
        pytest.param("started", "active", NOW - 9, "no", [], id="read"),
        pytest.param(
            "started", "active", NOW - 9, "yes", ["daemon-reload", "restart gpu.service"], id="systemd not told"
        ),
        pytest.param("started", "inactive", NOW - 9, "no", ["start gpu.service"], id="not running"),
        pytest.param("stopped", "active", NOW - 1, "no", ["stop gpu.service"], id="not wanted"),
        pytest.param("stopped", "inactive", NOW - 1, "no", [], id="not wanted, not there"),
    ],
)
def test_the_units_of_the_gpus_run_with_what_lies_there(
    host: Host, wanted: str, state: str, written: float, reload: str, log: list[str]
) -> None:
    host.unit("gpu.service", started=NOW - 5, reload=reload)
    unit = host.state / "gpu.service"
    unit.write_text(unit.read_text().replace("=active", f"={state}"))
    host.file("/usr/local/sbin/settings", written)
    said = host.script("nvidia_driver/files/units.sh", "gpu.service", wanted, f"{host.root}/usr/local/sbin/settings")
    done = (host.state / "log").read_text().splitlines() if (host.state / "log").exists() else []
    assert done == log
    assert said == [line for line in log if line != "daemon-reload"]


@pytest.mark.parametrize("limit", [0, 400])
def test_the_units_of_the_gpus_are_named_with_what_they_read(evaluate: Evaluate, limit: int) -> None:
    choice = {"persistence_unit": "nvidia-persistenced.service", "fabric_unit": "", "fabric_manager": ""}
    settings = ["mistral-gpu-settings.service", "started", "/usr/local/sbin/mistral-gpu-settings"] if limit else []
    given = {"__nvidia_driver_choice": choice, "nvidia_driver_power_limit": limit}
    assert evaluate("nvidia_driver", "__nvidia_driver_unit_arguments", **given) == [
        "nvidia-persistenced.service",
        "started",
        "/etc/systemd/system/nvidia-persistenced.service.d/mistral.conf",
        *settings,
    ]


def rewrite(path: Path) -> None:
    """The same content in a new file, as a repair leaves it."""
    staged = path.with_name(f".{path.name}")
    staged.write_bytes(path.read_bytes())
    staged.replace(path)


@pytest.mark.parametrize(
    "name", ["a.gguf", "a.tokenizer.json", "b/model-00001-of-00002.safetensors", "engine.toml", ""]
)
def test_a_repaired_file_makes_the_engine_start_anew(evaluate: Evaluate, tmp_path: Path, name: str) -> None:
    """The content is what it was before the damage, and what the engine loaded in between is not."""
    store = tmp_path / "store"
    (store / "b").mkdir(parents=True)
    names = ["a.gguf", "a.tokenizer.json", "b/model-00001-of-00002.safetensors", "engine.toml"]
    for each in names:
        (store / each).write_text("right")
    links = {"a/a.gguf": f"{store}/a.gguf", "a/tokenizer.json": f"{store}/a.tokenizer.json", "b": f"{store}/b"}
    configure = yaml.safe_load((ROLES / "mistral_server" / "tasks" / "configure.yml").read_text())
    task = next(each for each in configure if "mistralrs.stack.link_tree" in each)
    # The settings lie elsewhere here.
    task = json.loads(json.dumps(task).replace("/etc/mistral/", f"{store}/"))

    def inputs(**more: Any) -> str:
        plan = {"toml": "x", "links": links}
        given = {"mistral_server_plan": plan, "__mistral_server_serve_path": f"{tmp_path}/serve", **more}
        return str(evaluate("mistral_server", "__mistral_server_inputs", [task], **given))

    first = inputs()
    assert inputs() == first
    if name:
        rewrite(store / name)
        assert inputs() != first
    else:
        # A container keeps the limits that Docker had when it was made.
        assert inputs(docker_engine_ulimits={"nofile": 4096}) != first
    # The order: what is counted has been written, and what says the count comes last.
    written = [
        each["name"] for each in configure if {"ansible.builtin.template", "mistralrs.stack.link_tree"} & set(each)
    ]
    assert written.index(task["name"]) == len(written) - 2
