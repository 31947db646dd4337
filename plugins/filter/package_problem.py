# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: package_problem
short_description: Report which process kept apt or dnf from changing packages
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Takes the output of a program that could not lock the package database, and returns one line that says which
    process holds the lock and what to do.
  - Returns an empty string for any other output.
positional: _input, where
options:
  _input:
    description:
      - The output.
    type: str
    required: true
  where:
    description:
      - The beginning of the sentence, which says what could not be done.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Report which process holds the lock
  ansible.builtin.fail:
    msg: "{{ installed.stderr | mistralrs.stack.package_problem('The driver could not be installed') }}"
"""

RETURN = r"""
_value:
  description:
    - The line, or an empty string.
  type: str
"""

from collections.abc import Callable
from typing import Any


def package_problem(text: str, where: str) -> str:
    from ansible_collections.mistralrs.stack.plugins.module_utils._host.package_lock import busy

    error = busy(text, where)
    return "" if error is None else str(error)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"package_problem": package_problem}
