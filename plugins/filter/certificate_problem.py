# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_problem
short_description: Say what keeps a TLS certificate from being used
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Looks at a certificate, and if given at its private key and the names it has to be valid for, and returns one line
    with what is wrong, what to do and an id, or an empty string.
  - Needs the Python library cryptography on the controller, which Ansible itself needs.
positional: _input, private_key
options:
  _input:
    description:
      - The text of the certificate's PEM file. If it holds several certificates, the first one counts.
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
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

INVALID = Fault(
    "gateway.certificate_invalid",
    "{where}: this is not a certificate in PEM form.",
    "The file must contain -----BEGIN CERTIFICATE-----, your own certificate first, then the intermediate ones.",
)
EXPIRED = Fault(
    "gateway.certificate_expired",
    "{where}: the certificate is valid until {until} only.",
    "Get a new one from its authority.",
)
NOT_YET = Fault(
    "gateway.certificate_not_yet_valid",
    "{where}: the certificate is valid from {since} only.",
    "Check the controller's clock, or wait.",
)
KEY_INVALID = Fault(
    "gateway.private_key_invalid",
    "{where}: the private key is not a PEM file without a passphrase.",
    "Remove the passphrase (openssl pkey -in old.key -out new.key) and protect the file by its mode or Ansible Vault.",
)
KEY_MISMATCH = Fault(
    "gateway.private_key_mismatch",
    "{where}: the private key belongs to another certificate.",
    "Give the key that the certificate was requested with; in the certificate's file your own one must come first.",
)
NAMES_DIFFER = Fault(
    "gateway.certificate_names_differ",
    "{where}: the certificate is for {names}.",
    "Make a new one.",
)


def check(certificate: str, private_key: str | None, names: list[str] | None, days: int, where: str) -> None:
    # Ansible brings this library with it, but a filter that can't be imported would hide all others.
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError as error:
        raise StackError(INVALID, where=where) from error

    now = datetime.now(timezone.utc)
    if now < found.not_valid_before_utc:
        raise StackError(NOT_YET, where=where, since=found.not_valid_before_utc.date())
    if now + timedelta(days=days) >= found.not_valid_after_utc:
        raise StackError(EXPIRED, where=where, until=found.not_valid_after_utc.date())

    if private_key is not None:
        try:
            key = load_pem_private_key(private_key.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise StackError(KEY_INVALID, where=where) from error
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if key.public_key().public_bytes(*form) != found.public_key().public_bytes(*form):
            raise StackError(KEY_MISMATCH, where=where)

    if names is not None:
        try:
            extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            has = {str(entry.value) for entry in extension}
        except x509.ExtensionNotFound:
            has = set()
        if has != set(names):
            raise StackError(NAMES_DIFFER, where=where, names=", ".join(sorted(has)) or "no name")


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
