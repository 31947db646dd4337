"""A value after C(-e name=value) is text: what a role documents as a boolean or a number acts like one all the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import jinja2.nodes
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
# What turns text into the type that is documented, or makes text of it on purpose.
CONVERTERS = {"bool": {"bool", "ternary"}, "number": {"int", "float", "string"}}
# They check the texts of all that they are given, or only write them into a message.
CHECKERS = {"mistralrs.stack.gateway_settings", "mistralrs.stack.fault"}
# They take a value on without a look at its type.
TRANSPARENT = {"default"}
CONDITIONS = {"when", "that", "until", "changed_when", "failed_when"}
KINDS = {"bool": "bool", "int": "number", "float": "number"}


def documented() -> dict[str, str]:
    """Every variable of every role that is documented as a boolean or a number."""
    found: dict[str, str] = {}
    for role in ROLES:
        specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
        for entry in specs.values():
            for name, option in entry["options"].items():
                if option.get("type") in KINDS:
                    found[name] = KINDS[option["type"]]
    return found


VARIABLES = documented()


class _Loader(yaml.SafeLoader):
    """A loader that takes tags for what they stand before."""


def _untagged(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Loader.add_multi_constructor("!", _untagged)


def strings(data: object, key: str = "", where: str = "") -> Iterator[tuple[str, str, str]]:
    """Every text in a YAML file with the key that it belongs to and the keys above."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield from strings(value, str(name), f"{where}.{key}")
    elif isinstance(data, list):
        for value in data:
            yield from strings(value, key, where)
    elif isinstance(data, str):
        yield key, data, f"{where}.{key}"


def templates() -> Iterator[tuple[str, str, bool]]:
    """Every template in the roles and playbooks: where it is, its text, whether a bare value of it stays what it is.

    The arguments of a module are such that do not: a module knows its types.
    """
    files = [*(ROOT / "roles").rglob("*.yml"), *(ROOT / "playbooks").rglob("*.yml")]
    for path in sorted(files):
        if path.parent.name == "meta":
            continue
        stays = path.parent.name in ("vars", "defaults")
        for key, text, where in strings(yaml.load(path.read_text(), _Loader)):  # noqa: S506
            place = f"{path.relative_to(ROOT)} {where.lstrip('.')}"
            if key in CONDITIONS:
                yield place, "{{ " + text + " }}", True
            elif "{{" in text or "{%" in text:
                yield place, text, stays or ".vars." in f"{where}." or "set_fact" in where
    for path in sorted((ROOT / "roles").rglob("*.j2")):
        yield str(path.relative_to(ROOT)), path.read_text(), False


