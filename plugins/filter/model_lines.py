# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: model_lines
short_description: Describe models in readable lines, one per model
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Turns the results of the modules M(mistralrs.stack.model), M(mistralrs.stack.model_info) and
    M(mistralrs.stack.model_search) into lines for people to read.
options:
  _input:
    description:
      - The result of one of these modules. Also give O(wanted), O(path) or O(endpoint), according to the module.
    type: dict
    required: true
  wanted:
    description:
      - For a result of M(mistralrs.stack.model), the entries that it was given. Only those whose quantization is
        V(auto) are described.
    type: list
    elements: dict
  path:
    description:
      - For a result of M(mistralrs.stack.model_info), the path of the store.
    type: str
  endpoint:
    description:
      - For a result of M(mistralrs.stack.model_search), the address of the hub.
    type: str
  query:
    description:
      - For a result of M(mistralrs.stack.model_search), the search words.
    type: str
"""

EXAMPLES = r"""
- name: Report what the store holds
  ansible.builtin.debug:
    msg: "{{ store | mistralrs.stack.model_lines(path='/var/lib/mistral/models') }}"
"""

RETURN = r"""
_value:
  description:
    - The lines.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


def model_lines(
    result: Mapping[str, Any],
    wanted: Sequence[Mapping[str, Any]] | None = None,
    path: str = "",
    endpoint: str = "",
    query: str = "",
) -> list[str]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._models import report

    if wanted is not None:
        return report.chosen(result["models"], wanted)
    if path:
        return report.stored(result, path)
    if endpoint:
        return report.found(result["models"], endpoint, query)
    raise AnsibleFilterError("model_lines: give 'wanted', 'path' or 'endpoint'.")


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"model_lines": model_lines}
