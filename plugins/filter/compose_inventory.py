# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: compose_inventory
short_description: Turn what was found of a hand-run Compose stack into an inventory
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Takes the C(.env), the C(config.yml) and the models of the stack that this collection replaces, and returns the
    files of an inventory with the same settings. The models stay where they are.
  - What has another meaning now, or is left out, is in the remarks. Nothing is written here.
  - The result contains the secrets of the C(.env) that are taken over.
positional: _input
options:
  _input:
    description:
      - What was found. C(base) is the stack's directory; C(env) and C(config) have C(path) and C(text); C(models_path)
        is the directory of the models.
      - C(models) are the results of M(mistralrs.stack.model_info) for each C(item) of M(ansible.builtin.find),
        C(others) what else that module found.
      - C(gpus) is the result of P(mistralrs.stack.gpu_devices#filter), C(containers) the names of the containers that
        publish the engine's port.
    type: dict
    required: true
  host:
    description: The name of the host.
    type: str
    required: true
  reached:
    description: Variables such as C(ansible_host) by which it is reached.
    type: dict
    default: {}
  folder:
    description: The folder of the inventory.
    type: str
    required: true
seealso:
  - plugin: mistralrs.stack.env_variables
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what to know about the stack
  ansible.builtin.debug:
    msg: "{{ (found | mistralrs.stack.compose_inventory(host='llm', folder='/home/me/llm')).remarks }}"
"""

RETURN = r"""
_value:
  description: The inventory.
  type: dict
  contains:
    files:
      description: The files, for the option O(mistralrs.stack.host_files#module:files).
      type: list
      elements: dict
    remarks:
      description: What to know, one sentence each.
      type: list
      elements: str
    next:
      description: What to run, in this order.
      type: list
      elements: str
    errors:
      description: Why the stack can't be read, one line each.
      type: list
      elements: str
"""

import posixpath
from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def compose_inventory(found: Any, host: str, folder: str, reached: Mapping[str, Any] | None = None) -> dict[str, Any]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._migration import compose_stack, inventory

    known = [each for each in found["models"] if "remote" in each]
    refused = [each for each in found["models"] if "remote" not in each]
    stack = compose_stack.Stack(
        base=str(found["base"]),
        env=(str(found["env"]["path"]), str(found["env"]["text"])),
        config=(str(found["config"]["path"]), str(found["config"]["text"])),
        models_path=str(found["models_path"]),
        models=[{**each["remote"], "path": each["item"]["path"]} for each in known],
        rejected=[{"path": each["item"]["path"], "why": each["msg"]} for each in refused]
        + [{"path": each["path"], "why": why} for each in found["others"] if (why := compose_stack.not_adopted(each))],
        gpus=found["gpus"],
        containers=[str(name) for name in found["containers"]],
    )
    try:
        migration = compose_stack.migrate(stack)
    except StackError as error:
        return {"files": [], "remarks": [], "next": [], "errors": [str(each) for each in error.errors]}
    files = inventory.files(str(host), reached or {}, stack, migration)
    return {
        "files": [
            {"path": posixpath.join(str(folder), name), "content": content, "mode": mode}
            for name, (content, mode) in files.items()
        ],
        "remarks": migration.remarks,
        "next": inventory.next_steps(migration, str(folder)),
        "errors": [],
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"compose_inventory": compose_inventory}
