# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: driver_choice
short_description: Choose the packages of NVIDIA's driver for a host
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Chooses the source, branch, flavour of the kernel modules and packages according to the distribution, the GPUs and
    the options, or says in one line why no driver fits.
positional: _input
options:
  _input:
    description:
      - Ansible's facts of the host with C(distribution), C(distribution_version), C(distribution_major_version) and
        C(architecture).
    type: dict
    required: true
  gpus:
    description:
      - The GPUs as the module M(mistralrs.stack.gpu_info) returns them.
    type: list
    elements: dict
    default: []
  named:
    description:
      - More GPUs, by generation (V(Hopper)) or PCI device id (V(2330)), for a host that does not have them yet.
    type: list
    elements: str
    default: []
  source:
    description: The source of the packages, V(nvidia) or V(distribution).
    type: str
    default: nvidia
  branch:
    description: The branch, such as V(580); if empty, the one in the collection's table.
    type: str
    default: ""
  version:
    description: The version; if empty, the newest of the branch.
    type: str
    default: ""
  modules:
    description: The kernel modules, V(auto), V(open) or V(proprietary).
    type: str
    default: auto
  fabric_manager:
    description: Whether the host has NVSwitches.
    type: bool
    default: false
seealso:
  - module: mistralrs.stack.gpu_info
"""

EXAMPLES = r"""
- name: Show which driver an H100 needs on this host
  ansible.builtin.debug:
    msg: "{{ ansible_facts | mistralrs.stack.driver_choice(named=['2330'], source='distribution') }}"
"""

RETURN = r"""
_value:
  description: The choice; if there is none, only C(problem).
  type: dict
  contains:
    problem:
      description: Why there is no driver, what to do and the error's id, in one line; empty otherwise.
      type: str
    distribution:
      description: The row of the table, such as V(Debian-13).
      type: str
    manager:
      description: The package manager, V(apt) or V(dnf).
      type: str
    source:
      description: The source of the packages.
      type: str
    branch:
      description: The branch.
      type: str
    version:
      description: The wanted version; empty if any of the branch will do.
      type: str
    flavour:
      description: The kernel modules, V(open) or V(proprietary).
      type: str
    kernel_package:
      description: The package that provides the kernel modules.
      type: str
    packages:
      description: All packages to install.
      type: list
      elements: str
    other_kernel_packages:
      description: Other packages with kernel modules, which conflict with this one.
      type: list
      elements: str
    module:
      description: The name of the kernel module's file, without C(.ko).
      type: str
    headers:
      description: The package with a kernel's headers, with C({release}) in it.
      type: str
    headers_meta:
      description: The package that follows the newest kernel's headers.
      type: str
    components:
      description: The components of the distribution's archive that are needed.
      type: list
      elements: str
    repository:
      description: The folder below NVIDIA's repository.
      type: str
    stream:
      description: The module stream of dnf.
      type: str
    foreign:
      description:
        - Names of packages by which the other source is recognized.
        - One that ends in a dash stands for all names that begin with it.
      type: list
      elements: str
    own:
      description: The same for this source.
      type: list
      elements: str
    fabric_manager:
      description: The Fabric Manager's package; empty if none is needed or known.
      type: str
    fabric_unit:
      description: Its unit.
      type: str
    persistence_unit:
      description: The persistence daemon's unit.
      type: str
    persistence_override:
      description: Whether that unit needs an override to switch persistence on.
      type: bool
    warnings:
      description: What the operator should know.
      type: list
      elements: str
"""

from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def _filter(
    facts: Any,
    gpus: Sequence[Mapping[str, Any]] = (),
    named: Sequence[str] = (),
    source: str = "nvidia",
    branch: str = "",
    version: str = "",
    modules: str = "auto",
    fabric_manager: bool = False,
) -> dict[str, Any]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._driver.choice import (
        Wanted,
        driver_choice,
        gpus_named,
        gpus_of,
    )

    keys = ("distribution", "distribution_version", "distribution_major_version", "architecture")
    if not isinstance(facts, Mapping) or any(key not in facts for key in keys):
        raise AnsibleFilterError(f"driver_choice: the input has to be the host's facts with {', '.join(keys)}.")
    wanted = Wanted(str(source), str(branch), str(version), str(modules), bool(fabric_manager))
    try:
        all_gpus = [*gpus_of(gpus), *gpus_named(named)]
        name, version_name, major, architecture = (str(facts[key]) for key in keys)
        choice = driver_choice(name, version_name, major, architecture, all_gpus, wanted)
    except StackError as error:
        return {"problem": str(error)}
    return {"problem": "", **choice._asdict()}


class FilterModule:
    """The filter driver_choice."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"driver_choice": _filter}
