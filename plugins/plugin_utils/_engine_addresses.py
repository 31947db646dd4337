# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the gateway reaches the engine of each GPU host.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DEFAULT_PORT = 11434
# Addresses by which only the host itself reaches the engine, or which stand for all of its addresses.
_OF_THE_HOST_ITSELF = ("", "0.0.0.0", "127.0.0.1", "localhost", "::", "::1")


def engine_address(host: Mapping[str, Any], gateway: str) -> str:
    """The address and port of the engine on a host with these variables, as the gateway of that name reaches it.

    The plan of the engine is what counts; a host that is not set up in this run has the address that its checks
    expect, or its variables.
    """
    server = _dig(host, "mistral_server_plan", "settings", "server") or _dig(host, "mistral_server_expected_address")
    wanted = str(_first(_dig(server, "host"), host.get("mistral_server_host"), ""))
    port = _first(_dig(server, "port"), host.get("mistral_server_port"), _DEFAULT_PORT)
    address = wanted
    if wanted in _OF_THE_HOST_ITSELF:
        is_here = host.get("inventory_hostname") == gateway
        address = ("::1" if wanted == "::1" else "127.0.0.1") if is_here else _reachable(host)
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _reachable(host: Mapping[str, Any]) -> str:
    return str(
        _first(
            _dig(host, "ansible_facts", "default_ipv4", "address"),
            _dig(host, "ansible_facts", "default_ipv6", "address"),
            host.get("ansible_host"),
            host.get("inventory_hostname"),
        )
    )


def _dig(value: Any, *keys: str) -> Any:
    """What is below the keys; None if one of them is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
