#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
short_description: Put several small files of a host in place as one
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Writes and removes files in folders of several programs, in one step of a playbook. All are written beside their
    places first. If one cannot be put in place, none is.
  - Makes the folders that are missing. Each file belongs to the user that runs the module.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - What only its owner may read is never shown.
  idempotent:
    support: full
options:
  files:
    description:
      - The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description:
          - The file's absolute path.
        type: path
        required: true
      content:
        description:
          - What the file contains. Required with O(files[].state=present).
        type: str
      mode:
        description:
          - The file's permissions, as an octal number in quotes.
        type: str
        default: "0644"
      state:
        description:
          - Whether there is such a file. With V(as_is) it stays as it is; RV(present_files) says whether it is there.
        type: str
        default: present
        choices:
          - present
          - absent
          - as_is
"""

EXAMPLES = r"""
- name: Ensure how the service is stopped and its logs are kept
  mistralrs.stack.host_files:
    files:
      - path: /etc/systemd/system/web.service.d/stop.conf
        content: |
          [Service]
          TimeoutStopSec=60
      - path: /etc/logrotate.d/web
        state: absent
"""

RETURN = r"""
changed_files:
  description: The files that were written or removed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [/etc/logrotate.d/web]
present_files:
  description: Those of the files with O(files[].state=as_is) that are there.
  returned: success
  type: list
  elements: str
  sample: [/var/lib/web/rules.json]
error_id:
  description: Identifies what went wrong.
  returned: failure
  type: str
  sample: gateway.configuration_not_written
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.staged_tree import (
    NOT_WRITTEN,
    apply,
    changes,
    sweep,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module
from ansible_collections.mistralrs.stack.plugins.module_utils._nginx.configuration import difference, wanted_files

ROOT = "/"


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params["files"]
    files = [{**entry, "path": os.path.relpath(entry["path"], ROOT)} for entry in given if entry["state"] != "as_is"]
    wanted = wanted_files(ROOT, files, {})
    todo = changes(ROOT, wanted)
    result: dict[str, Any] = {
        "changed": bool(todo),
        "changed_files": [os.path.join(ROOT, each.wanted.path) for each in todo],
        "present_files": [
            entry["path"] for entry in given if entry["state"] == "as_is" and os.path.lexists(entry["path"])
        ],
    }
    if module._diff:
        result["diff"] = [difference(ROOT, each) for each in todo]
    if todo and not module.check_mode:
        sweep(ROOT, [each.path for each in wanted])
        apply(ROOT, todo).keep()
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str"},
                    "mode": {"type": "str", "default": "0644"},
                    "state": {"type": "str", "default": "present", "choices": ["present", "absent", "as_is"]},
                },
                "required_if": [("state", "present", ("content",))],
            },
        },
        supports_check_mode=True,
    )
    run_module(module, run, lambda path, reason: StackError(NOT_WRITTEN, root=path or ROOT, problem=reason))


if __name__ == "__main__":
    main()
