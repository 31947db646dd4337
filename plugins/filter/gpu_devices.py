# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: gpu_devices
short_description: List the devices that CUDA programs can use
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Takes the result of M(mistralrs.stack.gpu_info) and returns the GPUs that the driver lists; for a partitioned GPU,
    its MIG devices instead.
  - If no driver is loaded yet, it returns the GPUs on the PCI bus, so that the plan for a bare host can be made.
positional: _input
options:
  _input:
    description: RV(mistralrs.stack.gpu_info#module:gpu_info).
    type: dict
    required: true
seealso:
  - module: mistralrs.stack.gpu_info
  - plugin: mistralrs.stack.gpu_memory
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Serve on all GPUs of the host
  ansible.builtin.set_fact:
    mistral_server_gpus: "{{ mistral_gpu_info | mistralrs.stack.gpu_devices }}"
"""

RETURN = r"""
_value:
  description: The devices in the order of their PCI addresses.
  type: list
  elements: dict
  contains:
    index:
      description: The GPU's number in C(nvidia-smi); MIG devices have none.
      type: int
    uuid:
      description: The UUID of the GPU or MIG device; empty without a loaded driver.
      type: str
    bus_id:
      description: The GPU's PCI address.
      type: str
    name:
      description: The GPU's name.
      type: str
    compute_capability:
      description: The CUDA compute capability.
      type: str
    memory:
      description: The memory in bytes that programs can use; null if it is not known.
      type: int
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError


def _filter(gpu_info: Any) -> list[dict[str, Any]]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._gpu_devices import devices

    if not isinstance(gpu_info, Mapping) or not isinstance(gpu_info.get("gpus"), list):
        raise AnsibleFilterError("gpu_devices: the input has to be the gpu_info that the module gpu_info returns.")
    return devices(gpu_info)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gpu_devices": _filter}
