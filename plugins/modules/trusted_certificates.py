#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: trusted_certificates
short_description: Make a host trust exactly the given extra certificate authorities
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Keeps a folder with one file for each certificate, and has the host's list of trusted authorities regenerated when
    it does not match them.
  - Any other file in O(folder) is removed, so give it a folder of its own below the one that O(command) reads.
  - All certificates are checked before the first file is written.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows the names of the files.
  idempotent:
    support: full
options:
  certificates:
    description:
      - The PEM files, each with one or more certificates. An empty list removes all that were there.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - The name or path of the file; it appears in messages and in the name of the file on the host.
        type: str
        required: true
      content:
        description:
          - The text of the file.
        type: str
        required: true
  folder:
    description:
      - The folder on the host. It is created if it is missing, but the folders above it are not. It stays, empty, when
        the last certificate is removed, since its time records when that was.
    type: path
    default: /usr/local/share/ca-certificates/mistral
  bundle:
    description:
      - The file with all authorities that the host trusts, which O(command) writes.
    type: path
    default: /etc/ssl/certs/ca-certificates.crt
  command:
    description:
      - The program, with its arguments, that regenerates the host's list from the files.
    type: list
    elements: str
    default: [update-ca-certificates, --fresh]
  services:
    description:
      - Services that read the authorities only when they start.
    type: list
    elements: str
    default: []
    version_added: 0.2.0
"""

EXAMPLES = r"""
- name: Trust the certificate authority of the company's proxy
  mistralrs.stack.trusted_certificates:
    certificates:
      - name: proxy.pem
        content: "{{ lookup('ansible.builtin.file', 'proxy.pem') }}"

- name: Stop trusting the certificates that were added that way
  mistralrs.stack.trusted_certificates:
    certificates: []
"""

RETURN = r"""
added:
  description: The files that were written.
  returned: success
  type: list
  elements: str
  sample: [mistral-proxy-1a2b3c4d.crt]
removed:
  description: The files that were removed.
  returned: success
  type: list
  elements: str
  sample: []
command_installed:
  description: Whether the host has the program of O(command).
  returned: success
  type: bool
  sample: true
outdated_services:
  description:
    - Those of O(services) that are running and were started before the last change of the folder, in this run or an
      earlier one.
  returned: success
  type: list
  elements: str
  sample: [docker.service]
  version_added: 0.2.0
error_id:
  description: Identifies what went wrong.
  returned: failure
  type: str
  sample: trust.not_a_certificate
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.atomic import sync_directory, write_atomically
from ansible_collections.mistralrs.stack.plugins.module_utils._host import service_state
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module
from ansible_collections.mistralrs.stack.plugins.module_utils._trust.certificates import (
    NOT_TAKEN_OVER,
    files,
    missing_in_bundle,
)

NOT_WRITTEN = Fault(
    "trust.not_written",
    "The certificates in {folder} could not be changed: {path}: {problem}.",
    "Check that the folder above it exists, that it holds nothing but files and that the disk can be written to.",
)
# Stands in the folder until the host's list is made, so that a run that was cut off is taken up by the next one.
PENDING = ".pending"


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def install(module: AnsibleModule, folder: str, wanted: dict[str, str], added: list[str], removed: list[str]) -> None:
    if not os.path.isdir(folder):
        os.mkdir(folder, 0o755)
        sync_directory(os.path.dirname(folder) or ".")
    with open(os.path.join(folder, PENDING), "w", encoding="utf-8"):
        pass
    sync_directory(folder)
    for name in added:
        write_atomically(os.path.join(folder, name), wanted[name].encode())
    for name in removed:
        os.unlink(os.path.join(folder, name))
    sync_directory(folder)
    command, bundle = module.params["command"], module.params["bundle"]
    module.run_command(command, check_rc=True)
    missing = missing_in_bundle(wanted, read(bundle))
    if missing:
        raise StackError(NOT_TAKEN_OVER, command=" ".join(command), names=", ".join(missing), bundle=bundle)
    os.unlink(os.path.join(folder, PENDING))
    sync_directory(folder)


def outdated(module: AnsibleModule, folder: str) -> list[str]:
    """The services that have not read what lies in the folder."""
    systemctl = module.get_bin_path("systemctl")
    found = []
    for name in module.params["services"] if systemctl and os.path.isdir(folder) else []:
        _status, shown, _err = module.run_command([systemctl, *service_state.SHOW, name])
        service = service_state.parse(shown)
        # One whose start is not known may hold any certificates.
        if service.runs and (not service.since or service_state.unread(service, [folder])):
            found.append(name)
    return found


def run(module: AnsibleModule) -> dict[str, Any]:
    folder, bundle, command = (module.params[name] for name in ("folder", "bundle", "command"))
    wanted = files([(entry["name"], entry["content"]) for entry in module.params["certificates"]])
    present = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    pending = PENDING in present
    present = [name for name in present if name != PENDING]
    added = [name for name in wanted if read(os.path.join(folder, name)) != wanted[name]]
    removed = [name for name in present if name not in wanted]
    changed = bool(pending or added or removed or missing_in_bundle(wanted, read(bundle)))
    if changed and not module.check_mode:
        install(module, folder, wanted, added, removed)
    return {
        "changed": changed,
        "added": added,
        "removed": removed,
        "outdated_services": outdated(module, folder),
        "command_installed": module.get_bin_path(command[0]) is not None,
        "diff": {
            "before_header": folder,
            "after_header": folder,
            "before": "".join(f"{name}\n" for name in present),
            "after": "".join(f"{name}\n" for name in sorted(wanted)),
        },
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "certificates": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "content": {"type": "str", "required": True},
                },
            },
            "folder": {"type": "path", "default": "/usr/local/share/ca-certificates/mistral"},
            "bundle": {"type": "path", "default": "/etc/ssl/certs/ca-certificates.crt"},
            "command": {"type": "list", "elements": "str", "default": ["update-ca-certificates", "--fresh"]},
            "services": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    folder = module.params["folder"]
    run_module(
        module,
        run,
        lambda path, reason: StackError(NOT_WRITTEN, folder=folder, path=path or folder, problem=reason),
    )


if __name__ == "__main__":
    main()
