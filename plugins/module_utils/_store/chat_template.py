# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chat template beside a model.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted, store_path, template_name
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import plain_status, read_small
from ansible_collections.mistralrs.stack.plugins.module_utils._store.publish import write_small

TEMPLATE_INVALID = Fault(
    "model.chat_template_invalid",
    "Model {name}: the chat template {why}.",
    "Give the Jinja text that the model's publisher calls the chat template.",
)
_MAX_TEMPLATE = 1 << 20


def template_problem(text: str) -> str:
    """Why a text can't be a chat template; '' if it can."""
    if len(text) > _MAX_TEMPLATE:
        return "is larger than 1 MB"
    if not text.strip():
        return "is empty"
    if "{{" not in text and "{%" not in text:
        return "contains no Jinja expression"
    return ""


def check_template(wanted: Wanted) -> None:
    """Refuse what can't be a chat template."""
    problem = template_problem(wanted.chat_template) if wanted.chat_template else ""
    if problem:
        raise StackError(TEMPLATE_INVALID, name=wanted.name, why=problem)


def put_template(wanted: Wanted) -> None:
    """Put the wanted chat template beside the model, or remove the one that is not wanted any more."""
    name = template_name(wanted)
    if wanted.chat_template:
        write_small(wanted, "template", wanted.chat_template.encode("utf-8", "surrogateescape"), name)
    else:
        os.unlink(store_path(wanted, name))


def installed_template(wanted: Wanted) -> str:
    """The text of the chat template in the store, or ''."""
    path = store_path(wanted, template_name(wanted))
    if plain_status(wanted, path) is None:
        return ""
    return read_small(path, 4 * _MAX_TEMPLATE).decode("utf-8", "replace")
