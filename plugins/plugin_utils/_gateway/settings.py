# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's variables: what Nginx could not use is refused before anything is changed, the rest has one form.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._gateway import acme, firewall, tls

NUMBER = Fault(
    "gateway.number_invalid",
    "'{name}' is {value!r}, which is not a whole number from {low} to {high}.",
    "Give one, without a unit.",
)
SAME_PORT = Fault(
    "gateway.ports_equal",
    "'mistral_gateway_{first}' and 'mistral_gateway_{second}' are both {port}.",
    "Choose another one of the two.",
)
RENEWED_ALWAYS = Fault(
    "gateway.renewed_at_every_run",
    "A certificate for {days} days ('mistral_gateway_certificate_days') that is replaced {renew} days before its end "
    "('mistral_gateway_certificate_renew_days') would be replaced at every run.",
    "Lower the second one.",
)
SIZE = Fault(
    "gateway.size_invalid",
    "'{name}' is {value!r}, which is not a size from 1k to 1024m as Nginx writes it.",
    "Give a whole number and k or m, 50m for example.",
)
ADDRESS = Fault(
    "gateway.address_invalid",
    "'{name}' is {value!r}, which is not an IP address of a host.",
    "Give one of its addresses, without a port, or '*' for all.",
)
NOT_HERE = Fault(
    "gateway.address_not_here",
    "'{name}' is {value}, which is not an address of this host: it has {found}.",
    "Give one of these, or '*' for all; for an address that comes and goes set the kernel's {setting} to 1.",
)
SERVER_NAME = Fault(
    "gateway.server_name_invalid",
    "'mistral_gateway_server_names' holds {value!r}, which is neither a DNS name nor an IP address.",
    "Give names of letters, digits and dashes, or addresses; names in other alphabets in the form xn--.",
)
NO_NAMES = Fault(
    "gateway.server_names_empty",
    "'mistral_gateway_server_names' is empty.",
    "Give the names or addresses by which clients call the gateway, or leave it out.",
)
UPSTREAM = Fault(
    "gateway.upstream_invalid",
    "The engine {value!r} ('mistral_gateway_upstreams', else from the hosts of the group gpu_hosts) is not "
    "IP_ADDRESS:PORT.",
    "Give an IP address, since names are not looked up, and a port, 192.0.2.7:11434 or [2001:db8::7]:11434 for "
    "example.",
)
OLLAMA_LISTEN = Fault(
    "gateway.ollama_listen_invalid",
    "'mistral_gateway_ollama_listen' holds {value!r}, which is not ADDRESS:PORT, or holds it twice.",
    "Give an IP address of the host, or * for all of them, and a port, 192.0.2.5:11434 or [2001:db8::5]:11434 for "
    "example.",
)
LIST = Fault(
    "gateway.list_invalid",
    "'{name}' is {value!r}, which is not a list of texts.",
    "Write a list, an entry a line, each after a dash.",
)
CLIENT_NAMES = Fault(
    "gateway.client_certificates_incomplete",
    "'{given}' is given and '{missing}' is not, so no client certificate would be accepted.",
    "Give both, or neither.",
)
MEMORY = Fault(
    "gateway.memory_limit_invalid",
    "'mistral_gateway_memory_limit' is {value!r}, which is not an amount of memory of at least 64M.",
    "Give a whole number and M or G, 2G for example, or leave it empty.",
)
PATH = Fault(
    "gateway.path_invalid",
    "'{name}' is {value!r}, which is not a path.",
    "Give a path on the controller.",
)
CHOICE = Fault(
    "gateway.choice_invalid",
    "'{name}' is {value!r}, which is none of {choices}.",
    "Give one of these, or leave it out.",
)


class Range(NamedTuple):
    """A whole number and what Nginx, or what stands behind the variable, can do with it."""

    low: int
    high: int


DAY = 86_400
# Beyond these the certificate's date has no year any more, Nginx takes no rate, or the queue's memory is too small.
NUMBERS = {
    "https_port": Range(1, 65_535),
    "status_port": Range(1, 65_535),
    "http_port": Range(1, 65_535),
    "certificate_days": Range(1, 36_500),
    "certificate_renew_days": Range(0, 36_500),
    "read_timeout": Range(1, DAY),
    "shutdown_timeout": Range(0, DAY),
    "requests_per_minute": Range(0, 1_000_000),
    "max_concurrent_requests": Range(0, 1000),
    "queue_timeout": Range(1, DAY),
    "queue_length": Range(0, 1000),
    "max_connections": Range(0, 500_000),
    "stop_timeout": Range(0, 3600),
    "log_days": Range(1, 3660),
    "connections_per_address": Range(0, 1_000_000),
    "fail2ban_attempts": Range(1, 100_000),
    "fail2ban_ban_minutes": Range(1, 525_600),
    "hsts_seconds": Range(0, 10 * 366 * DAY),
}
CHOICES = {"tls_profile": ("intermediate", "modern"), "firewall": ("", "ufw", "firewalld")}
# Nginx keeps names in a table whose places are as wide as a line of the processor's cache.
LONGEST_IN_TABLE = 40
# One request of the usual size and what Nginx itself takes.
LEAST_MEMORY_MB = 64


def settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The variables in the form in which the role uses them; below C(errors) what is wrong with them, a line each."""
    errors: list[StackError] = []
    result: dict[str, Any] = {name: _number(name, given.get(name), errors) for name in NUMBERS}
    _ports(result, bool(given.get("acme")), errors)
    days, renew = result["certificate_days"], result["certificate_renew_days"]
    if days and renew is not None and renew >= days:
        errors.append(StackError(RENEWED_ALWAYS, days=days, renew=renew))
    result["client_max_body_size"] = _size("client_max_body_size", given.get("client_max_body_size"), errors)
    _memory(given.get("memory_limit"), errors)
    for name, choices in CHOICES.items():
        if name in given and given[name] not in choices:
            known = ", ".join(repr(each) for each in choices)
            errors.append(StackError(CHOICE, name=f"mistral_gateway_{name}", value=given[name], choices=known))
    for name in ("credentials_path", "certificate", "private_key"):
        _path(name, given.get(name), name != "credentials_path", errors)
    _path("client_ca", given.get("client_ca", ""), True, errors)
    both = ("mistral_gateway_client_ca", "mistral_gateway_client_names")
    if bool(given.get("client_ca")) != bool(given.get("client_names")):
        present, missing = both if given.get("client_ca") else both[::-1]
        errors.append(StackError(CLIENT_NAMES, given=present, missing=missing))
    _path("jwt.jwks", given.get("jwks", ""), True, errors)
    addresses = _listen("listen_address", given.get("listen_address"), given, errors)
    result["listen"] = addresses
    result["names"] = _names(given.get("server_names"), errors)
    result["nginx_names"] = [_nginx_name(name) for name in result["names"]]
    result["upstreams"] = _upstreams(given.get("upstreams"), errors)
    result["ollama"] = ollama = _ollama(given, result, errors)
    result["ollama_listen"] = [f"{entry['address']}:{entry['port']}" for entry in ollama]
    result["ollama_ports"] = sorted({entry["port"] for entry in ollama})
    tls.check(given, errors)
    if given.get("acme"):
        acme.check(given, result["names"], errors)
    port, alone = result["https_port"], not given.get("default_server")
    result["listen_lines"] = tls.listen_lines(given, addresses, port, first=alone)
    result["default_listen_lines"] = tls.listen_lines(given, addresses, port, first=True)
    result["tls_lines"] = tls.tls_lines(given)
    result["only_dns_names"] = tls.only_dns_names(result["names"])
    # Not the port for ACME: an authority asks from where it likes.
    result["firewall"] = firewall.table({**given, **result}, [port, *result["ollama_ports"]], errors)
    result["openings"] = firewall.openings(given, result)
    firewall.networks("fail2ban_ignored_networks", given.get("fail2ban_ignored_networks") or [], errors)
    result["errors"] = [str(error) for error in errors]
    return result


def _number(name: str, value: Any, errors: list[StackError]) -> int | None:
    allowed = NUMBERS[name]
    text = str(value)
    if not isinstance(value, bool) and re.fullmatch("[0-9]{1,9}", text) and allowed.low <= int(text) <= allowed.high:
        return int(text)
    errors.append(StackError(NUMBER, name=f"mistral_gateway_{name}", value=value, low=allowed.low, high=allowed.high))
    return None


def _ports(numbers: Mapping[str, int | None], acme_wanted: bool, errors: list[StackError]) -> None:
    names = ["https_port", "status_port"] + (["http_port"] if acme_wanted else [])
    for first, second in itertools.combinations(names, 2):
        if numbers[first] and numbers[first] == numbers[second]:
            errors.append(StackError(SAME_PORT, first=first, second=second, port=numbers[first]))


def _size(name: str, value: Any, errors: list[StackError]) -> str:
    match = re.fullmatch("([0-9]{1,10})([kKmM]?)", "" if isinstance(value, bool) else str(value))
    if match:
        size = int(match.group(1)) * {"": 1, "k": 1024, "m": 1024 * 1024}[match.group(2).lower()]
        if 1024 <= size <= 1024 * 1024 * 1024:
            return match.group(0)
    errors.append(StackError(SIZE, name=f"mistral_gateway_{name}", value=value))
    return ""


def _memory(value: Any, errors: list[StackError]) -> None:
    match = re.fullmatch("([1-9][0-9]{0,6})([MG])", value) if isinstance(value, str) else None
    if value != "" and (match is None or int(match[1]) * {"M": 1, "G": 1024}[match[2]] < LEAST_MEMORY_MB):
        errors.append(StackError(MEMORY, value=value))


def _path(name: str, value: Any, may_be_empty: bool, errors: list[StackError]) -> None:
    if not isinstance(value, str) or not (value.strip() or may_be_empty) or re.search(r"[\x00-\x1f]", value):
        errors.append(StackError(PATH, name=f"mistral_gateway_{name}", value=value))


def _listen(name: str, value: Any, given: Mapping[str, Any], errors: list[StackError]) -> list[str]:
    """What follows C(listen), without the port."""
    here = [str(address) for address in given.get("addresses") or []]
    if value == "*":
        return ["*"] + (["[::]"] if any(":" in address for address in here if address != "::1") else [])
    text = value if isinstance(value, str) else ""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]|([0-9A-Fa-f:.]+)", text)
    try:
        address = ipaddress.ip_address((match.group(1) or match.group(2)) if match else "")
    except ValueError:
        address = None
    # A link-local address is none without its interface, which Nginx does not take.
    if address is None or address.is_multicast or (address.version == 6 and address.is_link_local):
        errors.append(StackError(ADDRESS, name=f"mistral_gateway_{name}", value=value))
        return []
    if address.is_unspecified or address.is_loopback:
        is_here = address.version == 4 or any(":" in entry for entry in here)
    else:
        is_here = str(address) in here or bool(given.get("any_address"))
    if not is_here:
        setting = f"net.ipv{address.version}.ip_nonlocal_bind"
        errors.append(
            StackError(
                NOT_HERE,
                name=f"mistral_gateway_{name}",
                value=address,
                found=", ".join(here) or "none",
                setting=setting,
            )
        )
    return [_bracketed(str(address))]


def _ollama(given: Mapping[str, Any], ports: Mapping[str, Any], errors: list[StackError]) -> list[dict[str, Any]]:
    """Where Ollama's clients are served: C(address) as after C(listen), C(port)."""
    found: list[dict[str, Any]] = []
    for text in _texts("ollama_listen", given.get("ollama_listen", []), errors):
        host, _colon, digits = text.rpartition(":")
        # An address of IPv6 needs brackets here, or its end would be taken for the port.
        is_whole = (
            re.fullmatch("[1-9][0-9]{0,4}", digits) and int(digits) <= 65_535 and (":" not in host or "[" in host)
        )
        wrong: list[StackError] = []
        addresses = _listen("ollama_listen", host, given, wrong) if is_whole else []
        entries = [{"address": address, "port": int(digits)} for address in addresses]
        if any(error.id == ADDRESS.id for error in wrong) or not is_whole or any(entry in found for entry in entries):
            errors.append(StackError(OLLAMA_LISTEN, value=text))
            continue
        errors += wrong
        for name in ["https_port", "status_port"] + (["http_port"] if given.get("acme") else []):
            if ports[name] == int(digits):
                errors.append(StackError(SAME_PORT, first=name, second="ollama_listen", port=digits))
        found += entries
    return found


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _texts(name: str, value: Any, errors: list[StackError]) -> list[str]:
    if isinstance(value, (list, tuple)) and all(isinstance(entry, str) for entry in value):
        return list(value)
    errors.append(StackError(LIST, name=f"mistral_gateway_{name}", value=value))
    return []


