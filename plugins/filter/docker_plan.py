# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: docker_plan
short_description: Decide which Docker version and settings a host gets
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Turns the variables of the role P(mistralrs.stack.docker_engine#role) and the facts of a host into Docker's settings
    and the version of its package, or says what is wrong. Nothing on the host is touched.
positional: _input, found, former, offer
options:
  _input:
    description: The role's variables, without the prefix C(docker_engine_).
    type: dict
    required: true
  found:
    description: The C(docker_info) that the module M(mistralrs.stack.docker_info) returned on the host.
    type: dict
    required: true
  former:
    description: The settings in the host's C(daemon.json).
    type: dict
    required: true
  offer:
    description: What the distribution or Docker's repository offers, from the role's table.
    type: dict
    required: true
seealso:
  - plugin: mistralrs.stack.docker_engine
    plugin_type: role
"""

EXAMPLES = r"""
- name: Stop if something is in the way
  ansible.builtin.assert:
    that: plan.errors | length == 0
    fail_msg: "{{ plan.errors | join(' ') }}"
  vars:
    plan: "{{ variables | mistralrs.stack.docker_plan(found, former, offer) }}"
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    settings:
      description: Settings for C(daemon.json).
      type: dict
    secret_settings:
      description: More settings for C(daemon.json), which hold a password.
      type: dict
    environment:
      description: Lines for the environment of a Docker that can't read proxies from C(daemon.json).
      type: list
      elements: str
    version:
      description: The version of the package to install; empty if any will do.
      type: str
    errors:
      description: What is wrong, one line each.
      type: list
      elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any


def docker_plan(
    values: Mapping[str, Any], found: Mapping[str, Any], former: Mapping[str, Any], offer: Mapping[str, Any]
) -> dict[str, Any]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils import _docker_plan

    return _docker_plan.docker_plan(values, found, former, offer)


class FilterModule:
    """The filter docker_plan."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"docker_plan": docker_plan}
