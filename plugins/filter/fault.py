# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: fault
short_description: Format an error message of this collection
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Returns one line that says what is wrong, what to do, where the error is explained, and its id in brackets.
  - The sentences are in the collection, so that every error has a remedy and an entry in C(docs/errors.md).
  - Any further keyword is a value that the sentences contain, such as C(host).
options:
  _input:
    description:
      - The id of the error, such as V(gateway.port_in_use).
      - The filter knows only the errors that the collection's own roles and playbooks report.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check that the port is free
  ansible.builtin.assert:
    that: listeners | length == 0
    fail_msg: >-
      {{ 'server.port_in_use'
         | mistralrs.stack.fault(host=inventory_hostname, port=11434, others=listeners | join(', ')) }}
"""

RETURN = r"""
_value:
  description:
    - The line.
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError


def fault(error_id: str, **values: Any) -> str:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._faults import registry

    if error_id not in registry.FAULTS:
        raise AnsibleFilterError(f"fault: there is no error {error_id!r}.")
    try:
        return registry.message(error_id, values)
    except KeyError as error:
        raise AnsibleFilterError(f"fault: the error {error_id} needs the value {error}.") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"fault": fault}
