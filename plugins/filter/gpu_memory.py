# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: gpu_memory
short_description: List the memory of the devices that CUDA programs can use
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Takes the result of M(mistralrs.stack.gpu_info) and returns how much memory programs can use on each GPU or MIG
    device of P(mistralrs.stack.gpu_devices#filter). Memory that the driver keeps for itself is not included; memory
    that other programs use at present is.
  - For a GPU that uses the host's memory, it is all of the host's memory.
  - If no driver is loaded yet, it is the advertised memory less one sixteenth, which ECC may take.
  - Devices whose memory is not known are left out.
positional: _input, unit
options:
  _input:
    description: RV(mistralrs.stack.gpu_info#module:gpu_info).
    type: dict
    required: true
  unit:
    description: The unit of the numbers, rounded down.
    type: str
    default: B
    choices: [B, MiB]
seealso:
  - module: mistralrs.stack.gpu_info
  - plugin: mistralrs.stack.gpu_devices
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Refuse models that do not fit the host's GPUs before they are downloaded
  ansible.builtin.set_fact:
    mistral_models_gpu_memory: "{{ mistral_gpu_info | mistralrs.stack.gpu_memory('MiB') }}"
"""

RETURN = r"""
_value:
  description: The memory of each device.
  type: list
  elements: int
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError

UNITS = {"B": 1, "MiB": 1 << 20}


def _filter(gpu_info: Any, unit: str = "B") -> list[int]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._gpu_devices import devices

    if not isinstance(gpu_info, Mapping) or not isinstance(gpu_info.get("gpus"), list):
        raise AnsibleFilterError("gpu_memory: the input has to be the gpu_info that the module gpu_info returns.")
    if unit not in UNITS:
        raise AnsibleFilterError(f"gpu_memory: 'unit' is {unit!r}, but has to be one of {', '.join(UNITS)}.")
    return [device["memory"] // UNITS[unit] for device in devices(gpu_info) if device["memory"] is not None]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gpu_memory": _filter}
