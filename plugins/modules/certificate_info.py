#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_info
short_description: Check whether a server can use a TLS certificate and private key of the host
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Looks at a certificate together with its private key, as the filter P(mistralrs.stack.certificate_problem#filter)
    does on the controller. The key stays on the host.
  - Needs the Python library cryptography on the host, unless one of the files is missing.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details:
      - This module does not change state.
  idempotent:
    support: N/A
    details:
      - This module does not change state.
options:
  certificate:
    description:
      - The file with the certificate, followed by those of its issuers.
    type: path
    required: true
  private_key:
    description:
      - The file with its private key, without a passphrase.
    type: path
    required: true
  names:
    description:
      - The DNS names and IP addresses that the certificate must have, and no others. If not given, its names are not
        checked.
    type: list
    elements: str
  days:
    description:
      - For how many more days the certificate must be valid.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Look at the certificate
  mistralrs.stack.certificate_info:
    certificate: /etc/ssl/web.pem
    private_key: /etc/ssl/private/web.key
    names: [web.example.org]
    days: 30
  register: found
"""

RETURN = r"""
certificate:
  description: What the certificate's file contains. Empty if there is none.
  returned: success
  type: str
problem:
  description: What is wrong with the two, in one line. Empty if nothing is.
  returned: success
  type: str
  sample: ""
error_id:
  description: Identifies what went wrong.
  returned: failure
  type: str
  sample: gateway.certificate_unreadable
"""

import errno
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module
from ansible_collections.mistralrs.stack.plugins.module_utils._trust.x509 import check

FILE_MISSING = Fault(
    "gateway.certificate_file_missing",
    "There is no file {path}.",
    "Create the certificate and its key again, both together.",
)
UNREADABLE = Fault(
    "gateway.certificate_unreadable",
    "The file {path} cannot be read: {reason}.",
    "Replace it with a readable file, or repair the disk.",
)


def content(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise StackError(UNREADABLE, path=path, reason=error.strerror) from error
        return ""


def problem(certificate: str, key: str, module: AnsibleModule) -> str:
    parameters = module.params
    for text, path in ((certificate, parameters["certificate"]), (key, parameters["private_key"])):
        if not text:
            return str(StackError(FILE_MISSING, path=path))
    try:
        check(certificate, key, parameters["names"], parameters["days"], parameters["certificate"])
    except StackError as error:
        return str(error)
    return ""


def run(module: AnsibleModule) -> dict[str, Any]:
    certificate, key = content(module.params["certificate"]), content(module.params["private_key"])
    return {"changed": False, "certificate": certificate, "problem": problem(certificate, key, module)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "certificate": {"type": "path", "required": True},
            "private_key": {"type": "path", "required": True, "no_log": False},
            "names": {"type": "list", "elements": "str"},
            "days": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    run_module(module, run)


if __name__ == "__main__":
    main()
