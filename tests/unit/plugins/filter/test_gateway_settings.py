from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.filter.gateway_settings import gateway_settings

GOOD: dict[str, Any] = {
    "listen_address": "*",
    "https_port": 443,
    "status_port": 8081,
    "http_port": 80,
    "acme": False,
    "server_names": ["web", "192.0.2.1"],
    "certificate": "",
    "private_key": "",
    "certificate_days": 825,
    "certificate_renew_days": 30,
    "credentials_path": "/x/.credentials",
    "client_max_body_size": "50m",
    "read_timeout": 600,
    "shutdown_timeout": 900,
    "requests_per_minute": 0,
    "max_concurrent_requests": 0,
    "queue_timeout": 300,
    "queue_length": 16,
    "hsts_seconds": 63072000,
    "max_connections": 4096,
    "connections_per_address": 0,
    "fail2ban_attempts": 20,
    "fail2ban_ban_minutes": 60,
    "stop_timeout": 30,
    "log_days": 400,
    "memory_limit": "",
    "upstreams": ["127.0.0.1:11434"],
    "addresses": ["192.0.2.1", "2001:db8::1"],
}


def settings(**changed: Any) -> dict[str, Any]:
    return gateway_settings({**GOOD, **changed})


def test_the_defaults() -> None:
    found = settings()
    assert found["errors"] == []
    assert (found["listen"], found["names"], found["upstreams"]) == (
        ["*", "[::]"],
        ["web", "192.0.2.1"],
        ["127.0.0.1:11434"],
    )


