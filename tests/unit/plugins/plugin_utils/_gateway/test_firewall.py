"""The table of nftables; the scenario has a kernel read it."""

from __future__ import annotations

from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._gateway.firewall import openings, table


def lines(**given: Any) -> list[str]:
    errors: list[StackError] = []
    found = table(given, [443], errors)
    assert errors == []
    return [line.strip() for line in found.splitlines()]


def test_without_a_wish_there_is_no_table() -> None:
    assert lines() == []
    assert lines(allowed_networks=[], connections_per_address=0) == []


def test_only_the_networks_may_connect() -> None:
    found = lines(allowed_networks=["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"])
    assert "meta nfproto ipv4 ip saddr != { 10.0.0.0/8, 192.0.2.7/32 } drop" in found
    assert "meta nfproto ipv6 ip6 saddr != { 2001:db8::/32 } drop" in found
    assert found.index('iifname "lo" accept') < found.index("tcp dport { 443 } goto gateway")


def test_a_family_without_a_network_is_shut_out() -> None:
    assert "meta nfproto ipv6 drop" in lines(allowed_networks=["10.0.0.0/8"])
    assert "meta nfproto ipv4 drop" in lines(allowed_networks=["2001:db8::/32"])


def test_a_limit_for_each_address() -> None:
    found = lines(connections_per_address=50)
    assert "meta nfproto ipv4 ct state new add @connections4 { ip saddr ct count over 50 } drop" in found
    assert not [line for line in found if "saddr !=" in line]


def opened(**given: Any) -> list[tuple[int, str, str]]:
    found = openings(given, {"https_port": 443, "http_port": 80, "ollama_ports": [11434]})
    return [(each["port"], each["protocol"], each["network"]) for each in found]


def test_what_the_hosts_firewall_opens() -> None:
    assert opened() == [(443, "tcp", ""), (11434, "tcp", "")]
    assert opened(allowed_networks=["2001:db8::/32", "192.0.2.7", "192.0.2.7/32"], http3=True) == [
        (443, "tcp", "192.0.2.7/32"),
        (11434, "tcp", "192.0.2.7/32"),
        (443, "udp", "192.0.2.7/32"),
        (443, "tcp", "2001:db8::/32"),
        (11434, "tcp", "2001:db8::/32"),
        (443, "udp", "2001:db8::/32"),
    ]


def test_an_authority_may_ask_from_everywhere() -> None:
    assert opened(allowed_networks=["10.0.0.0/8"], acme=True)[-1] == (80, "tcp", "")


def test_what_is_no_network_is_said() -> None:
    errors: list[StackError] = []
    table({"allowed_networks": ["10.0.0.1/8", "x", 7]}, [443], errors)
    assert [error.id for error in errors] == ["gateway.network_invalid"] * 3
