# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_problem
short_description: Report why a TLS certificate can't be used
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Checks a certificate and, if given, its private key and the names it must be valid for. Returns one line that says
    what is wrong and what to do and ends with an id, or an empty string.
  - OpenSSL loads the certificates and the key as it does in a server, so that what a server would refuse is found here.
  - Needs the Python library cryptography on the controller, which Ansible itself needs.
positional: _input, private_key
options:
  _input:
    description:
      - The text of the certificate's PEM file. The first certificate is the server's own; each further one must be the
        issuer of the one before it.
    type: str
    required: true
  private_key:
    description:
      - The text of the private key's PEM file, without a passphrase. If not given, the key is not checked.
    type: str
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
  where:
    description:
      - What messages call the certificate, for instance its file.
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


def certificate_problem(
    certificate: str,
    private_key: str | None = None,
    names: list[str] | None = None,
    days: int = 0,
    where: str = "The certificate",
) -> str:
    from ansible_collections.mistralrs.stack.plugins.module_utils._trust.x509 import check

    try:
        check(certificate, private_key, names, days, where)
    except StackError as error:
        return str(error)
    return ""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"certificate_problem": certificate_problem}
