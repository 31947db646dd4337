"""The gateway's rules in firewalld, which lets SSH in only: all tests of this scenario come through them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from tests.tools.scenario import Playbook

HostCommand = Callable[..., str]
CONVERGE = Playbook(Path(__file__).parents[1] / "converge.yml")
RULE = 'rule port port="443" protocol="tcp" accept'


def rules(on_host: HostCommand, *options: str) -> list[str]:
    # Without any it prints an empty line.
    return [line for line in on_host("firewall-cmd", *options, "--list-rich-rules").splitlines() if line]


def is_let_in(url: str, trust: ssl.SSLContext) -> bool:
    """Whether the gateway answers a handshake; what Docker has in between takes every connection."""
    address = urlsplit(url)
    try:
        with socket.create_connection((address.hostname, address.port or 443), timeout=3) as connection:
            trust.wrap_socket(connection, server_hostname="localhost").close()
    except OSError:
        return False
    return True


def test_clients_are_let_in_by_a_rule_that_goes_again(on_host: HostCommand, url: str, trust: ssl.SSLContext) -> None:
    assert rules(on_host) == rules(on_host, "--permanent") == [RULE]
    assert is_let_in(url, trust)
    services = on_host("firewall-cmd", "--list-services")
    try:
        CONVERGE.works({"mistral_gateway_firewall": ""})
        assert rules(on_host) == rules(on_host, "--permanent") == []
        assert not is_let_in(url, trust)
    finally:
        # The other tests come this way too.
        CONVERGE.works()
    assert rules(on_host) == rules(on_host, "--permanent") == [RULE]
    assert is_let_in(url, trust)
    assert on_host("firewall-cmd", "--list-services") == services
    assert "ssh" in services
