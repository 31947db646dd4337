#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_usage_info
short_description: Say how many requests and tokens each API key has used at a gateway
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Reads what the gateway of the role P(mistralrs.stack.mistral_gateway#role) has counted in a month.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details:
      - This module does not change state.
  idempotent:
    support: N/A
    details:
      - This module does not change state.
options:
  month:
    description:
      - The month, as V(2026-11). Its days begin and end in UTC.
    type: str
    required: true
  path:
    description:
      - The folder in which the gateway keeps its counts.
    type: path
    default: /var/lib/mistral/gateway
"""

EXAMPLES = r"""
- name: Gather facts about the usage of November
  mistralrs.stack.gateway_usage_info:
    month: "2026-11"
  register: usage
"""

RETURN = r"""
usage:
  description: An entry for each day, key and model.
  returned: success
  type: list
  elements: dict
  contains:
    day:
      description: The day.
      type: str
      sample: "2026-11-27"
    key:
      description: The name of the API key.
      type: str
      sample: default
    model:
      description: The model's id.
      type: str
      sample: tiny-q4_k_m
    requests:
      description: How many requests were answered.
      type: int
    tokens_in:
      description: The tokens of their prompts.
      type: int
    tokens_out:
      description: The tokens that were generated.
      type: int
    tokens_in_estimated:
      description: The tokens, about, of prompts whose number the engine never told. Not in C(tokens_in).
      type: int
error_id:
  description: Identifies what went wrong.
  returned: failure
  type: str
  sample: gateway.month_invalid
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module
from ansible_collections.mistralrs.stack.plugins.module_utils._nginx.usage_files import of_month

UNREADABLE = Fault(
    "gateway.usage_unreadable",
    "The gateway's counts in {path} cannot be read: {reason}.",
    "Run the module as root, and repair the disk if that does not help.",
)


def run(module: AnsibleModule) -> dict[str, Any]:
    return {"changed": False, "usage": of_month(module.params["path"], module.params["month"])}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "month": {"type": "str", "required": True},
            "path": {"type": "path", "default": "/var/lib/mistral/gateway"},
        },
        supports_check_mode=True,
    )
    run_module(module, run, lambda path, reason: StackError(UNREADABLE, path=path, reason=reason))


if __name__ == "__main__":
    main()
