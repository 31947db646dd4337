# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: value_problems
short_description: Report which variables have invalid values
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Returns one line for each variable whose value is not of its kind, with its name, its value, what is expected and
    an id.
positional: _input, values
options:
  _input:
    description:
      - The variables with their kinds, such as C(int 1 65535), C(url), C(optional path) or C(list target).
    type: dict
    required: true
  values:
    description:
      - The values, in the order of the variables.
    type: list
    elements: raw
    required: true
"""

EXAMPLES = r"""
- name: Check the variables
  ansible.builtin.assert:
    that: found | length == 0
    fail_msg: "{{ found | join(' ') }}"
  vars:
    kinds: {my_port: int 1 65535, my_address: listener}
    found: "{{ kinds | mistralrs.stack.value_problems(query('ansible.builtin.vars', *kinds)) }}"
"""

RETURN = r"""
_value:
  description:
    - The lines.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def value_problems(kinds: Mapping[str, str], values: Sequence[Any]) -> list[str]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._values import problems

    return problems(dict(zip(kinds, values)), kinds)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"value_problems": value_problems}