def is_dns_name(name: str) -> bool:
    """Whether it can be a host's name. An underscore is in many an inventory's names."""
    labels = name.split(".")
    return (
        len(name) <= 253
        and all(re.fullmatch("[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", label) for label in labels)
        # What ends in digits only is an address that is none.
        and not labels[-1].isdigit()
    )


def _names(value: Any, errors: list[StackError]) -> list[str]:
    """Each name once, in its one form."""
    texts = _texts("server_names", value, errors)
    if value == []:
        errors.append(StackError(NO_NAMES))
    found: dict[str, None] = {}
    for text in texts:
        try:
            name = str(ipaddress.ip_address(text if "%" not in text else ""))
        except ValueError:
            name = text.lower()
            if not is_dns_name(name[2:] if name.startswith("*.") else name):
                errors.append(StackError(SERVER_NAME, value=text))
                continue
        found[name] = None
    return list(found)


def _nginx_name(name: str) -> str:
    """The name as C(server_name) takes it: a long one as an expression, which is in no table."""
    if len(name) <= LONGEST_IN_TABLE:
        return _bracketed(name)
    pattern = re.escape(name[2:]) if name.startswith("*.") else re.escape(name)
    return f"~^{'.+' + chr(92) + '.' if name.startswith('*.') else ''}{pattern}$"


def _upstreams(value: Any, errors: list[StackError]) -> list[str]:
    found = []
    for text in _texts("upstreams", value, errors):
        match = re.fullmatch(r"(\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+)):(?P<port>[0-9]{1,5})", text)
        try:
            address = ipaddress.ip_address((match["six"] or match["four"]) if match else "")
        except ValueError:
            address = None
        right = address is not None and match is not None and (address.version == 6) == bool(match["six"])
        if not right or match is None or not 1 <= int(match["port"]) <= 65_535:
            errors.append(StackError(UPSTREAM, value=text))
            continue
        found.append(f"{_bracketed(str(address))}:{int(match['port'])}")
    return found
