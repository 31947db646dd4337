# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: api_keys
short_description: Find weak API keys of the gateway, and compute the digests of all
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Finds the keys that the gateway refuses, namely those that have fewer than 20 characters, contain characters that
    are not allowed in an HTTP header, or are used by two entries.
  - Computes the digests by which the gateway recognizes the other keys, so that no key is stored on its host.
positional: _input, made
options:
  _input:
    description:
      - The entries of C(mistral_gateway_api_keys), each with C(name) and, where the operator chose it, C(key).
    type: list
    elements: dict
    required: true
  made:
    description:
      - The keys that were generated earlier, a dictionary of names and keys.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Check the API keys
  ansible.builtin.assert:
    that: (mistral_gateway_api_keys | mistralrs.stack.api_keys({})).weak | length == 0
"""

RETURN = r"""
_value:
  description:
    - The result.
  type: dict
  contains:
    weak:
      description: The names of the refused keys.
      type: list
      elements: str
    digests:
      description: A dictionary of the SHA-256 of each key and its name.
      type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.mistralrs.stack.plugins.plugin_utils import _api_keys


def api_keys(entries: Sequence[Mapping[str, Any]], made: Mapping[str, str]) -> dict[str, Any]:
    return {"weak": _api_keys.weak(entries, made), "digests": _api_keys.digests(entries, made)}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"api_keys": api_keys}
