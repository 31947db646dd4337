# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: engine_addresses
short_description: Find the addresses at which a gateway reaches the engines
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Returns, for each host, the address and port at which a gateway reaches the engine.
  - An engine that listens on all addresses, or only for its own host, is reached at the host's default address, and on
    the gateway's own host at the loopback address.
positional: _input, gateway
options:
  _input:
    description:
      - The variables of each host, from C(hostvars).
    type: list
    elements: dict
    required: true
  gateway:
    description:
      - The name of the gateway's host in the inventory.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Find the engines
  ansible.builtin.set_fact:
    engines: >-
      {{ groups['gpu_hosts'] | map('extract', hostvars) | mistralrs.stack.engine_addresses(inventory_hostname) }}
"""

RETURN = r"""
_value:
  description:
    - An address and port for each host, such as V(192.0.2.7:11434) or V([2001:db8::7]:11434).
  type: list
  elements: str
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any


def engine_addresses(hosts: Iterable[Mapping[str, Any]], gateway: str) -> list[str]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._engine_addresses import engine_address

    return [engine_address(host, gateway) for host in hosts]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"engine_addresses": engine_addresses}
