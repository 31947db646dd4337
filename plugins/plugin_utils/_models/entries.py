# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the variable C(mistral_models) as a whole.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import parse_sha256, parse_source
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import (
    aliases,
    check_distinct,
    model_id,
    store_file_name,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._models import catalog

NONE_CONFIGURED = Fault(
    "model.none_configured",
    "'mistral_models' is not a list with at least one model.",
    "List the models to serve there, each with a name.",
)
WRONG_TYPE = Fault(
    "model.wrong_type",
    "'mistral_models', entry {number}: {what}.",
    "An entry has the key 'name', and may have {keys}, all of them texts.",
)
TEMPLATE_MISSING = Fault(
    "model.chat_template_missing",
    "Model {name}: the chat template {path} can't be read on the controller: {why}.",
    "Correct 'chat_template'; it is the path of a file on the controller.",
)

_OPTIONAL = ("quantization", "source", "revision", "sha256", "chat_template")


def _entry(number: int, model: object, catalog_extra: Iterable[Any], stored: bool) -> dict[str, Any]:
    what = ""
    values: dict[str, str] = {}
    if not isinstance(model, Mapping):
        what = "it is not a dictionary"
    elif not model.get("name"):
        what = "it has no name"
    else:
        for key, value in model.items():
            if key != "name" and key not in _OPTIONAL:
                what = f"it has the unknown key {str(key)[:40]!r}"
            elif value is not None and not isinstance(value, str):
                what = f"the value of {key!r} is not a text"
            # Texts of templates are of a class of Ansible's own.
            values[str(key)] = str(value or "")
    if what:
        raise StackError(WRONG_TYPE, number=number, what=what, keys=", ".join(_OPTIONAL))
    name, quantization, source = values["name"], values.get("quantization", ""), values.get("source", "")
    sha256 = parse_sha256(name, values.get("sha256", ""))
    file = store_file_name(name, quantization)
    if not source and not stored:
        known = catalog.find(name, catalog_extra)
        quantization = quantization or known.default
        source, file = f"hf://{known.repository}", store_file_name(name, quantization)
    if source:
        parse_source(name, source, values.get("revision", ""), sha256)
    return {
        "name": name,
        "quantization": quantization,
        "source": source,
        "revision": values.get("revision", ""),
        "sha256": sha256,
        "chat_template": values.get("chat_template", ""),
        "file": file,
        "id": model_id(file),
        "aliases": aliases(name, quantization, file),
    }


def model_entries(
    models: object, catalog_extra: Iterable[Any] = (), stored: bool = False
) -> tuple[list[dict[str, Any]], list[StackError]]:
    """The entries, completed, and everything that is wrong with them.

    A model without a source is looked up in the catalog and C(catalog_extra), unless it is C(stored) already: its name
    and quantization say then which one it is.
    """
    if isinstance(models, (str, Mapping)) or not hasattr(models, "__iter__") or not list(models):
        return [], [StackError(NONE_CONFIGURED)]
    entries: list[dict[str, Any]] = []
    errors = []
    for number, model in enumerate(models, 1):
        try:
            entry = _entry(number, model, catalog_extra, stored)
            check_distinct((each["name"], each["file"]) for each in [*entries, entry])
            entries.append(entry)
        except StackError as error:
            errors.append(error)
    return entries, errors
