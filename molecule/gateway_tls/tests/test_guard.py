"""Who may connect to the gateway: networks, connections of one address, and whoever tries keys."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

HostCommand = Callable[..., str]
NAME = "gw.test.example"


def connect(url: str, seconds: float = 5) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname, address.port or 443), timeout=seconds)


@pytest.fixture
def jail(on_host: HostCommand) -> Iterator[Callable[[], list[str]]]:
    """The addresses that are shut out; none before and after the test."""

    def banned() -> list[str]:
        return re.findall(r"[0-9a-f.:]+", on_host("fail2ban-client", "get", "mistral-gateway", "banip"))

    on_host("fail2ban-client", "unban", "--all")
    yield banned
    on_host("fail2ban-client", "unban", "--all")


def secured(url: str, seconds: float = 5) -> ssl.SSLSocket:
    """A connection on which the gateway has answered."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connect(url, seconds), server_hostname=NAME)


def ask(url: str, key: str, path: str = "/v1/models") -> str:
    with secured(url) as connection:
        headers = f"Host: {NAME}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        connection.sendall(f"GET {path} HTTP/1.1\r\n{headers}".encode())
        return connection.recv(64).split()[1].decode()


def test_who_tries_keys_is_shut_out(url: str, key: str, jail: Callable[[], list[str]]) -> None:
    # Nobody is blamed by what a client writes into the log.
    injected = '/v1/models","status":401,"x":"{"time":"2026-01-01T00:00:00+00:00","address":"192.0.2.9'
    for _attempt in range(5):
        assert ask(url, key) == "200"
        assert ask(url, key, injected.replace('"', "%22")) in ("404", "400")
    assert jail() == []
    for _attempt in range(5):
        assert ask(url, "sk-wrong") == "401"
    end = time.monotonic() + 20
    while not jail():
        assert time.monotonic() < end, "nobody is shut out"
        time.sleep(0.2)
    assert len(jail()) == 1
    assert "192.0.2.9" not in jail()
    # No answer at all, or that of a proxy between that could not connect either.
    with pytest.raises(OSError, match="(?i)timed out|EOF|reset|refused"):
        ask(url, key)


def test_one_address_gets_some_connections_only(url: str, key: str) -> None:
    with ExitStack() as stack:
        opened = 0
        for _number in range(40):
            try:
                stack.enter_context(secured(url, 2))
            except OSError:
                break
            opened += 1
        assert 20 <= opened <= 30
    time.sleep(1)
    assert ask(url, key) == "200"


def test_others_networks_are_refused_in_the_kernel(on_host: HostCommand) -> None:
    table = on_host("nft", "list", "table", "inet", "mistral_gateway")
    assert re.search(r"ip saddr != \{ 10\.0\.0\.0/8, .*\} drop", table)
    assert "meta nfproto ipv6 drop" in table
    assert on_host("systemctl", "is-enabled", "mistral-gateway-firewall.service").strip() == "enabled"


def test_a_firewall_that_begins_anew_keeps_it(on_host: HostCommand) -> None:
    on_host("systemctl", "restart", "nftables.service")
    end = time.monotonic() + 20
    while "mistral_gateway" not in on_host("nft", "list", "tables"):
        assert time.monotonic() < end, "the table is gone"
        time.sleep(0.2)
