# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that can't be reached, or may not be."""

from __future__ import annotations

import hashlib
import socket
import time
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import http_client

from tests.fakes.hub.certificate import make as make_certificate
from tests.fakes.hub.hub import Server, running
from tests.fakes.hub.place import Place
from tests.fakes.hub.silent import Silent


def test_40_an_unreachable_server(place: Place) -> None:
    place.fails("source_unreachable", "https://127.0.0.1:1/model.gguf")
    place.fails("source_unreachable", "https://model.invalid/model.gguf")
    place.fails("source_unreachable", f"https://127.0.0.1:{place.plain.server_port}/model.gguf", retries=0)


def test_40_a_proxy_that_refuses(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.plain.fault("", status=407, times=-1, method="")
    monkeypatch.setenv("https_proxy", f"http://user:secret@127.0.0.1:{place.plain.server_port}")
    message = place.fails("proxy_refused", "https://192.0.2.1/model.gguf")
    assert "secret" not in message


def test_offline(place: Place) -> None:
    place.fails("offline", offline=True)
    place.fetch()
    assert not place.fetch(offline=True).changed
    assert len(place.bodies()) == 1


@pytest.fixture
def both_families(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every name has this host's address of IPv6, then that of IPv4; the names that were asked for."""
    asked: list[str] = []

    def addresses(host: str, port: int, *_arguments: Any, **_options: Any) -> list[Any]:
        asked.append(host)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    return asked


def test_40_an_address_of_ipv6_that_is_dead(place: Place, both_families: list[str]) -> None:
    """Nobody listens at the name's first address; its second one works."""
    place.fetch()
    place.check(there=True)
    assert both_families
    assert place.sleeps == []


@pytest.mark.parametrize("way", ["plain", "tls", "proxy"])
def test_40_an_address_of_ipv6_that_never_answers(
    place: Place, both_families: list[str], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent to the name's first address is dropped: that costs a moment, once, and not the time-out."""
    certificate = place.root / "certificate.pem"
    make_certificate(certificate)
    server = Server(str(certificate) if way == "tls" else "")
    port = server.server_port
    url = f"{server.scheme}://localhost:{port}/model.gguf"
    if way == "proxy":
        url = "http://model.example/model.gguf"
        monkeypatch.setenv("http_proxy", f"http://proxy.example:{port}")
    server.files[url if way == "proxy" else "/model.gguf"] = place.content
    digest = hashlib.sha256(place.content).hexdigest()
    start = time.monotonic()
    with Silent("::1", port), running(server):
        limits = http_client.Limits(connect_seconds=0.5)
        place.fetch(url, sha256=digest, timeout=15, ca_path=str(certificate), limits=limits)
    # Filling the silent server's queue is a part of that.
    assert time.monotonic() - start < 5
    place.check(there=True)
    assert set(both_families) == {"proxy.example" if way == "proxy" else "localhost"}
    assert place.sleeps == []


@pytest.mark.parametrize("source", ["file:///srv/m%00.gguf", "oci://localhost/m%00:v1", "ollama://m%00:v1"])
def test_37_a_nul_in_a_source(place: Place, source: str) -> None:
    place.fails("source_invalid", source)
    assert not place.store.exists()
