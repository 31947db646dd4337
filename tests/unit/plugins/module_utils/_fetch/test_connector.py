# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to names of which some addresses refuse, and others never answer."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.connector import Connector

from tests.fakes.hub.silent import Silent

NAME = ("model.example", 443)
Resolve = Callable[..., None]


def entry(host: str, port: int) -> Any:
    if ":" in host:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    def to(*addresses: tuple[str, int]) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_given: [entry(*address) for address in addresses])

    return to


@pytest.fixture
def open_files() -> Iterator[None]:
    """No attempt is left open."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.fixture
def listening() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


@pytest.fixture
def refusing() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[0], server.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[Silent]:
    with Silent() as made:
        yield made


def connected(connector: Connector, timeout: float = 5) -> tuple[tuple[str, int], float]:
    """Who answers, and after how many seconds."""
    start = time.monotonic()
    with connector.connect(NAME, timeout) as connection:
        assert connection.gettimeout() == timeout
        return connection.getpeername(), time.monotonic() - start


def test_an_address_that_never_answers(
    open_files: None, resolve: Resolve, silent: Silent, listening: tuple[str, int]
) -> None:
    resolve(silent.address, listening)
    connector = Connector(0.5)
    answered, seconds = connected(connector)
    assert answered == listening
    assert 0.5 <= seconds < 4
    # The next time it begins with the one that answered.
    answered, seconds = connected(connector)
    assert (answered, seconds < 0.5) == (listening, True)


def test_an_address_that_refuses(
    open_files: None, resolve: Resolve, refusing: tuple[str, int], listening: tuple[str, int]
) -> None:
    resolve(refusing, listening)
    answered, seconds = connected(Connector(30))
    assert (answered, seconds < 10) == (listening, True)


def test_a_slow_address_is_waited_for(
    open_files: None, resolve: Resolve, silent: Silent, refusing: tuple[str, int]
) -> None:
    """Linux asks again after a second, and is answered then."""
    resolve(silent.address, refusing)
    threading.Timer(0.5, silent.wake).start()
    answered, seconds = connected(Connector(30))
    assert (answered, seconds > 0.5) == (silent.address, True)


def test_a_kind_of_addresses_that_is_dropped_costs_one_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many IPv6 addresses a name has, in a network that drops them all."""
    tried: list[str] = []

    def opened(self: Connector, family: int, _kind: int, _protocol: int, where: Any, _seconds: float) -> Any:
        tried.append(where[0])
        if family == socket.AF_INET6:
            raise TimeoutError
        return socket.socket()

    addresses = [entry(f"2001:db8::{number}", 443) for number in range(4)] + [entry("192.0.2.1", 443)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_given: addresses)
    monkeypatch.setattr(Connector, "_open", opened)
    Connector(5).connect(NAME, 30).close()
    assert tried == ["2001:db8::0", "192.0.2.1"]


def test_nobody_answers(open_files: None, resolve: Resolve, silent: Silent) -> None:
    """One after the other, each has its time."""
    resolve(silent.address, silent.address, silent.address)
    start = time.monotonic()
    with pytest.raises(socket.timeout):
        Connector(0.3).connect(NAME, 30)
    assert 0.9 <= time.monotonic() - start < 10


def test_it_is_not_waited_for_longer_than_for_bytes(resolve: Resolve, silent: Silent) -> None:
    resolve(silent.address)
    start = time.monotonic()
    with pytest.raises(socket.timeout):
        Connector(60).connect(NAME, 0.3)
    assert time.monotonic() - start < 10


def test_the_error_that_tells_most(
    open_files: None, resolve: Resolve, refusing: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host without IPv6 says so of each such address, which is not what is wrong."""
    resolve(("2001:db8::1", 443), refusing, ("2001:db8::2", 443))
    create = socket.socket

    def without(family: int, *arguments: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return create(family, *arguments)

    monkeypatch.setattr(socket, "socket", without)
    with pytest.raises(ConnectionRefusedError):
        Connector(1.0).connect(NAME, 1.0)


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(socket.gaierror):
        Connector(1.0).connect(("model.invalid", 443), 1.0)
