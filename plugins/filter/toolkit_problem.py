# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: toolkit_problem
short_description: Explain an error of apt, Docker or NVIDIA's tools, and what to do about it
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Takes the output of a program that failed, and returns one line that says what is wrong and what to do and ends with
    an id.
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
- name: Say why the container does not start
  ansible.builtin.fail:
    msg: "{{ started.stderr | mistralrs.stack.toolkit_problem('A container does not start') }}"
"""

RETURN = r"""
_value:
  description:
    - The line.
  type: str
"""

from collections.abc import Callable
from typing import Any


def toolkit_problem(text: str, where: str) -> str:
    from ansible_collections.mistralrs.stack.plugins.module_utils._toolkit.diagnose import explained

    return str(explained(text, where))


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"toolkit_problem": toolkit_problem}
