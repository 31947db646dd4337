"""The gateway's rules in ufw, which shuts everything but SSH on this host."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.tools.scenario import Playbook

HostCommand = Callable[..., str]
STATE = "ufw show added; cat /etc/nginx/mistral/plan.json"
CONVERGE = Playbook(Path(__file__).parents[1] / "converge.yml", state=STATE)
NETWORKS = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
NOTED = "/var/lib/mistral/gateway-openings.json"
# An administrator's own, one of which is what the gateway would have added.
OTHERS = ["ufw allow 22/tcp", "ufw allow from 10.0.0.0/8 to any port 443 proto udp"]


def rules(on_host: HostCommand) -> list[str]:
    return [line.strip() for line in on_host("ufw", "show", "added").splitlines() if line.startswith("ufw ")]


def is_let_in(url: str) -> bool:
    """Whether the gateway answers a handshake; what Docker has in between takes every connection."""
    address = urlsplit(url)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((address.hostname, address.port or 443), timeout=3) as connection:
            context.wrap_socket(connection, server_hostname="gw.test.example").close()
    except OSError:
        return False
    return True


@pytest.fixture
def shut(on_host: HostCommand) -> Iterator[None]:
    """In force as it was written, whatever other tests did to the kernel's rules."""
    on_host("ufw", "reload")
    yield
    on_host("ufw", "--force", "enable")


@pytest.mark.usefixtures("shut")
def test_clients_are_let_in_by_rules_that_go_again(on_host: HostCommand, url: str) -> None:
    def added(port: int, protocol: str, network: str) -> str:
        source = f"from {network} to any port {port} proto {protocol}" if network else f"{port}/{protocol}"
        return f"ufw allow {source} comment 'mistral_gateway'"

    wanted = [added(443, protocol, network) for network in NETWORKS for protocol in ("tcp", "udp")]
    assert sorted(rules(on_host)) == sorted([OTHERS[0], added(80, "tcp", ""), *wanted])
    assert is_let_in(url)
    CONVERGE.works({"mistral_gateway_firewall": ""})
    assert rules(on_host) == [OTHERS[0]]
    assert on_host("sh", "-c", f"ls {NOTED} 2>/dev/null || echo gone").strip() == "gone"
    assert not is_let_in(url)
    on_host(*OTHERS[1].split())
    CONVERGE.works()
    assert is_let_in(url)
    noted = json.loads(on_host("cat", NOTED))
    # What an administrator had opened before is his, though the gateway wants it too.
    assert (len(noted), OTHERS[1] in rules(on_host)) == (len(wanted), True)


@pytest.mark.usefixtures("shut")
def test_a_firewall_that_is_switched_off_is_told_of_and_stays_off(on_host: HostCommand) -> None:
    on_host("ufw", "disable")
    CONVERGE.refused({}, "gateway.firewall_not_running", "'ufw', which does not run on tls13")
    assert on_host("ufw", "status").strip() == "Status: inactive"
