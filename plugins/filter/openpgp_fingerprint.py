# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: openpgp_fingerprint
short_description: Compute the fingerprint of an OpenPGP public key
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Reads a public key, for instance that of a package repository, so that its fingerprint can be compared before the
    key is trusted. GnuPG is needed neither on the controller nor on the host.
  - For a file with several keys, the result has all their fingerprints, so it never equals a single expected one.
positional: _input
options:
  _input:
    description:
      - The key as text in ASCII armour, or the Base64 form of a file with a key, armoured or binary, as
        M(ansible.builtin.slurp) returns it.
    type: str
    required: true
  where:
    description: What messages call the key, for instance its address.
    type: str
    default: The file
"""

EXAMPLES = r"""
- name: Read the key
  ansible.builtin.slurp:
    src: /etc/apt/keyrings/docker.asc
  register: key

- name: Compare it
  ansible.builtin.assert:
    that: key.content | mistralrs.stack.openpgp_fingerprint == '9DC858229FC7DD38854AE2D88D81803C0EBFCD88'
"""

RETURN = r"""
_value:
  description:
    - The fingerprint of the primary key, 40 hexadecimal digits in upper case; for several keys, all fingerprints,
      separated by spaces.
  type: str
"""

import base64
import binascii
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def _filter(key: Any, where: str = "The file") -> str:
    from ansible_collections.mistralrs.stack.plugins.module_utils._trust.openpgp import fingerprints

    data = str(key).encode()
    if b"-----BEGIN PGP " not in data:
        try:
            data = base64.b64decode(b"".join(data.split()), validate=True)
        except binascii.Error:
            # Neither form: the reader of keys says so.
            data = data or b"-"
    try:
        return " ".join(fingerprints(data, where))
    except StackError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter openpgp_fingerprint."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"openpgp_fingerprint": _filter}
