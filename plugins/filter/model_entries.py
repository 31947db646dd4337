# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: model_entries
short_description: Check the list of models and complete its entries
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Checks the variable C(mistral_models) of the role P(mistralrs.stack.mistral_models#role) as a whole.
  - Adds the names of the file, the engine's model and the clients' aliases to each entry.
  - Nothing on a host is touched. Chat templates are read on the controller.
  - Errors are returned, one line each, with an id such as V(model.unsafe_name), V(model.duplicate) or
    V(model.source_unsupported).
positional: _input
options:
  _input:
    description: The list of models.
    type: list
    elements: dict
    required: true
  directory:
    description: The directory on the controller that relative paths of chat templates start from.
    type: str
    default: .
  catalog_extra:
    description: Catalog entries that take precedence over the collection's own catalog.
    type: list
    elements: dict
    default: []
  stored:
    description:
      - Whether the models are already in the store, where they are found by name and quantization alone. A name without
        a source is then not looked up in the catalog.
    type: bool
    default: false
    version_added: 0.2.0
seealso:
  - plugin: mistralrs.stack.mistral_models
    plugin_type: role
"""

EXAMPLES = r"""
- name: Show the file names of the models
  ansible.builtin.debug:
    msg: "{{ (mistral_models | mistralrs.stack.model_entries).entries | map(attribute='file') }}"
"""

RETURN = r"""
_value:
  description: The result.
  type: dict
  contains:
    entries:
      description:
        - The valid entries, each with C(name), C(quantization), C(source), C(revision) and C(sha256) as given.
        - An entry without a source has the values of the catalog, unless O(stored) is true.
        - C(chat_template) is the text of the template, C(file) the name in the store, C(id) the engine's name of the
          model, and C(aliases) the names for clients.
      type: list
      elements: dict
    models:
      description: The same entries, for the option O(mistralrs.stack.model#module:models) of the module.
      type: list
      elements: dict
    errors:
      description: What is wrong, one line each; empty when all is right.
      type: list
      elements: str
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def _read_template(entry: Mapping[str, Any], directory: str) -> str:
    """The text of an entry's chat template."""
    from ansible_collections.mistralrs.stack.plugins.module_utils._store.chat_template import (
        TEMPLATE_INVALID,
        template_problem,
    )
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._models.entries import TEMPLATE_MISSING

    if not entry["chat_template"]:
        return ""
    path = Path(directory) / Path(entry["chat_template"]).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StackError(TEMPLATE_MISSING, name=entry["name"], path=path, why=error.strerror) from error
    except ValueError as error:
        raise StackError(TEMPLATE_MISSING, name=entry["name"], path=path, why="it is not UTF-8 text") from error
    problem = template_problem(text) if text else "is empty"
    if problem:
        raise StackError(TEMPLATE_INVALID, name=entry["name"], why=problem)
    return text


_MODULE_KEYS = ("name", "quantization", "source", "revision", "sha256", "chat_template")


def _filter(models: Any, directory: str = ".", catalog_extra: Any = (), stored: bool = False) -> dict[str, Any]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._models.entries import model_entries

    entries, errors = model_entries(models, catalog_extra, stored)
    complete = []
    for entry in entries:
        try:
            complete.append({**entry, "chat_template": _read_template(entry, str(directory))})
        except StackError as error:
            errors.append(error)
    return {
        "entries": complete,
        "models": [{key: entry[key] for key in _MODULE_KEYS} for entry in complete],
        "errors": [str(error) for error in errors],
    }


class FilterModule:
    """The filter model_entries."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"model_entries": _filter}
