# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: capacity_plan
short_description: Compute which quantization of a model serves a number of users, and on how many hosts
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Computes for each quantization that a source offers how much GPU memory its weights take, how much is left for the
    KV caches, and how many users can have the whole context at once.
  - The arithmetic is that of P(mistralrs.stack.engine_plan#filter). What other programs use of the GPUs is not known.
  - Of hosts that are there, the best quantization that serves all users is taken, on as few of them as possible. For
    hosts that are described by the request, it is the one that needs the fewest, of those with at least 4.5 bits for
    each parameter if there are any.
positional: _input, remote, request
options:
  _input:
    description: The name of the model.
    type: str
    required: true
  remote:
    description: RV(mistralrs.stack.model_info#module:remote) of the model's source.
    type: dict
    required: true
  request:
    description: C(request) in the result of P(mistralrs.stack.capacity_request#filter).
    type: dict
    required: true
  hosts:
    description:
      - The hosts that are there, each with C(name), C(gpus) as P(mistralrs.stack.gpu_devices#filter) lists them, and
        C(memory_fraction) and C(devices) as in the section C(gpu) of C(mistral_server_config). Not looked at if the
        request describes GPUs.
    type: list
    elements: dict
    default: []
  version:
    description: The engine's version. If empty, the collection's default.
    type: str
    default: ""
  source:
    description: What to call the source.
    type: str
    default: its source
"""

EXAMPLES = r"""
- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ ('qwen3:8b' | mistralrs.stack.capacity_plan(offered.remote, request)).lines }}"
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    lines:
      description: The choice, the arithmetic behind it and all quantizations, as lines for a terminal.
      type: list
      elements: str
    rows:
      description: The quantizations, the best first, with sizes in bytes.
      type: list
      elements: dict
    quantization:
      description: The one that is taken; empty if none serves all users.
      type: str
    hosts:
      description: On how many hosts.
      type: int
    errors:
      description: Why nothing can be planned, or not for all users; one line each.
      type: list
      elements: str
"""

from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def capacity_plan(
    name: Any,
    remote: Any,
    request: Any,
    hosts: Sequence[Mapping[str, Any]] = (),
    version: Any = "",
    source: Any = "its source",
) -> dict[str, Any]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._capacity import plan

    if not isinstance(remote, Mapping) or not isinstance(request, Mapping):
        raise AnsibleFilterError("capacity_plan: 'remote' and 'request' have to be dictionaries.")
    try:
        found, errors = plan.capacity_plan(str(name), str(source), remote, request, hosts, str(version))
    except StackError as error:
        found, errors = {"lines": [], "rows": [], "quantization": "", "hosts": 0}, [error]
    return {**found, "errors": [str(error) for error in errors]}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"capacity_plan": capacity_plan}
