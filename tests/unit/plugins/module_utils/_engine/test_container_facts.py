"""What the host's programs print in, facts about the engine's container out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.container_facts import Wanted, gather

UNIT = "mistral-egress.service"
RULE = "PREROUTING -i mistral0 -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP"
PROXY = 'LISTEN 0 4096 127.0.0.1:11434 0.0.0.0:* users:(("docker-proxy",pid=7,fd=4))\n'
NGINX = 'LISTEN 0 511 0.0.0.0:11434 0.0.0.0:* users:(("nginx",pid=42,fd=6),("nginx",pid=41,fd=6))\n'
OTHER = 'LISTEN 0 511 192.0.2.1:11434 0.0.0.0:* users:(("nginx",pid=42,fd=6))\n'
BOUND = 'LISTEN 0 511 127.0.0.1%lo:11434 0.0.0.0:* users:(("nginx",pid=42,fd=6))\n'


class Host:
    """The programs of a host: what each command prints, by its first words; others fail without a word."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.says: dict[str, str] = {}
        self.compose_file = folder / "compose.yml"

    def run(self, command: Sequence[str]) -> tuple[int, str, str]:
        line = " ".join(command)
        for start, text in self.says.items():
            if line.startswith(start):
                return 0, text, ""
        return 1, "", "no such thing"

    def facts(self, address: str = "127.0.0.1", replaces: str = "") -> dict[str, Any]:
        wanted = Wanted(
            container="mistral-engine",
            image="engine:1",
            compose_file=str(self.compose_file),
            address=address,
            port=11434,
            egress_unit=UNIT,
            egress_rule=RULE,
            former_network="mistral_default",
            replaces=replaces,
        )
        return gather(self.run, wanted, str(self.folder))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_new_host(host: Host) -> None:
    assert host.facts() == {
        "port_holders": [],
        "can_start": False,
        "egress": "none",
        "replaced_runs": False,
        "has_former_network": False,
    }


@pytest.mark.parametrize("rule_is_set", [True, False])
def test_the_host_is_asked_for_the_rule_and_not_for_the_unit_only(host: Host, rule_is_set: bool) -> None:
    if rule_is_set:
        host.says[f"iptables --wait --table mangle --check {RULE}"] = ""
    assert host.facts()["egress"] == "none"
    (host.folder / UNIT).touch()
    # Not enabled, it would not be there after a reboot.
    assert host.facts()["egress"] == "open"
    (host.folder / "multi-user.target.wants").mkdir()
    (host.folder / "multi-user.target.wants" / UNIT).touch()
    assert host.facts()["egress"] == ("closed" if rule_is_set else "open")


@pytest.mark.parametrize(
    ("containers", "expected"),
    [("mistral-engine ", True), ("", True), ("mistral-engine somebody-else ", False), ("somebody-else ", False)],
)
def test_a_network_of_an_earlier_release_counts_unless_others_use_it(
    host: Host, containers: str, expected: bool
) -> None:
    host.says["docker network inspect"] = f"{containers}\n"
    assert host.facts()["has_former_network"] is expected


@pytest.mark.parametrize("compose_file", [True, False])
def test_a_container_with_image_and_definition_can_start(host: Host, compose_file: bool) -> None:
    host.says["docker image inspect engine:1"] = "[]"
    if compose_file:
        host.compose_file.touch()
    assert host.facts()["can_start"] is compose_file


@pytest.mark.parametrize(
    ("listeners", "publishers", "address", "expected"),
    [
        pytest.param(PROXY, "mistral-engine\n", "127.0.0.1", [], id="the engine itself"),
        pytest.param(PROXY, "web\n", "127.0.0.1", ["the container web"], id="another container"),
        pytest.param(NGINX, "", "127.0.0.1", ["nginx (process 42)"], id="a program on all addresses"),
        pytest.param(BOUND, "", "127.0.0.1", ["nginx (process 42)"], id="a program on one interface"),
        pytest.param(OTHER, "", "127.0.0.1", [], id="another address"),
        pytest.param(OTHER, "", "0.0.0.0", ["nginx (process 42)"], id="all addresses wanted"),
        pytest.param(OTHER, "", "::", ["nginx (process 42)"], id="all addresses wanted, IPv6"),
        pytest.param(OTHER, "", "::1", [], id="IPv6"),
    ],
)
def test_who_has_the_port(host: Host, listeners: str, publishers: str, address: str, expected: list[str]) -> None:
    host.says["docker ps --filter publish=11434/tcp"] = publishers
    host.says["ss "] = listeners
    assert host.facts(address)["port_holders"] == expected


@pytest.mark.parametrize(
    ("publishers", "expected"),
    [("old\n", []), ("old\nweb\n", ["the container old", "the container web"]), ("", ["docker-proxy (process 7)"])],
)
def test_the_container_that_gives_way_may_have_the_port(host: Host, publishers: str, expected: list[str]) -> None:
    host.says["docker ps --filter publish=11434/tcp"] = publishers
    host.says["ss "] = PROXY
    assert host.facts(replaces="old")["port_holders"] == expected


@pytest.mark.parametrize(
    ("replaces", "state", "expected"),
    [("old", "true\n", True), ("old", "false\n", False), ("mistral-engine", "true\n", False), ("", "true\n", False)],
)
def test_whether_the_container_that_gives_way_runs(host: Host, replaces: str, state: str, expected: bool) -> None:
    host.says["docker container inspect --format {{.State.Running}}"] = state
    assert host.facts(replaces=replaces)["replaced_runs"] is expected
