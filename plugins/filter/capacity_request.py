# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: capacity_request
short_description: Check what a capacity plan is asked for
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Reads the variables of the playbook C(plan), which are texts when they are given with C(-e), and checks them before
    any host is asked.
  - Errors are returned, one line each, with an id such as V(plan.wrong_value) or V(plan.unknown_gpu).
positional: _input
options:
  _input:
    description:
      - C(model) is required. C(users) (V(1)) is the number of requests at once, C(context) the tokens that each may
        have (what the model was made for, at most 4096), C(quantization) the only one to look at, C(memory_fraction)
        what C(gpu.memory_fraction) will be.
      - C(gpu_memory), such as V(80GiB), or C(gpu), such as V(L40S), and C(gpus), their number in each host, describe
        hosts that are not there yet.
    type: dict
    required: true
seealso:
  - plugin: mistralrs.stack.capacity_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show how much memory two L40S have
  ansible.builtin.debug:
    msg: "{{ ({'model': 'qwen3:8b', 'gpu': 'L40S', 'gpus': 2} | mistralrs.stack.capacity_request).request.gpus }}"
"""

RETURN = r"""
_value:
  description:
    - C(request), the values for P(mistralrs.stack.capacity_plan#filter), and C(errors), a list of lines.
  type: dict
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError


def capacity_request(given: Any) -> dict[str, Any]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._capacity.request import read

    if not isinstance(given, Mapping):
        raise AnsibleFilterError("capacity_request: the input has to be a dictionary.")
    request, errors = read(given)
    return {"request": request, "errors": [str(error) for error in errors]}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"capacity_request": capacity_request}
