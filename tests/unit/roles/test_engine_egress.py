"""The engine's container has no way out, unless it is wanted: what the role mistral_server renders and decides.

That it holds, molecule/full_stack/tests/test_egress.py tries out in a host.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "mistral_server"
VARIABLES: dict[str, Any] = {
    **yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()),
    **yaml.safe_load((ROLE / "vars" / "main.yml").read_text()),
    "__mistral_server_tree": {"identity": "1"},
}
RULE = "PREROUTING -i mistral0 -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP"
UNIT = "mistral-egress.service"
PLAN = {
    "argv": ["from-config"],
    "working_directory": "/models",
    "environment": {},
    "links": {},
    "toml": 'command = "serve"',
}


def tasks(name: str) -> dict[str, dict[str, Any]]:
    return {task["name"]: task for task in yaml.safe_load((ROLE / "tasks" / name).read_text())}


def trusted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: trusted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [trusted(inner) for inner in value]
    return trust_as_template(value) if isinstance(value, str) else value


def templar(**known: Any) -> Templar:
    facts = {"ansible_facts": {"memtotal_mb": 8192}, "ansible_managed": "managed", "inventory_hostname": "host"}
    image = {"mistral_server_image": {"reference": "engine:1", "evaluation": True}, "mistral_server_plan": PLAN}
    models = {"mistral_server_models": [], "mistral_server_config": {}}
    return Templar(DataLoader(), {**trusted(VARIABLES), **facts, **image, **models, **known})


def rendered(name: str, **known: Any) -> str:
    text = (ROLE / "templates" / name).read_text()
    return str(templar(**known).template(trust_as_template(text)))


def compose(**known: Any) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(rendered("compose.yml.j2", **known))
    return document


@pytest.mark.parametrize("closed", [False, "false", "no"])
def test_the_container_is_alone_in_a_network_that_a_rule_closes(closed: Any) -> None:
    document = compose(mistral_server_allow_egress=closed)
    engine = document["services"]["engine"]
    assert engine["networks"] == ["engine"]
    assert engine["dns"] == ["127.0.0.1"]
    (network,) = document["networks"].values()
    assert network["driver_opts"] == {"com.docker.network.bridge.name": "mistral0"}
    assert network["enable_ipv6"] is False
    # Docker before 27 publishes no port of an internal network.
    assert "internal" not in network
    assert engine["ports"][0]["host_ip"] == "127.0.0.1"


@pytest.mark.parametrize("opened", [True, "true", "yes"])
def test_names_are_resolved_where_a_way_out_is_wanted(opened: Any) -> None:
    document = compose(mistral_server_allow_egress=opened)
    assert "dns" not in document["services"]["engine"]
    # The same network: only the rule decides.
    assert document["networks"] == compose()["networks"]


def test_no_way_out_is_the_default() -> None:
    assert VARIABLES["mistral_server_allow_egress"] is False
    assert compose() == compose(mistral_server_allow_egress=False)


def test_the_unit_sets_the_rule_before_docker_starts() -> None:
    unit = rendered("mistral-egress.service.j2")
    assert f'Environment="RULE={RULE}"' in unit
    assert "\nBefore=docker.service\n" in unit
    assert "\nExecStart=/usr/sbin/iptables --wait --table mangle --insert $RULE\n" in unit
    # A firewall that is restarted or reloaded removes it; one that is stopped does not open the way out.
    for key in ("After", "PartOf", "ReloadPropagatedFrom", "WantedBy"):
        [line] = [line for line in unit.splitlines() if line.startswith(f"{key}=")]
        assert {"nftables.service", "netfilter-persistent.service", "firewalld.service", "ufw.service"} <= set(
            line.partition("=")[2].split()
        )
    assert "ExecStop" not in unit
    # Docker's name of the bridge and the rule's agree, and the kernel takes it.
    assert len(VARIABLES["__mistral_server_bridge"]) < 16


def closes(egress: str, written: bool, check: bool = False, allowed: Any = False) -> bool:
    results = [{"item": "compose.yml", "changed": True}, {"item": UNIT, "changed": written}]
    known = {
        "mistral_server_allow_egress": allowed,
        "__mistral_server_found": {"egress": egress},
        "__mistral_server_written": {"results": results},
        "ansible_check_mode": check,
    }
    conditions = tasks("run.yml")["Close the container's network"]["when"]
    return all(templar(**known).evaluate_conditional(trust_as_template(condition)) for condition in conditions)


@pytest.mark.parametrize(
    ("egress", "written", "expected"),
    [
        ("none", True, True),  # a new host, and one of an earlier release
        ("closed", False, False),  # nothing to do
        ("closed", True, True),  # another rule
        ("open", False, True),  # the unit is there, but somebody has removed the rule
    ],
)
def test_the_rule_is_set_where_it_is_not_in_force(egress: str, written: bool, expected: bool) -> None:
    assert closes(egress, written) is expected
    assert closes(egress, written, allowed=True) is False
    assert closes(egress, written, allowed="true") is False


def test_a_dry_run_asks_for_no_unit_that_is_not_there() -> None:
    assert closes("none", True, check=True) is False
    assert closes("open", False, check=True) is True


def test_the_rule_is_in_force_before_the_container_starts() -> None:
    names = list(tasks("run.yml"))
    assert names.index("Close the container's network") < names.index("Start the engine")


def test_a_rule_that_does_not_get_in_force_ends_the_run(tmp_path: Path) -> None:
    """By the real ansible-playbook, on a host whose systemctl fails: the container is not started after that."""
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho 'Job for the unit failed.' >&2\nexit 1\n")
    (tmp_path / "systemctl").chmod(0o755)
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            **{name: VARIABLES[name] for name in VARIABLES if "egress" in name},
            "__mistral_server_found": {"egress": "open"},
            "__mistral_server_written": {"results": []},
        },
        "environment": {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        "tasks": [
            tasks("run.yml")["Close the container's network"],
            {"name": "Not reached", "ansible.builtin.debug": {"msg": "started"}},
        ],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    done = subprocess.run(
        ["ansible-playbook", "--inventory", "localhost,", str(tmp_path / "play.yml")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )
    said = " ".join(done.stdout.split())
    assert done.returncode != 0, said
    assert "[server.egress_open]" in said
    assert "The engine's container on localhost would reach the network" in said
    assert "started" not in said


def test_all_other_containers_have_no_network() -> None:
    """What the collection starts to try an image out, to convert a model, to look at a GPU."""
    sources = [path for path in [*ROOT.glob("plugins/**/*.py"), *ROOT.glob("roles/*/*/*")] if path.is_file()]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(errors="replace") for path in sources}
    start = re.compile(r"""docker["']?, ["'](run|create)["'],""")
    starting = {name for name, text in texts.items() if start.search(text)}
    closed = re.compile(r"""["']--network["'], ["']none["']""")
    # The last is given its options, these among them, by the one before.
    assert starting == {
        "plugins/modules/gpu_container_check.py",
        "plugins/module_utils/_model/conversion_plan.py",
        "plugins/module_utils/_image/verification.py",
        "plugins/module_utils/_image/smoke_test.py",
    }
    with_network = {name for name in starting if not closed.search(texts[name])}
    assert with_network == {"plugins/module_utils/_image/smoke_test.py"}
