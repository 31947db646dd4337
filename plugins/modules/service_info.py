#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: service_info
short_description: Gather facts about services, the settings that they have not read, and what uses their addresses
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Asks systemd about services, compares the time of their settings with the time when the services were started, and
    finds out which programs listen on their addresses.
  - The facts of a service that is not installed are empty; the module does not fail.
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
  services:
    description: The services.
    type: list
    elements: dict
    required: true
    suboptions:
      unit:
        description: The name of its unit, without C(.service). Its program must have the same name.
        type: str
        required: true
      address:
        description:
          - The address and port that it is to listen on, such as V(127.0.0.1:9100) or V(:9100); empty if it has none.
        type: str
        default: ""
      settings:
        description:
          - Files and folders that it reads only when it starts; the folder of its unit's drop-ins,
            C(/etc/systemd/system/UNIT.service.d), if not given.
        type: list
        elements: path
      reloaded_settings:
        description: Files and folders that it also reads when it is reloaded.
        type: list
        elements: path
        default: []
      package:
        description: The Debian package whose configuration files are compared with those that are installed.
        type: str
        default: ""
      data:
        description: The folder whose free space is of interest; it need not exist yet.
        type: path
"""

EXAMPLES = r"""
- name: Gather facts about the exporter
  mistralrs.stack.service_info:
    services:
      - unit: prometheus-node-exporter
        address: 127.0.0.1:9100
  register: result

- name: Restart it if it has not read its settings
  ansible.builtin.systemd_service:
    name: prometheus-node-exporter.service
    state: restarted
    daemon_reload: true
  when: result.services['prometheus-node-exporter'].outdated
"""

RETURN = r"""
services:
  description: The facts of each service, by the name of its unit.
  returned: success
  type: dict
  contains:
    UNIT:
      description: The facts of a service.
      type: dict
      contains:
        state:
          description: Its state, such as V(active).
          type: str
        enabled:
          description: Whether it starts at boot, such as V(enabled); empty if it is not installed.
          type: str
        unit_file:
          description: The path of its unit file; empty if it is not installed.
          type: str
        settings:
          description: The files and folders in O(services[].settings) and O(services[].reloaded_settings) that exist.
          type: list
          elements: str
        unread:
          description:
            - The files and folders in O(services[].settings), including their contents, that changed since the service
              was started.
          type: list
          elements: str
        outdated:
          description: Whether any are unread, or systemd has yet to read changed files of the unit (C(daemon-reload)).
          type: bool
        reload_unread:
          description:
            - The files and folders in O(services[].reloaded_settings), including their contents, that changed since the
              service was started or reloaded.
          type: list
          elements: str
        others:
          description: The other programs that listen on its address, such as V(nginx (process 42\)).
          type: list
          elements: str
        altered_package_files:
          description:
            - The configuration files of O(services[].package) that differ from those in the package; empty without it.
          type: list
          elements: str
        free_kb:
          description: The free space at O(services[].data), in units of 1024 bytes; 0 without it.
          type: int
  sample:
    prometheus-node-exporter:
      state: active
      enabled: enabled
      unit_file: /usr/lib/systemd/system/prometheus-node-exporter.service
      settings: [/etc/systemd/system/prometheus-node-exporter.service.d]
      unread: []
      outdated: false
      reload_unread: []
      others: []
      altered_package_files: []
      free_kb: 0
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._files.existing_folder import existing_folder
from ansible_collections.mistralrs.stack.plugins.module_utils._host import listeners, package_files, service_state
from ansible_collections.mistralrs.stack.plugins.module_utils._module import program_runner


def gather(module: AnsibleModule, wanted: dict[str, Any]) -> dict[str, Any]:
    """The facts of one service."""
    run = program_runner(module)
    unit, address, package = wanted["unit"], wanted["address"], wanted["package"]
    service = service_state.parse(run(["systemctl", *service_state.SHOW, f"{unit}.service"])[1])
    at_start = wanted["settings"]
    at_start = [f"/etc/systemd/system/{unit}.service.d"] if at_start is None else at_start
    at_reload = wanted["reloaded_settings"]
    unread = service_state.unread(service, service_state.trees(at_start))
    return {
        "state": service.state,
        "enabled": service.enabled,
        "unit_file": service.unit_file,
        "settings": [path for path in [*at_start, *at_reload] if os.path.exists(path)],
        "unread": unread,
        "outdated": bool(unread) or service.needs_daemon_reload,
        "reload_unread": service_state.written_after(service.changed, service_state.trees(at_reload)),
        "others": listeners.others(run(listeners.command(address))[1], address, unit) if address else [],
        "altered_package_files": package_files.altered(run(package_files.command(package))[1]) if package else [],
        "free_kb": _free_kb(wanted["data"]) if wanted["data"] else 0,
    }


def _free_kb(folder: str) -> int:
    space = os.statvfs(existing_folder(folder))
    return space.f_bavail * space.f_frsize // 1024


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "services": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "unit": {"type": "str", "required": True},
                    "address": {"type": "str", "default": ""},
                    "settings": {"type": "list", "elements": "path"},
                    "reloaded_settings": {"type": "list", "elements": "path", "default": []},
                    "package": {"type": "str", "default": ""},
                    "data": {"type": "path"},
                },
            },
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, services={one["unit"]: gather(module, one) for one in module.params["services"]})


if __name__ == "__main__":
    main()
