"""Every variable of every role is checked before anything is changed: by its kind, its choices or what is named."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
# The gateway's checks are its own.
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.name != "mistral_gateway")
# Variables that something else than their kind decides on in the preflight, and the error that it ends in.
ELSEWHERE = {
    "docker_engine_version": "docker.setting_invalid",
    "docker_engine_log_max_size": "docker.setting_invalid",
    "docker_engine_data_root": "docker.setting_invalid",
    "docker_engine_userns_remap": "docker.setting_invalid",
    "mistral_models": "model.wrong_type",
    "mistral_models_catalog_extra": "model.wrong_type",
    "mistral_server_config": "server.config_not_a_mapping",
    "mistral_server_host": "config.wrong_type",
    "mistral_server_model_path": "config.wrong_type",
    "mistral_server_default_model": "config.unknown_default_model",
    "mistral_server_extra_environment": "config.extra_invalid",
    "mistral_server_extra_toml": "config.extra_invalid",
    "mistral_server_memory_limit": "server.size_invalid",
    "mistral_server_memory_reservation": "server.size_invalid",
    "mistral_server_tmp_size": "server.size_invalid",
    "mistral_server_image": "server.image_missing",
    "nvidia_container_toolkit_version": "toolkit.bad_version",
    "nvidia_driver_version": "driver.version_invalid",
    "nvidia_driver_batch": "driver.batch_invalid",
}
# What other roles found out, and package sources, which apt itself reads in the preflight.
FOUND = {"mistral_server_models", "mistral_server_gpus", "mistral_models_gpu_memory", "mistral_models_engine_version"}
FOUND |= {"nvidia_driver_sources"}
# The plan of the image checks these.
IMAGE_PLAN = "image.value_invalid"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def kinds_of(role: str) -> dict[str, str]:
    found: dict[str, str] = load(ROOT / "roles" / role / "vars" / "main.yml")[f"__{role}_kinds"]
    return found


def options_of(role: str) -> dict[str, Any]:
    found: dict[str, Any] = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"][
        "options"
    ]
    return found


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_is_checked_somewhere(role: str) -> None:
    kinds = kinds_of(role)
    open_ones = {
        name
        for name, option in options_of(role).items()
        if name not in kinds
        and name not in ELSEWHERE
        and name not in FOUND
        # Ansible itself checks these against the specification.
        and option["type"] != "bool"
        and "choices" not in option
    }
    if role == "mistral_image":
        plan = (ROOT / "roles" / role / "vars" / "main.yml").read_text() + "".join(
            path.read_text() for path in (ROOT / "roles" / role / "tasks").rglob("preflight.yml")
        )
        open_ones = {name for name in open_ones if not re.search(rf"\b{name}\b", plan)}
    assert not open_ones
    assert not set(kinds) - set(options_of(role))


def test_the_errors_that_are_named_exist() -> None:
    known = (ROOT / "docs" / "errors.md").read_text()
    assert {name for name in {*ELSEWHERE.values(), IMAGE_PLAN, "variable.invalid"} if f"`{name}`" not in known} == set()


@pytest.mark.parametrize("role", ROLES)
def test_the_kinds_are_looked_at_first(role: str) -> None:
    first = load(ROOT / "roles" / role / "tasks" / "preflight.yml")[0]
    assert first["ansible.builtin.assert"]["that"] == f"__{role}_problems | length == 0"


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("docker_engine", {"docker_engine_repository_url": "https://a b"}),
    ("docker_engine", {"docker_engine_repository_channel": "stable\nx", "docker_engine_registry_mirrors": "https://a"}),
    ("mistral_exporters", {"mistral_exporters_node_address": "127.0.0.1:70000"}),
    ("mistral_exporters", {"mistral_exporters_nginx_status_url": "http://a/ --web.x"}),
    ("mistral_monitor", {"mistral_monitor_listen_address": "256.1.1.1:9090"}),
    ("mistral_monitor", {"mistral_monitor_retention_time": "5m1h", "mistral_monitor_free_space_percent": "-5"}),
    ("mistral_monitor", {"mistral_monitor_host_targets": "127.0.0.1:9100"}),
    ("mistral_server", {"mistral_server_port": 70000}),
    ("mistral_server", {"mistral_server_ready_timeout": -5, "mistral_server_rust_log": "info\nX"}),
    ("mistral_image", {"mistral_image_jobs": -1, "mistral_image_source": "evaluation"}),
    ("mistral_models", {"mistral_models_path": "./data", "mistral_models_connections": 0}),
    ("mistral_trust", {"mistral_ca_certificates": "/x.pem"}),
    ("nvidia_container_toolkit", {"nvidia_container_toolkit_check_image": "debian; reboot"}),
    ("nvidia_driver", {"nvidia_driver_mig": [{"gpu": 0, "profiles": ["9; reboot"]}]}),
    ("nvidia_driver", {"nvidia_driver_reboot_timeout": 0, "nvidia_driver_keyring": "/a/../b"}),
]


def test_a_wrong_value_is_named_before_anything_else(tmp_path: Path) -> None:
    """In one run: the roles' checks after each other, each with its wrong values."""
    tasks: list[dict[str, Any]] = []
    for number, (role, values) in enumerate(WRONG):
        include = {"name": f"mistralrs.stack.{role}", "tasks_from": "preflight"}
        told = {"ansible.builtin.debug": {"msg": f"[[{number} {{{{ ansible_failed_result.msg }}}}]]"}}
        tasks.append({"block": [{"ansible.builtin.include_role": include, "vars": values}], "rescue": [told]})
    gpus = {"gpus": [], "driver": {"loaded": "", "installed": ""}, "kernels": [], "problems": [], "nvswitches": 0}
    given = {"mistral_gpu_info": gpus, "ansible_python_interpreter": sys.executable}
    playbook = tmp_path / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(playbook), "-e", json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    said = re.sub(r"\s+", " ", done.stdout)
    for number, (_role, values) in enumerate(WRONG):
        found = re.search(rf"\[\[{number} (.*?)\]\]", said)
        assert found, said[-3000:]
        assert "[variable.invalid" in found[1]
        for name in values:
            if name != "mistral_image_source":
                assert f"'{name}' is " in found[1].replace("''", "'"), found[1]
