#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Gather facts about the NVIDIA GPUs of a host and their driver
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Finds GPUs on the PCI bus, with or without a driver, and asks C(nvidia-smi) about them where it is installed.
  - Compares the loaded driver with the installed one, and looks for reasons why it is not loaded.
  - Every problem is returned in RV(gpu_info.problems), with an id and a line that says what is wrong and what to do.
    The module itself does not fail because of them.
  - On a host without an NVIDIA GPU it returns an empty list.
notes:
  - Only root can read the kernel's log on many systems; without it, Xid errors go unnoticed.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
    details: Nothing is ever changed.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  root:
    description:
      - The directory below which C(/sys), C(/proc), C(/dev/kmsg), C(/lib/modules), C(/usr/lib) and C(/var/lib/dkms) are
        read, for instance the mount point of the host's root in a container.
    type: path
    default: /
  nvidia_smi:
    description:
      - The program C(nvidia-smi), by name or path. It is not called if there is neither a GPU nor a driver.
    type: str
    default: nvidia-smi
  timeout:
    description:
      - How many seconds to wait for each of its answers. Without persistence mode the first one takes some seconds for
        each GPU.
    type: float
    default: 60
"""

EXAMPLES = r"""
- name: Gather facts about the GPUs
  mistralrs.stack.gpu_info:
  register: result

- name: Stop if a GPU or its driver is not as it should be
  ansible.builtin.assert:
    that: result.gpu_info.problems | length == 0
    fail_msg: "{{ result.gpu_info.problems | map(attribute='message') | join(' ') }}"
"""

RETURN = r"""
error_id:
  description: Identifies what is wrong with the options.
  returned: failure
  type: str
  sample: driver.timeout_invalid