@pytest.mark.parametrize(
    ("name", "value", "error_id"),
    [
        # The report's own.
        ("https_port", 70000, "number_invalid"),
        ("listen_address", "256.1.1.1", "address_invalid"),
        ("tls_profile", "old", "choice_invalid"),
        ("firewall", "iptables", "choice_invalid"),
        ("firewall", None, "choice_invalid"),
        ("read_timeout", -5, "number_invalid"),
        ("client_max_body_size", "huge", "size_invalid"),
        ("server_names", ['a;\n return 200 "x"; #'], "server_name_invalid"),
        ("memory_limit", "2g", "memory_limit_invalid"),
        ("memory_limit", "63M", "memory_limit_invalid"),
        ("memory_limit", 2048, "memory_limit_invalid"),
        ("memory_limit", "1G\nUser=root", "memory_limit_invalid"),
        ("log_days", 0, "number_invalid"),
        ("allowed_networks", ["192.0.2.1/24"], "network_invalid"),
        ("allowed_networks", ["all"], "network_invalid"),
        ("fail2ban_ignored_networks", ["0.0.0.0/0 ::/0"], "network_invalid"),
        # Numbers, and texts that only look like one to Python.
        ("https_port", 0, "number_invalid"),
        ("https_port", "8_443", "number_invalid"),
        ("https_port", " 8443", "number_invalid"),
        ("https_port", True, "number_invalid"),
        ("https_port", 443.5, "number_invalid"),
        ("https_port", "\u0664\u0664\u0663", "number_invalid"),
        ("https_port", "443; return 200", "number_invalid"),
        ("https_port", None, "number_invalid"),
        ("https_port", 8081, "ports_equal"),
        ("status_port", 65536, "number_invalid"),
        ("read_timeout", 0, "number_invalid"),
        ("read_timeout", "10m", "number_invalid"),
        ("shutdown_timeout", -1, "number_invalid"),
        ("requests_per_minute", "many", "number_invalid"),
        ("max_concurrent_requests", 10**9, "number_invalid"),
        ("queue_timeout", 0, "number_invalid"),
        ("queue_length", -1, "number_invalid"),
        ("certificate_days", 10**7, "number_invalid"),
        ("certificate_renew_days", 825, "renewed_at_every_run"),
        # Sizes: Nginx knows no g for a buffer, and 0 means that there is no limit.
        ("client_max_body_size", "1g", "size_invalid"),
        ("client_max_body_size", "0", "size_invalid"),
        ("client_max_body_size", "50m; include /etc/shadow", "size_invalid"),
        ("client_max_body_size", "2000m", "size_invalid"),
        ("client_max_body_size", "-1m", "size_invalid"),
        ("client_max_body_size", "50 m", "size_invalid"),
        ("client_max_body_size", True, "size_invalid"),
        # Addresses.
        ("listen_address", "", "address_invalid"),
        ("listen_address", "localhost", "address_invalid"),
        ("listen_address", "192.0.2.1:443", "address_invalid"),
        ("listen_address", "[192.0.2.1]", "address_invalid"),
        ("listen_address", "[2001:db8::1", "address_invalid"),
        ("listen_address", "fe80::1%eth0", "address_invalid"),
        ("listen_address", "224.0.0.1", "address_invalid"),
        ("listen_address", "* ssl; #", "address_invalid"),
        ("listen_address", ["*"], "address_invalid"),
        ("listen_address", "192.0.2.9", "address_not_here"),
        ("listen_address", "2001:db8::9", "address_not_here"),
        # Names.
        ("server_names", [], "server_names_empty"),
        ("server_names", "web", "list_invalid"),
        ("server_names", [443], "list_invalid"),
        ("server_names", [""], "server_name_invalid"),
        ("server_names", ["256.1.1.1"], "server_name_invalid"),
        ("server_names", ["~^.*$"], "server_name_invalid"),
        ("server_names", ["a b"], "server_name_invalid"),
        ("server_names", ["gäteway.example"], "server_name_invalid"),
        ("server_names", ["a" * 64], "server_name_invalid"),
        ("server_names", ["fe80::1%eth0"], "server_name_invalid"),
        ("server_names", ["web."], "server_name_invalid"),
        ("server_names", ["$host"], "server_name_invalid"),
        # Engines.
        ("upstreams", ["127.0.0.1"], "upstream_invalid"),
        ("upstreams", ["127.0.0.1:0"], "upstream_invalid"),
        ("upstreams", ["127.0.0.1:70000"], "upstream_invalid"),
        ("upstreams", ["2001:db8::7:11434"], "upstream_invalid"),
        ("upstreams", ["[127.0.0.1]:11434"], "upstream_invalid"),
        ("upstreams", ["http://127.0.0.1:11434"], "upstream_invalid"),
        ("upstreams", ["a:1 backup; server b:1"], "upstream_invalid"),
        ("upstreams", ["unix:/run/x.sock"], "upstream_invalid"),
        ("upstreams", "127.0.0.1:11434", "list_invalid"),
        # Paths.
        ("credentials_path", "", "path_invalid"),
        ("credentials_path", None, "path_invalid"),
        ("certificate", ["/a.pem"], "path_invalid"),
        ("private_key", "/a\n", "path_invalid"),
    ],
)
def test_what_nginx_could_not_use(name: str, value: object, error_id: str) -> None:
    (error,) = settings(**{name: value})["errors"]
    assert error.endswith(f" [gateway.{error_id}]")
    assert "\n" not in error


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert len(settings(https_port=0, queue_length="x", server_names=["a b", "c d"])["errors"]) == 4


@pytest.mark.parametrize("value", [8443, "8443"])
def test_a_number_may_be_a_text(value: object) -> None:
    assert settings(https_port=value)["https_port"] == 8443


@pytest.mark.parametrize(
    ("address", "listen"),
    [
        ("0.0.0.0", ["0.0.0.0"]),
        ("127.0.0.1", ["127.0.0.1"]),
        ("192.0.2.1", ["192.0.2.1"]),
        ("::", ["[::]"]),
        ("::1", ["[::1]"]),
        ("[::1]", ["[::1]"]),
        ("2001:0DB8::0001", ["[2001:db8::1]"]),
        ("[2001:db8::1]", ["[2001:db8::1]"]),
    ],
)
def test_addresses_are_written_as_nginx_takes_them(address: str, listen: list[str]) -> None:
    found = settings(listen_address=address)
    assert (found["errors"], found["listen"]) == ([], listen)


def test_a_host_without_ipv6() -> None:
    assert settings(addresses=["192.0.2.1"])["listen"] == ["*"]
    assert settings(addresses=["192.0.2.1", "::1"])["listen"] == ["*"]
    assert "address_not_here" in settings(addresses=["192.0.2.1"], listen_address="::")["errors"][0]


