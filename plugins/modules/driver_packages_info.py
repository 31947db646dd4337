#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: driver_packages_info
short_description: Find out what apt would do to install or remove NVIDIA's driver
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Looks at the packages of the host, simulates the installation of a driver with the package sources and pins that it
    would get, and fails with one message if that would harm the host or could not work.
  - Nothing on the host is changed. Package lists that the host does not have yet are fetched into a temporary folder.
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
  choice:
    description: The driver, as the filter P(mistralrs.stack.driver_choice#filter) returns it.
    type: dict
    required: true
  kernels:
    description:
      - The installed kernels, as the module M(mistralrs.stack.gpu_info) returns them.
      - Headers are required for the running and the newest one.
    type: list
    elements: dict
    default: []
  kernel:
    description: The release of the running kernel.
    type: str
    default: ""
  force:
    description: Whether to ignore the running kernel, for instance when a machine image is built.
    type: bool
    default: false
  state:
    description: With V(absent), the module finds out what has to be removed instead.
    type: str
    choices: [present, absent]
    default: present
  codename:
    description: The suite (code name) of the distribution's release, such as V(trixie).
    type: str
    default: ""
  sources:
    description:
      - The text of the package source with the driver.
      - If empty, the missing components of the distribution's archive are added to the host's own sources.
    type: str
    default: ""
  sources_file:
    description: The file that this source will be written to.
    type: path
    required: true
  preferences_file:
    description: The file that the pin will be written to.
    type: path
    required: true
  lists_age:
    description: The age in seconds up to which package lists are used without fetching them again.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: See what installing the driver would do
  mistralrs.stack.driver_packages_info:
    choice: "{{ ansible_facts | mistralrs.stack.driver_choice(source='distribution') }}"
    codename: "{{ ansible_facts['distribution_release'] }}"
    sources_file: /etc/apt/sources.list.d/mistral-nvidia-driver.sources
    preferences_file: /etc/apt/preferences.d/mistral-nvidia-driver
    force: true
"""

RETURN = r"""
needed:
  description: Whether packages have to be installed, changed or removed.
  returned: success
  type: bool
version:
  description: The version of the driver, without the packages' revision; empty if there is none and none is wanted.
  returned: success
  type: str
  sample: 550.163.01
former:
  description: The version of the installed driver; empty if none is installed.
  returned: success
  type: str
former_packages:
  description: The packages of the installed driver, each as name=version.
  returned: success
  type: list
  elements: str
arguments:
  description: The arguments of C(apt-get) that were simulated; empty if nothing is to be done.
  returned: success
  type: list
  elements: str
new:
  description: The packages that would be installed, with their versions.
  returned: success
  type: dict
upgraded:
  description: The packages whose version would change, with their new versions.
  returned: success
  type: dict
removed:
  description: The packages that would be removed.
  returned: success
  type: list
  elements: str
download:
  description: How many bytes would be downloaded.
  returned: success
  type: int
unheld:
  description: Installed packages of the driver that are not held.
  returned: success
  type: list
  elements: str
held:
  description: Installed packages of the driver that are held.
  returned: success
  type: list
  elements: str
sources:
  description: The text for O(sources_file); empty if the host has everything already.
  returned: success
  type: str
preferences:
  description: The text for O(preferences_file).
  returned: success
  type: str
notes:
  description: What the operator should know.
  returned: success
  type: list
  elements: str
error_id:
  description: Identifies what is wrong.
  returned: failure
  type: str
  sample: driver.version_unavailable
"""

import shutil
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt import Apt
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.installation import Installation, Request
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.transaction import removal
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module


def run(module: AnsibleModule) -> dict[str, Any]:
    temporary = tempfile.mkdtemp(prefix="driver_packages_info.")
    try:
        apt = Apt(module.run_command, temporary)
        if module.params["state"] == "present":
            request = Request(**{field: module.params[field] for field in Request._fields})
            transaction = Installation(apt, request).transaction()
        else:
            transaction = removal(apt)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return {"changed": False, **transaction._asdict()}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "choice": {"type": "dict", "required": True},
            "kernels": {"type": "list", "elements": "dict", "default": []},
            "kernel": {"type": "str", "default": ""},
            "force": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "codename": {"type": "str", "default": ""},
            "sources": {"type": "str", "default": ""},
            "sources_file": {"type": "path", "required": True},
            "preferences_file": {"type": "path", "required": True},
            "lists_age": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    run_module(module, run)


if __name__ == "__main__":
    main()
