# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: usage_report
short_description: Sum up what API keys have used, as a table and as CSV
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Sums up what the module M(mistralrs.stack.gateway_usage_info) has found on each gateway.
positional: _input
options:
  _input:
    description:
      - The entries of all gateways.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show who has used how much
  ansible.builtin.debug:
    msg: "{{ (usage.usage | mistralrs.stack.usage_report).table }}"
"""

RETURN = r"""
_value:
  description:
    - C(rows), one for each key and model; C(table), the same as lines for a terminal; and C(csv), the same as a text.
  type: dict
"""

from collections.abc import Callable
from typing import Any


def usage_report(entries: list[dict[str, Any]]) -> dict[str, Any]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._gateway.usage import as_csv, as_table, sums

    rows = sums(entries)
    return {"rows": rows, "table": as_table(rows), "csv": as_csv(rows)}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"usage_report": usage_report}
