"""The lines of TLS and HTTP for what a release's Nginx can do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._gateway import tls

OLD: dict[str, Any] = {"release": "Debian-12", "tls_profile": "intermediate", "http2": True, "default_server": True}
NEW: dict[str, Any] = {**OLD, "release": "Debian-13"}


def test_intermediate_is_mozillas() -> None:
    lines = tls.tls_lines(NEW)
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in lines
    assert "ssl_ecdh_curve X25519MLKEM768:X25519:prime256v1:secp384r1;" in lines
    ciphers = next(line for line in lines if line.startswith("ssl_ciphers ")).removesuffix(";").split()[1].split(":")
    assert len(ciphers) == 6
    assert all(name.startswith("ECDHE-") and ("GCM" in name or "CHACHA20" in name) for name in ciphers)


def test_modern_has_no_older_protocol() -> None:
    lines = tls.tls_lines({**NEW, "tls_profile": "modern"})
    assert "ssl_protocols TLSv1.3;" in lines
    assert not [line for line in lines if line.startswith("ssl_ciphers")]


def test_an_older_openssl_gets_no_curve_that_it_does_not_know() -> None:
    assert "ssl_ecdh_curve X25519:prime256v1:secp384r1;" in tls.tls_lines(OLD)
    assert "ssl_ecdh_curve X25519:prime256v1:secp384r1;" in tls.tls_lines({**OLD, "release": "Other-1"})


@pytest.mark.parametrize(
    ("given", "line", "listens"),
    [
        (OLD, False, "listen *:443 ssl http2;"),
        (NEW, True, "listen *:443 ssl;"),
        ({**OLD, "http2": False}, False, "listen *:443 ssl;"),
        ({**NEW, "http2": False}, False, "listen *:443 ssl;"),
    ],
)
def test_http2_is_said_where_the_release_reads_it(given: dict[str, Any], line: bool, listens: str) -> None:
    assert ("http2 on;" in tls.tls_lines(given)) is line
    assert tls.listen_lines(given, ["*"], 443, first=False) == [listens]


def test_the_first_server_of_the_port_is_its_default() -> None:
    given = {**NEW, "http3": True}
    assert tls.listen_lines(given, ["*", "[::]"], 443, first=True) == [
        "listen *:443 ssl default_server;",
        "listen [::]:443 ssl default_server;",
        "listen *:443 quic default_server reuseport;",
        "listen [::]:443 quic default_server reuseport;",
    ]
    assert tls.listen_lines(given, ["*"], 443, first=False) == ["listen *:443 ssl;", "listen *:443 quic;"]
    alone = {**given, "default_server": False}
    assert tls.listen_lines(alone, ["*"], 443, first=True) == ["listen *:443 ssl;", "listen *:443 quic reuseport;"]


def test_http3_is_refused_where_nginx_cannot() -> None:
    errors: list[StackError] = []
    tls.check({**NEW, "http3": True}, errors)
    tls.check(OLD, errors)
    assert errors == []
    tls.check({**OLD, "http3": True}, errors)
    assert [error.id for error in errors] == ["gateway.http3_unsupported"]
    assert "Debian 12" in str(errors[0])


@pytest.mark.parametrize(
    ("names", "only"),
    [(["a.example"], True), (["*.example"], True), (["a.example", "192.0.2.1"], False), (["2001:db8::1"], False)],
)
def test_whether_every_client_sends_a_name(names: list[str], only: bool) -> None:
    assert tls.only_dns_names(names) is only
