# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: gateway_plan
short_description: Say whom the gateway serves, with what and how much, without a key in it
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Makes the plan that the gateway's program reads from the variables of the role
    P(mistralrs.stack.mistral_gateway#role) and what the filter P(mistralrs.stack.engine_plan#filter) says below
    C(gateway).
  - Keys become digests, SHA-256 of those that were generated and HMAC-SHA-256 of those that somebody chose.
positional: _input
options:
  _input:
    description:
      - The role's variables by their names without C(mistral_gateway_).
      - Also C(engine), the engine's part; C(generated) and C(former), the keys in files and those before them by their
        names; C(digest_secret), with which digests of chosen keys are made; and C(jwks), the text of that file.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Stop before anything is changed
  ansible.builtin.assert:
    that: plan.errors | length == 0
    fail_msg: "{{ plan.errors | join('\n') }}"
  vars:
    plan: "{{ {'engine': mistral_gateway_plan, 'api_keys': [{'name': 'default'}]} | mistralrs.stack.gateway_plan }}"
"""

RETURN = r"""
_value:
  description:
    - C(errors), a line for each thing that is wrong, and C(plan), which is empty then or while the engine's part is.
  type: dict
"""

from collections.abc import Callable
from typing import Any


def gateway_plan(given: dict[str, Any]) -> dict[str, Any]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._gateway import plan

    errors = [str(error) for error in plan.problems(given)]
    return {"errors": errors, "plan": {} if errors or not given.get("engine") else plan.gateway_plan(given)}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gateway_plan": gateway_plan}