def test_an_address_that_comes_and_goes() -> None:
    assert settings(listen_address="192.0.2.9", any_address=True)["errors"] == []


def test_each_name_once_and_in_one_form() -> None:
    names = ["2001:0db8::0001", "Web.Example.ORG", "web.example.org", "2001:DB8:0::1", "*.example.org", "gpu_host-1"]
    found = settings(server_names=names)
    assert found["names"] == ["2001:db8::1", "web.example.org", "*.example.org", "gpu_host-1"]
    assert found["nginx_names"] == ["[2001:db8::1]", *found["names"][1:]]


def test_a_name_that_is_too_long_for_nginxs_table() -> None:
    long = f"{'a' * 41}.example.org"
    found = settings(server_names=[long, f"*.{long}"])
    assert found["nginx_names"] == [f"~^{'a' * 41}\\.example\\.org$", f"~^.+\\.{'a' * 41}\\.example\\.org$"]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("[2001:0db8::7]:11434", "[2001:db8::7]:11434"),
        ("192.0.2.7:1", "192.0.2.7:1"),
        ("192.0.2.7:01434", "192.0.2.7:1434"),
    ],
)
def test_engines(given: str, written: str) -> None:
    found = settings(upstreams=[given])
    assert (found["errors"], found["upstreams"]) == ([], [written])


@pytest.mark.parametrize(
    ("given", "listen"),
    [
        (["192.0.2.1:11434"], ["192.0.2.1:11434"]),
        (["127.0.0.1:11434", "192.0.2.1:11435"], ["127.0.0.1:11434", "192.0.2.1:11435"]),
        (["[2001:0DB8::1]:11434"], ["[2001:db8::1]:11434"]),
        (["*:11434"], ["*:11434", "[::]:11434"]),
    ],
)
def test_where_ollamas_clients_are_served(given: list[str], listen: list[str]) -> None:
    found = settings(ollama_listen=given)
    assert (found["errors"], found["ollama_listen"]) == ([], listen)
    assert found["ollama_ports"] == sorted({int(text.rpartition(":")[2]) for text in listen})


@pytest.mark.parametrize(
    ("given", "error_id"),
    [
        (["192.0.2.1"], "ollama_listen_invalid"),
        (["192.0.2.1:0"], "ollama_listen_invalid"),
        (["192.0.2.1:70000"], "ollama_listen_invalid"),
        (["192.0.2.1:11434; return 200"], "ollama_listen_invalid"),
        (["2001:db8::1:11434"], "ollama_listen_invalid"),
        (["localhost:11434"], "ollama_listen_invalid"),
        ([":11434"], "ollama_listen_invalid"),
        (["192.0.2.1:11434", "192.0.2.1:11434"], "ollama_listen_invalid"),
        (["192.0.2.9:11434"], "address_not_here"),
        (["192.0.2.1:443"], "ports_equal"),
        (["127.0.0.1:8081"], "ports_equal"),
        ("192.0.2.1:11434", "list_invalid"),
        ([11434], "list_invalid"),
    ],
)
def test_where_ollamas_clients_cannot_be_served(given: Any, error_id: str) -> None:
    (error,) = settings(ollama_listen=given)["errors"]
    assert f"[gateway.{error_id}]" in error


def test_the_firewall_guards_ollamas_port_too() -> None:
    found = settings(ollama_listen=["192.0.2.1:11434"], connections_per_address=5)
    assert "tcp dport { 443, 11434 } goto gateway" in found["firewall"]


@pytest.mark.parametrize("name", ["client_ca", "jwks"])
def test_files_that_are_no_paths(name: str) -> None:
    (error,) = settings(**{name: "a\nb", "client_names": ["alice"] if name == "client_ca" else []})["errors"]
    assert "[gateway.path_invalid]" in error


@pytest.mark.parametrize("given", [{"client_ca": "ca.pem"}, {"client_names": ["alice"]}])
def test_client_certificates_need_an_authority_and_names(given: dict[str, Any]) -> None:
    (error,) = settings(**given)["errors"]
    assert error.endswith("[gateway.client_certificates_incomplete]")
