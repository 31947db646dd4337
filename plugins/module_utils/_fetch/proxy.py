# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which proxy a request goes through, by the variables of the environment as curl and Go read them.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Python's own reading of C(no_proxy) knows no networks.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import urllib.parse
from collections.abc import Mapping
from typing import NamedTuple, Union

_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
_NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_PORT = 3128


class Proxy(NamedTuple):
    """Where a proxy is, and the header with which it is asked; C(shown) is free of the secrets in C(url)."""

    host: str
    port: int
    headers: dict[str, str]
    shown: str
    url: str


def settings(*environments: Mapping[str, str]) -> dict[str, str]:
    """The variables about proxies, in small letters. Of several environments the last one that says something counts.

    In each of them small letters win over large ones, also if they are there to say nothing.
    """
    found: dict[str, str] = {}
    for environment in environments:
        for name in _NAMES:
            value = environment[name] if name in environment else environment.get(name.upper())
            if value is not None:
                found[name] = value.strip()
    return found


def _address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _is_in(address: _Address, text: str) -> bool:
    """Whether an address is the one, or in the network, that an entry names."""
    try:
        network = ipaddress.ip_network(text.partition("%")[0], strict=False)
    except ValueError:
        return False
    return address.version == network.version and address in network


def _entry(text: str) -> tuple[str, int]:
    """What an entry of no_proxy names, and the port that it is for; 0 if it is for all."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](/\d+)?(?::(\d+))?", text)
    if bracketed:
        return bracketed[1] + (bracketed[2] or ""), int(bracketed[3] or 0)
    name, _colon, port = text.rpartition(":")
    # More colons are those of an address.
    return (name, int(port)) if port.isascii() and port.isdigit() and ":" not in name and name else (text, 0)


def bypasses(host: str, port: int, no_proxy: str) -> bool:
    """Whether a host is reached without a proxy: C(*), names and what ends with them, addresses, networks, with ports.

    Names are not resolved to look whether their address is in a network.
    """
    name = host.strip("[]").rstrip(".").lower()
    address = _address(name)
    for text in re.split(r"[,\s]+", no_proxy.strip().lower()):
        if text == "*":
            return True
        entry, only = _entry(text)
        if only not in (0, port):
            continue
        if address is not None:
            if _is_in(address, entry):
                return True
            continue
        domain = entry.removeprefix("*").strip(".") if "/" not in entry else ""
        if domain and (name == domain or name.endswith(f".{domain}")):
            return True
    return False


def choose(url: urllib.parse.SplitResult, variables: Mapping[str, str]) -> Proxy | None:
    """The proxy for an address by L{settings}; None if there is none for it. Raises ValueError, with the reason.

    The error's second argument is the proxy, as far as it can be shown.
    """
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        port = 0
    text = variables.get(f"{url.scheme}_proxy") or variables.get("all_proxy") or ""
    if not text or bypasses(url.hostname or "", port, variables.get("no_proxy", "")):
        return None
    scheme, separator, rest = text.partition("://")
    # Without a user and a password, wherever they end.
    place = (rest if separator else text).rpartition("@")[2].partition("/")[0]
    shown = f"{scheme}://{place}" if separator else place
    if separator and scheme.lower() != "http":
        raise ValueError(f"it is a proxy of the kind {scheme[:20]}, which downloads do not support", shown)
    try:
        via = urllib.parse.urlsplit(f"http://{rest if separator else text}")
        host, via_port = via.hostname or "", via.port or _PORT
    except ValueError:
        raise ValueError("its address or its port is invalid", shown) from None
    if not host or re.search(r"[\x00-\x20\x7f]", place):
        raise ValueError("it names no host", shown)
    headers = {}
    if via.username:
        pair = f"{urllib.parse.unquote(via.username)}:{urllib.parse.unquote(via.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair.encode("utf-8", "replace")).decode("ascii")
    shown = f"{f'[{host}]' if ':' in host else host}:{via_port}"
    user = via.netloc.rpartition("@")[0]
    return Proxy(host, via_port, headers, shown, f"http://{user}@{shown}" if user else f"http://{shown}")
