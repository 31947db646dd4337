# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: toolkit_advisories
short_description: List the known container escapes of a version of the NVIDIA Container Toolkit
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Returns the advisories that apply to a version, the oldest first; an empty list if there is none.
options:
  _input:
    description:
      - The version, such as V(1.20.0).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Stop if containers can break out
  ansible.builtin.assert:
    that: "'1.17.4' | mistralrs.stack.toolkit_advisories | length == 0"
"""

RETURN = r"""
_value:
  description:
    - Dictionaries with C(id), C(fixed) (the first version without it) and C(effect).
  type: list
  elements: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError


def toolkit_advisories(version: str) -> list[dict[str, str]]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._toolkit_advisories import open_advisories

    try:
        return [dict(advisory._asdict()) for advisory in open_advisories(str(version))]
    except ValueError as error:
        raise AnsibleFilterError(f"toolkit_advisories: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"toolkit_advisories": toolkit_advisories}
