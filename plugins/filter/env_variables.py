# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: env_variables
short_description: Turn the C(.env) file of the former stack into variables
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Takes the text of a C(.env) file and returns the corresponding variables of this collection.
  - The filter knows E(MISTRAL_MODELS_PATH), E(MISTRAL_MODEL_PATH), E(DEFAULT_MODEL), E(MISTRAL_MEMORY_LIMIT),
    E(MISTRAL_MEMORY_RESERVATION), E(CUDA_VERSION), E(MISTRAL_RS_VERSION), E(RUST_LOG), E(MISTRAL_PORT) and
    E(MISTRAL_HOST). Anything else is an error that names the line.
  - References such as C(${RUST_LOG}) and C(${RUST_LOG:-info}) to settings above them are expanded as Compose does it.
    Any other reference is an error, since Compose's environment is not known here.
positional: _input, path
options:
  _input:
    description: The text of the file.
    type: str
    required: true
  path:
    description: The name of the file, for messages.
    type: str
    default: .env
  base:
    description: The directory where relative paths start. If empty, they are refused.
    type: str
    default: ""
    version_added: 0.2.0
  strict:
    description: Whether unknown settings are refused. Otherwise they are left out.
    type: bool
    default: true
    version_added: 0.2.0
"""

EXAMPLES = r"""
- name: Show what the file sets
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', path) | mistralrs.stack.env_variables(path) }}"
  vars:
    path: /home/me/stack/.env
"""

RETURN = r"""
_value:
  description: The variables with their values.
  type: dict
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def _filter(text: Any, path: str = ".env", base: str = "", strict: bool = True) -> dict[str, str | int]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._env_file import parse

    try:
        return parse(str(text), str(path), str(base), None if strict else {})
    except StackError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter env_variables."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"env_variables": _filter}
