"""What a run wrote and did not live to put into effect: the next run finds it and makes up for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = ROOT / "roles"
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
    ("outdated", "reload_unread", "written", "restart", "reload"),
    [
        pytest.param(False, [], False, False, False, id="all is read"),
        pytest.param(False, ["/etc/prometheus/mistral/rules.yml"], False, False, True, id="written, not reloaded"),
        pytest.param(True, [], False, True, False, id="service's settings written, then only reloaded"),
        pytest.param(False, [], True, True, True, id="written by this run"),
    ],
)
def test_prometheus_reads_what_it_has_not_read(
    evaluate: Evaluate, outdated: bool, reload_unread: list[str], written: bool, restart: bool, reload: bool
) -> None:
    same = {"changed": written}
    given = {
        "__mistral_monitor_found": {"outdated": outdated, "reload_unread": reload_unread},
        "__mistral_monitor_rules": same,
        "__mistral_monitor_settings": same,
        "__mistral_monitor_service_settings": same,
    }
    expression = "[__mistral_monitor_must_restart, __mistral_monitor_must_reload]"
    assert evaluate("mistral_monitor", expression, **given) == [restart, reload]


@pytest.mark.parametrize(
    ("altered", "ours", "foreign"),
    [
        pytest.param([], False, False, id="as the package brought it"),
        pytest.param(["/etc/prometheus/prometheus.yml"], False, True, id="altered"),
        pytest.param(["/etc/prometheus/prometheus.yml"], True, False, id="altered, and ours in use"),
    ],
)
def test_a_prometheus_of_somebody_else(evaluate: Evaluate, altered: list[str], ours: bool, foreign: bool) -> None:
    settings = ["/etc/prometheus/mistral/prometheus.yml"] if ours else []
    found = {"altered_package_files": altered, "settings": settings}
    assert evaluate("mistral_monitor", "__mistral_monitor_is_foreign", __mistral_monitor_found=found) is foreign


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
    ("enabled", "state", "outdated", "expected"),
    [
        pytest.param(True, "active", True, "restarted", id="written, not read"),
        pytest.param(True, "active", False, "", id="read"),
        pytest.param(True, "inactive", False, "started", id="not running"),
        pytest.param(False, "active", True, "stopped", id="not wanted"),
        pytest.param(False, "inactive", True, "", id="not wanted, not there"),
    ],
)
def test_the_services_of_the_gpus_run_with_what_lies_there(
    evaluate: Evaluate, enabled: bool, state: str, outdated: bool, expected: str
) -> None:
    tasks = yaml.safe_load((ROLES / "nvidia_driver" / "tasks" / "load.yml").read_text())
    (task,) = (each["block"][0] for each in tasks if each["name"] == "Ensure that the services run with their settings")
    wanted = task["ansible.builtin.systemd_service"]["state"].strip("{} ")
    expression = f"({wanted}) if ({task['when']}) else ''"
    given = {"__nvidia_driver_service": {"state": state, "outdated": outdated}, "item": {"enabled": enabled}}
    assert evaluate("nvidia_driver", expression, **given) == expected


@pytest.mark.parametrize("limit", [0, 400])
def test_the_services_of_the_gpus_are_named_with_what_they_read(evaluate: Evaluate, limit: int) -> None:
    choice = {"persistence_unit": "nvidia-persistenced.service", "fabric_unit": "", "fabric_manager": ""}
    given = {"__nvidia_driver_choice": choice, "nvidia_driver_power_limit": limit}
    drop_in = "/etc/systemd/system/nvidia-persistenced.service.d/mistral.conf"
    script = "/usr/local/sbin/mistral-gpu-settings"
    units = [{"unit": "nvidia-persistenced", "enabled": True, "settings": [drop_in]}]
    units += [{"unit": "mistral-gpu-settings", "enabled": True, "settings": [script]}] if limit else []
    assert evaluate("nvidia_driver", "__nvidia_driver_units", **given) == units


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