gpu_info:
  description: The GPUs and the state of their driver.
  returned: success
  type: dict
  contains:
    gpus:
      description: The GPUs, in the order of their PCI addresses.
      type: list
      elements: dict
      contains:
        index:
          description:
            - The GPU's number in C(nvidia-smi); without a driver, its place in the order of the addresses.
            - Null if the driver lists other GPUs, but not this one.
          type: int
        name:
          description: The product's name; without a driver, the one in the collection's table.
          type: str
        uuid:
          description: The GPU's UUID; empty without a driver.
          type: str
        bus_id:
          description: The PCI address as Linux writes it.
          type: str
        device_id:
          description: The PCI device id, four hexadecimal digits in upper case.
          type: str
        generation:
          description:
            - The architecture, such as V(Turing), V(Ampere), V(Ada), V(Hopper), V(Grace Hopper) or V(Blackwell).
            - Empty if it is not known.
          type: str
        compute_capability:
          description: The CUDA compute capability, such as V(9.0); empty if it is not known.
          type: str
        memory_total:
          description: The GPU's memory in bytes, or the host's for a GPU that uses it; null without a driver.
          type: int
        memory_free:
          description: The free memory in bytes; null without a driver.
          type: int
        memory_reserved:
          description: The memory in bytes that the driver keeps for itself; null if it does not say.
          type: int
        memory_nominal:
          description: The memory in bytes that the maker advertises; null if the GPU is not in the collection's table.
          type: int
        unified_memory:
          description: Whether the GPU uses the host's memory.
          type: bool
        modules:
          description: The kernel modules that support the GPU, V(open), V(proprietary) or V(either).
          type: str
        driver_bound:
          description: The kernel driver bound to the GPU, such as V(nvidia), V(nouveau) or V(vfio-pci); may be empty.
          type: str
        persistence:
          description: Whether the driver stays initialized while nobody uses the GPU; null if it does not say.
          type: bool
        power_limit:
          description: The power limit in force, in watts; null if there is none.
          type: float
        power_limit_min:
          description: The lowest power limit that can be set, in watts.
          type: float
        power_limit_max:
          description: The highest power limit that can be set, in watts.
          type: float
        ecc:
          description: Error correction, V(Enabled), V(Disabled), or empty where there is none.
          type: dict
          contains:
            current:
              description: The present state.
              type: str
            pending:
              description: The state after the next reboot.
              type: str
        mig:
          description: Partitioning (Multi-Instance GPU).
          type: dict
          contains:
            current:
              description: V(Enabled), V(Disabled), or empty where there is none.
              type: str
            pending:
              description: The state after the next reset.
              type: str
            devices:
              description: The partitions that programs can use.
              type: list
              elements: dict
              contains:
                gpu_instance_id:
                  description: The id of the GPU instance.
                  type: int
                compute_instance_id:
                  description: The id of the compute instance in it.
                  type: int
                memory_total:
                  description: Its memory in bytes.
                  type: int
                memory_free:
                  description: Its free memory in bytes.
                  type: int
                uuid:
                  description: Its UUID.
                  type: str
        pcie:
          description: The link to the host. An idle GPU may lower its generation.
          type: dict
          contains:
            generation:
              description: The present generation.
              type: int
            generation_max:
              description: The highest generation that both the GPU and the host support.
              type: int
            width:
              description: The present number of lanes.
              type: int
            width_max:
              description: The highest number of lanes that both the GPU and the host support.
              type: int
        fabric:
          description: The GPU's part in an NVLink fabric; empty strings where there is none.
          type: dict
          contains:
            state:
              description: V(Completed) if it has joined.
              type: str
            status:
              description: V(Success) if joining succeeded.
              type: str
        recovery_action:
          description: What the driver asks to be done with the GPU, such as V(GPU Reset); empty if nothing.
          type: str
    nvswitches:
      description: The number of NVSwitches on the PCI bus.
      type: int
    nvlink:
      description: Whether GPUs are connected by NVLink; null if it is not known.
      type: bool
    driver:
      description: The driver.
      type: dict
      contains:
        loaded:
          description: The version in the running kernel; empty if it is not loaded.
          type: str
        installed:
          description: The version of the libraries that programs use; empty if there are none.
          type: str
        flavour:
          description: V(open) or V(proprietary) kernel modules, loaded or installed; empty if it is not known.
          type: str
        cuda:
          description: The highest CUDA version that the driver runs, such as V(12.4); empty if it does not answer.
          type: str
    secure_boot:
      description: Whether Secure Boot is on, so that the kernel loads only signed modules; null if it is not known.
      type: bool
    nouveau_loaded:
      description: Whether the kernel has loaded nouveau.
      type: bool
    kernel:
      description: The running kernel's release.
      type: str
    kernels:
      description: The installed kernels, the oldest first.
      type: list
      elements: dict
      contains:
        release:
          description: Its release.
          type: str
        headers:
          description: Whether its headers are installed.
          type: bool
        module:
          description: Whether there is an NVIDIA module for it.
          type: bool
        running:
          description: Whether it is the running one.
          type: bool
    problems:
      description: The problems, the ones that explain the others first.
      type: list
      elements: dict
      contains:
        id:
          description: Identifies the problem, such as V(driver.library_mismatch).
          type: str
        message:
          description: What is wrong and what to do, in one line.
          type: str
        gpu:
          description: The PCI address of the GPU that has the problem; empty if it concerns more than one.
          type: str
  sample:
    gpus:
      - index: 0
        name: NVIDIA H100 80GB HBM3
        uuid: GPU-00000000-0000-0000-0000-000000000000
        bus_id: "0000:00:09.0"
        device_id: "2330"
        generation: Hopper
        compute_capability: "9.0"
        memory_total: 85520809984
        memory_free: 85018542080
        memory_reserved: 502267904
        memory_nominal: 85899345920
        unified_memory: false
        modules: either
        driver_bound: nvidia
        persistence: true
        power_limit: 700.0
        power_limit_min: 200.0
        power_limit_max: 700.0
        ecc: {current: Enabled, pending: Enabled}
        mig: {current: Disabled, pending: Disabled, devices: []}
        pcie: {generation: 5, generation_max: 5, width: 16, width_max: 16}
        fabric: {state: Completed, status: Success}
        recovery_action: ""
    nvswitches: 0
    nvlink: null
    driver: {loaded: 590.48.01, installed: 590.48.01, flavour: open, cuda: "13.1"}
    secure_boot: false
    nouveau_loaded: false
    kernel: 6.12.117+deb13-amd64
    kernels:
      - release: 6.12.117+deb13-amd64
        headers: true
        module: true
        running: true
    problems: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.facts import ask_program, gpu_info
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.pci import Tree

TIMEOUT_INVALID = Fault(
    "driver.timeout_invalid",
    "The time to wait for nvidia-smi is {timeout} seconds, which is out of range.",
    "Set 'timeout' to a number above 0, at most 86400.",
)
DAY = 86400


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/"},
            "nvidia_smi": {"type": "str", "default": "nvidia-smi"},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    program, timeout = module.params["nvidia_smi"], module.params["timeout"]
    if not 0 < timeout <= DAY:
        fault = StackError(TIMEOUT_INVALID, timeout=timeout)
        module.fail_json(msg=str(fault), error_id=fault.id)
    info = gpu_info(Tree(module.params["root"]), ask_program(program, timeout), program, timeout)
    module.exit_json(changed=False, gpu_info=info)


if __name__ == "__main__":
    main()
