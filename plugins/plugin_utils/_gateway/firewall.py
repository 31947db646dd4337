# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may connect to the gateway: a table of nftables of its own, which takes away and opens nothing, and what ufw or
firewalld has to open.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

NETWORK = Fault(
    "gateway.network_invalid",
    "'{name}' holds {value!r}, which is not a network.",
    "Give addresses or networks such as 192.0.2.0/24 or 2001:db8::/32.",
)

TABLE = "mistral_gateway"
HEAD = "# Managed by Ansible (role mistralrs.stack.mistral_gateway)\n"
FAMILIES = {4: "ip", 6: "ip6"}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(name: str, value: Any, errors: list[StackError]) -> list[Network]:
    """The networks of a variable, in the order given; an address is one of its own."""
    found = []
    for text in value if isinstance(value, (list, tuple)) else [value]:
        try:
            found.append(ipaddress.ip_network(text if isinstance(text, str) else ""))
        except ValueError:
            errors.append(StackError(NETWORK, name=f"mistral_gateway_{name}", value=text))
    return found


def table(given: Mapping[str, Any], ports: Sequence[int | None], errors: list[StackError]) -> str:
    """The file for nft; '' if everybody may connect as often as he likes. This host itself always may."""
    allowed = networks("allowed_networks", given.get("allowed_networks") or [], errors)
    most = int(given.get("connections_per_address") or 0)
    if not allowed and not most:
        return ""
    listed = ", ".join(str(port) for port in ports)
    lines = [
        # Made first where it is not there, so that it can be deleted, and all of it in one step.
        f"table inet {TABLE}",
        f"delete table inet {TABLE}",
        f"table inet {TABLE} {{",
    ]
    if most:
        for version in FAMILIES:
            lines.append(f"    set connections{version} {{ type ipv{version}_addr; flags dynamic; }}")
    lines += [
        "    chain input {",
        "        type filter hook input priority filter - 5; policy accept;",
        '        iifname "lo" accept',
        f"        tcp dport {{ {listed} }} goto gateway",
        f"        udp dport {{ {listed} }} goto gateway",
        "    }",
        "    chain gateway {",
    ]
    for version, family in FAMILIES.items():
        only = f"        meta nfproto ipv{version}"
        own = sorted({str(network) for network in allowed if network.version == version})
        if allowed:
            lines.append(f"{only} {family} saddr != {{ {', '.join(own)} }} drop" if own else f"{only} drop")
        if most:
            lines.append(
                f"{only} ct state new add @connections{version} {{ {family} saddr ct count over {most} }} drop"
            )
    return HEAD + "\n".join([*lines, "    }", "}", ""])


def openings(given: Mapping[str, Any], ports: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the host's firewall has to let in: C(port), C(protocol) and C(network), which is '' for everybody.

    What is wrong with the networks C(table) says.
    """
    found = []
    allowed = networks("allowed_networks", given.get("allowed_networks") or [], [])
    for network in sorted({str(each) for each in allowed}) or [""]:
        for port in [ports["https_port"], *ports["ollama_ports"]]:
            found.append({"port": port, "protocol": "tcp", "network": network})
        if given.get("http3"):
            found.append({"port": ports["https_port"], "protocol": "udp", "network": network})
    if given.get("acme"):
        # An authority asks from where it likes.
        found.append({"port": ports["http_port"], "protocol": "tcp", "network": ""})
    return found
