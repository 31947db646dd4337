#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: repository_key
short_description: Install the signing key of a package repository if its fingerprint is the expected one
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Fetches a file of OpenPGP public keys, and writes it only if each key in it has one of the expected fingerprints.
    A key that was replaced on the way, or added to the file, is never trusted, not even for a moment.
  - The module computes the fingerprints itself; GnuPG is not needed on the host.
  - A file that already holds such a key is left alone and nothing is fetched.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
    details:
      - The key is fetched and compared in check mode too.
  diff_mode:
    support: full
    details:
      - The difference shows fingerprints.
  idempotent:
    support: full
options:
  path:
    description:
      - The file to write, with the extension V(.asc) for an armoured key and V(.gpg) for a binary one. Its directory is
        created.
    type: path
    required: true
  url:
    description:
      - The address of the key, V(https://), V(http://), or V(file://) for a file on the host.
    type: str
    required: true
  fingerprints:
    description:
      - The full fingerprints, 40 hexadecimal digits each; spaces are ignored. Give several while a key is being
        replaced.
    type: list
    elements: str
    required: true
  timeout:
    description:
      - The time in seconds that the server may take to answer.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Trust the repository of the NVIDIA Container Toolkit
  mistralrs.stack.repository_key:
    path: /etc/apt/keyrings/nvidia-container-toolkit.asc
    url: https://nvidia.github.io/libnvidia-container/gpgkey
    fingerprints:
      - C95B 321B 61E8 8C18 09C4 F759 DDCA E044 F796 ECB0
"""

RETURN = r"""
fingerprints:
  description: The fingerprints of the keys in the file.
  returned: success
  type: list
  elements: str
  sample: [C95B321B61E88C1809C4F759DDCAE044F796ECB0]
fetched:
  description: Whether the key was fetched.
  returned: success
  type: bool
  sample: false
error_id:
  description: Identifies what went wrong.
  returned: failure
  type: str
  sample: repository.key_mismatch
"""

import os
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.atomic import write_atomically
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module
from ansible_collections.mistralrs.stack.plugins.module_utils._trust.openpgp import fingerprints, normalized

UNREACHABLE = Fault(
    "repository.key_unreachable",
    "The signing key at {url} cannot be fetched: {problem}.",
    "Check the address, and the network and the proxy of the host; nothing was changed.",
)
TOO_LARGE = Fault(
    "repository.key_too_large",
    "The file at {url} is larger than 1 MB, so it can't be a signing key.",
    "Check the address; nothing was changed.",
)
MISMATCH = Fault(
    "repository.key_mismatch",
    "The signing key at {url} is {found}, but {expected} is expected.",
    "If its owner announced a new key, set the new fingerprint; if not, somebody may be tampering with what you"
    " download. Nothing was changed.",
)
BAD_FINGERPRINT = Fault(
    "repository.bad_fingerprint",
    "The expected fingerprint of the key at {url} can't be used: {problem}.",
    "Give the whole fingerprint, since short ids can be forged.",
)
NOT_WRITTEN = Fault(
    "repository.key_not_written",
    "The signing key could not be written to {path}: {problem}.",
    "Check the file system it lies on: its space, and whether it is mounted read-only.",
)

MAXIMUM_SIZE = 1_000_000


def fetch(url: str, timeout: int) -> bytes:
    try:
        with open_url(url, timeout=timeout, http_agent="mistralrs.stack") as answer:
            data = bytes(answer.read(MAXIMUM_SIZE + 1))
    except (OSError, ValueError) as error:
        problem = str(getattr(error, "reason", "") or error)
        raise StackError(UNREACHABLE, url=url, problem=problem.rstrip(".")) from error
    if len(data) > MAXIMUM_SIZE:
        raise StackError(TOO_LARGE, url=url)
    return data


def present(path: str) -> list[str]:
    """The keys that are there; none if the file is missing or something else."""
    try:
        with open(path, "rb") as file:
            return fingerprints(file.read(MAXIMUM_SIZE))
    except (OSError, StackError):
        return []


def expected_keys(module: AnsibleModule) -> set[str]:
    keys = {normalized(entry) for entry in module.params["fingerprints"]}
    wrong = [key for key in keys if not re.match(r"[0-9A-F]{40}\Z", key)]
    if wrong or not keys:
        problem = f"{wrong[0]!r} does not have 40 hexadecimal digits" if wrong else "there is none"
        raise StackError(BAD_FINGERPRINT, url=module.params["url"], problem=problem)
    return keys


def run(module: AnsibleModule) -> dict[str, Any]:
    path, url = module.params["path"], module.params["url"]
    expected = expected_keys(module)
    before = present(path)
    if before and expected.issuperset(before):
        return {"changed": False, "fetched": False, "fingerprints": before}

    data = fetch(url, module.params["timeout"])
    found = fingerprints(data, f"What {url} holds")
    # All of them, since apt trusts every key in the file.
    if not expected.issuperset(found):
        raise StackError(MISMATCH, url=url, found=" and ".join(found), expected=" or ".join(sorted(expected)))
    result: dict[str, Any] = {"changed": True, "fetched": True, "fingerprints": found}
    if module._diff:
        result["diff"] = {
            "before_header": path,
            "after_header": path,
            "before": "".join(f"{key}\n" for key in before),
            "after": "".join(f"{key}\n" for key in found),
        }
    if not module.check_mode:
        try:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            # apt reads it as a user of its own.
            write_atomically(path, data, 0o644)
        except OSError as error:
            raise StackError(NOT_WRITTEN, path=path, problem=error.strerror or str(error)) from error
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "url": {"type": "str", "required": True},
            "fingerprints": {"type": "list", "elements": "str", "required": True, "no_log": False},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    run_module(module, run)


if __name__ == "__main__":
    main()
