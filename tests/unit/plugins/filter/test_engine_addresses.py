"""Where the gateway finds the engines: as their plan has it, or where they are not set up in this run, their checks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.filter.engine_addresses import FilterModule

ROLE = Path(__file__).resolve().parents[4] / "roles" / "mistral_gateway"
engine_addresses = FilterModule().filters()["engine_addresses"]
ADDRESS = {"host": "192.0.2.5", "port": 8000}
FACTS = {"ansible_facts": {"default_ipv4": {"address": "198.51.100.7"}}}


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param({"mistral_server_plan": {"settings": {"server": ADDRESS}}}, "192.0.2.5:8000", id="planned"),
        pytest.param({"mistral_server_expected_address": ADDRESS}, "192.0.2.5:8000", id="checked"),
        pytest.param(
            {"mistral_server_plan": {"settings": {}}, "mistral_server_expected_address": ADDRESS},
            "192.0.2.5:8000",
            id="a plan without an address",
        ),
        pytest.param(
            {"mistral_server_expected_address": {"host": "2001:db8::5", "port": 1}}, "[2001:db8::5]:1", id="IPv6"
        ),
        pytest.param(
            {"mistral_server_expected_address": {"host": "0.0.0.0", "port": 8000}}, "198.51.100.7:8000", id="all"
        ),
        pytest.param({"mistral_server_host": "gpu1.lan", "mistral_server_port": 1}, "gpu1.lan:1", id="variables"),
        pytest.param({}, "198.51.100.7:11434", id="not in this inventory's run"),
        pytest.param({"ansible_facts": {"default_ipv6": {"address": "fd00::7"}}}, "[fd00::7]:11434", id="only IPv6"),
        pytest.param({"ansible_facts": {}, "ansible_host": "gpu1.example"}, "gpu1.example:11434", id="no facts"),
        pytest.param({"ansible_facts": {}}, "gpu1:11434", id="only a name"),
    ],
)
def test_where_an_engine_is(known: dict[str, Any], expected: str) -> None:
    assert engine_addresses([{"inventory_hostname": "gpu1", **FACTS, **known}], "gate1") == [expected]


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", "127.0.0.1:1"), ("0.0.0.0", "127.0.0.1:1"), ("::1", "[::1]:1")]
)
def test_an_engine_on_the_gateways_own_host(host: str, expected: str) -> None:
    known = {"inventory_hostname": "one", **FACTS, "mistral_server_host": host, "mistral_server_port": 1}
    assert engine_addresses([known], "one") == [expected]


def test_the_role_asks_for_every_gpu_host(tmp_path: Path) -> None:
    """By the real ansible-playbook: the variables of other hosts are not a plain dictionary."""
    (tmp_path / "hosts").write_text(
        "[gateways]\ngate1\n[gpu_hosts]\ngate1\ngpu2 mistral_server_port='{{ 4000 + 2 }}'\n"
        "[all:vars]\nansible_connection=local\n"
    )
    answer = tmp_path / "answer.json"
    write = {"content": "{{ __mistral_gateway_engines | to_json }}", "dest": str(answer), "mode": "0600"}
    play = {
        "hosts": "gate1",
        "gather_facts": False,
        "vars_files": [str(ROLE / "vars" / "main.yml")],
        "tasks": [{"ansible.builtin.copy": write}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    command = ["ansible-playbook", "-i", str(tmp_path / "hosts"), str(tmp_path / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(answer.read_text()) == ["127.0.0.1:11434", "gpu2:4002"]
