# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: distribution
short_description: Look up what a role needs to know about a host's distribution
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Looks up the distribution and release of a host in the collection's table and returns the entry of one role, such as
    the names of packages and services.
  - The filter does not fail if the role does not support the release; RV(_value.problem) says so instead.
positional: _input, role, host
options:
  _input:
    description:
      - The facts of the host, C(ansible_facts).
      - The filter reads C(distribution), C(distribution_version) and C(distribution_major_version).
    type: dict
    required: true
  role:
    description:
      - The name of the role, without that of the collection.
    type: str
    required: true
  host:
    description:
      - The name of the host for the message.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check the distribution
  ansible.builtin.assert:
    that: row.problem | length == 0
    fail_msg: "{{ row.problem }}"
  vars:
    row: "{{ ansible_facts | mistralrs.stack.distribution('mistral_monitor', inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description:
    - The role's entry for this release, and the following keys.
  type: dict
  contains:
    name:
      description: The distribution and release as in the table, such as V(Debian-12).
      type: str
    problem:
      description: What is wrong and what to do if the role does not support the release; otherwise empty.
      type: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def distribution(facts: Any, role: str, host: str) -> dict[str, Any]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils import _distributions
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._faults.distribution import UNSUPPORTED

    keys = ("distribution", "distribution_version", "distribution_major_version")
    if not isinstance(facts, Mapping) or any(key not in facts for key in keys):
        raise AnsibleFilterError(f"distribution: the input has to be the host's facts with {', '.join(keys)}.")
    if role not in UNSUPPORTED:
        raise AnsibleFilterError(f"distribution: the table has nothing for a role {role!r}.")
    name = _distributions.name_of(*(str(facts[key]) for key in keys))
    row = _distributions.row(name, role)
    if row is not None:
        return {**row, "name": name, "problem": ""}
    problem = StackError(
        UNSUPPORTED[role],
        host=host,
        distribution=f"{facts['distribution']} {facts['distribution_version']}",
        supported=", ".join(_distributions.supported(role)),
    )
    return {"name": name, "problem": str(problem)}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"distribution": distribution}
