# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_problem
short_description: Report what keeps a TLS certificate from being used
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Looks at a certificate, and if given at its private key and the names it has to be valid for, and returns one line
    with what is wrong, what to do and an id, or an empty string.
  - OpenSSL loads the certificates and the key as a server does, so that what it would refuse is refused here.
  - Needs the Python library cryptography on the controller, which Ansible itself needs.
positional: _input, private_key
options:
  _input:
    description:
      - The text of the certificate's PEM file. The first certificate is the server's own, each further one has to be
        the issuer of the one before it.
    type: str
    required: true
  private_key:
    description:
      - The text of the private key's PEM file, without a passphrase. Not looked at if not given.
    type: str
  names:
    description:
      - The DNS names and IP addresses that the certificate has to have, and no others. Not looked at if not given.
    type: list
    elements: str
  days:
    description:
      - For how many more days the certificate has to be valid.
    type: int
    default: 0
  where:
    description:
      - What the messages call the certificate, its file for instance.
    type: str
    default: The certificate
"""

EXAMPLES = r"""
- name: Stop if the certificate and the key don't belong together
  ansible.builtin.assert:
    that: problem | length == 0
    fail_msg: "{{ problem }}"
  vars:
    certificate: "{{ lookup('ansible.builtin.file', 'my.pem') }}"
    problem: "{{ certificate | mistralrs.stack.certificate_problem(lookup('ansible.builtin.file', 'my.key')) }}"
"""

RETURN = r"""
_value:
  description:
    - What is wrong, or an empty string.
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._trust.x509 import check


def certificate_problem(
    certificate: str,
    private_key: str | None = None,
    names: list[str] | None = None,
    days: int = 0,
    where: str = "The certificate",
) -> str:
    try:
        check(certificate, private_key, names, days, where)
    except StackError as error:
        return str(error)
    return ""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"certificate_problem": certificate_problem}