def uses(node: jinja2.nodes.Node, above: tuple[jinja2.nodes.Node, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every use of a documented variable, with the nodes above it, the nearest first."""
    if isinstance(node, jinja2.nodes.Name) and node.name in VARIABLES:
        yield node.name, above
    for child in node.iter_child_nodes():
        yield from uses(child, (node, *above))


def problem(name: str, above: tuple[jinja2.nodes.Node, ...], bare_stays: bool) -> str:
    """Why the use of a variable would take the text for what it is not; empty if it does not."""
    kind = VARIABLES[name]
    if any(isinstance(node, jinja2.nodes.Filter) and node.name in CHECKERS for node in above):
        return ""
    for node in above:
        if isinstance(node, jinja2.nodes.Filter) and node.name in CONVERTERS[kind]:
            return ""
        if isinstance(node, jinja2.nodes.Test) and node.name in ("defined", "undefined"):
            return ""
        if isinstance(node, jinja2.nodes.Filter) and node.name in TRANSPARENT:
            continue
        if isinstance(node, jinja2.nodes.Output):
            is_bare = not any(part.data.strip() for part in node.nodes if isinstance(part, jinja2.nodes.TemplateData))
            return "is taken on as text" if bare_stays and is_bare else ""
        if isinstance(node, jinja2.nodes.Concat):
            return ""
        return f"is used by {type(node).__name__} {getattr(node, 'name', '')}"
    return ""


def problems(text: str, bare_stays: bool) -> list[str]:
    # As Ansible reads the first line of a template.
    head = re.match(r"#jinja2: variable_start_string: \"(.*?)\", variable_end_string: \"(.*?)\"\n", text)
    begin, end = (head[1], head[2]) if head else ("{{", "}}")
    made = jinja2.Environment(variable_start_string=begin, variable_end_string=end)  # noqa: S701
    found = [(name, problem(name, above, bare_stays)) for name, above in uses(made.parse(text))]
    return [f"{name} {why}" for name, why in found if why]


# Jinja reads the escapes of regular expressions in Ansible's texts, and Python warns of them.
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_every_use_of_a_boolean_or_a_number_says_so() -> None:
    found = [f"{place}: {what}" for place, text, stays in templates() for what in problems(text, stays)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "stays", "is_right"),
    [
        ("{{ nvidia_driver_force }}", True, False),
        ("{{ nvidia_driver_force or x }}", True, False),
        ("{{ nvidia_driver_force | bool or x }}", True, True),
        ("{{ nvidia_driver_force | default(true) | bool }}", True, True),
        ("{{ nvidia_driver_force }}", False, True),
        ("{% if nvidia_driver_power_limit > 0 %}{% endif %}", False, False),
        ("{% if nvidia_driver_power_limit | int > 0 %}{% endif %}", False, True),
        ("{{ 'x' ~ nvidia_driver_power_limit }}", False, True),
        ("{{ [nvidia_driver_reboot] }}", False, False),
    ],
)
def test_the_check_tells_right_from_wrong(text: str, stays: bool, is_right: bool) -> None:
    assert (not problems(text, stays)) is is_right


FACTS = {
    "distribution": "Debian",
    "distribution_major_version": "12",
    "distribution_release": "bookworm",
    "distribution_version": "12",
    "architecture": "x86_64",
    "memtotal_mb": 64000,
    "pkg_mgr": "apt",
}
GPU = {
    "index": 0,
    "name": "NVIDIA H100",
    "bus_id": "0000:3b:00.0",
    "device_id": "2330",
    "uuid": "GPU-1",
    "compute_capability": "9.0",
    "memory_nominal": 85899345920,
    "driver_bound": "nvidia",
    "power_limit_min": 200.0,
    "power_limit_max": 700.0,
    "mig": {"current": "", "devices": []},
}
GPUS = {
    "gpus": [GPU],
    "driver": {"loaded": "", "installed": "", "flavour": ""},
    "kernels": [],
    "problems": [],
    "nvswitches": 0,
    "secure_boot": False,
}
ENGINE = {"reference": "engine:1", "engine_version": "0.8.1"}
SERVER = {
    "mistral_server_image": ENGINE,
    "mistral_models": [{"name": "a:1b", "quantization": "q4_0"}],
    "mistral_server_gpus": [],
}
# What a role is given as text, what it needs besides, and what its checks then say.
GIVEN: list[tuple[str, dict[str, str], dict[str, Any], str]] = [
    ("nvidia_driver", {"nvidia_driver_force": "false"}, {"nvidia_driver_state": "existing"}, "driver.existing_not"),
    ("nvidia_driver", {"nvidia_driver_reboot": "true"}, {}, "driver.reboot_of_controller"),
    (
        "nvidia_driver",
        {"nvidia_driver_power_limit": "900", "nvidia_driver_reboot": "false", "nvidia_driver_force": "false"},
        {},
        "driver.power_limit_out_of_range",
    ),
    ("mistral_server", {"mistral_server_port": "11999", "mistral_server_prove_answers": "false"}, SERVER, ""),
    (
        "mistral_monitor",
        {"mistral_monitor_minimum_free_gb": "0", "mistral_monitor_take_over": "true"},
        {"mistral_monitor_listen_address": "127.0.0.1:39090", "mistral_exporters_node_address": ":9100"},
        "",
    ),
    (
        "mistral_exporters",
        {"mistral_exporters_nginx": "false"},
        {"mistral_exporters_node_address": "127.0.0.1:39100"},
        "",
    ),
]


def preflight(folder: Path, role: str, words: list[str]) -> tuple[int, str]:
    include = {"ansible.builtin.include_role": {"name": f"mistralrs.stack.{role}", "tasks_from": "preflight"}}
    playbook = folder / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [include]}]))
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(playbook), *words]
    given = {"ansible_facts": FACTS, "mistral_gpu_info": GPUS, "ansible_python_interpreter": sys.executable}
    command += ["-e", json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("role", "texts", "others", "refused"), GIVEN)
def test_the_checks_take_text_for_what_it_says(
    tmp_path: Path, role: str, texts: dict[str, str], others: dict[str, Any], refused: str
) -> None:
    words = [word for name, text in texts.items() for word in ("-e", f"{name}={text}")]
    status, said = preflight(tmp_path, role, [*words, "-e", json.dumps(others)])
    assert "Traceback" not in said
    assert f"[{refused}" in said if refused else status == 0, said
    typed = {name: yaml.safe_load(text) for name, text in texts.items()}
    same, _said = preflight(tmp_path, role, ["-e", json.dumps({**typed, **others})])
    assert same == status
