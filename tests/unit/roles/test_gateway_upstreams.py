"""Where the gateway finds the engines: as their plan has it, or where they are not set up in this run, their checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).resolve().parents[3] / "roles" / "mistral_gateway"
ENGINES = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__mistral_gateway_engines"]
ADDRESS = {"host": "192.0.2.5", "port": 8000}
FACTS = {"ansible_facts": {"default_ipv4": {"address": "198.51.100.7"}}}


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"mistral_server_plan": {"settings": {"server": ADDRESS}}}, "192.0.2.5:8000"),
        ({"mistral_server_expected_address": ADDRESS}, "192.0.2.5:8000"),
        ({"mistral_server_expected_address": {"host": "2001:db8::5", "port": 1}}, "[2001:db8::5]:1"),
        ({"mistral_server_expected_address": {"host": "0.0.0.0", "port": 8000}}, "198.51.100.7:8000"),
        ({}, "198.51.100.7:11434"),
    ],
    ids=["planned", "checked", "IPv6", "any address", "not in this inventory's run"],
)
def test_where_an_engine_is(known: dict[str, Any], expected: str) -> None:
    hostvars = {"gpu1": {**FACTS, **known}}
    variables = {"groups": {"gpu_hosts": ["gpu1"]}, "hostvars": hostvars, "inventory_hostname": "gate1"}
    templar = Templar(loader=DataLoader(), variables=variables)
    found = templar.template(trust_as_template(ENGINES))
    assert yaml.safe_load(str(found)) == [expected]
