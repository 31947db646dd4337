# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The models that are known by name: C(catalog.yml), and what an inventory adds to it.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

It is read on the controller, where there is a YAML parser.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

NOT_IN_CATALOG = Fault(
    "model.not_in_catalog",
    "Model {name}: it has no 'source', and the catalog does not know the name.",
    "Give 'source'. Similar names are: {similar}.",
)
CATALOG_INVALID = Fault(
    "model.catalog_invalid",
    "'mistral_models_catalog_extra', entry {number}: {what}.",
    "An entry has 'name' and 'repository', and may have 'also', 'default' and what else the catalog's entries have.",
)

DEFAULT_QUANTIZATION = "q4_k_m"


class Row(NamedTuple):
    """A model of the catalog: names (the first is the exact one), repository, default quantization, licence."""

    names: tuple[str, ...]
    repository: str
    default: str
    license: str


def _row(number: int, entry: Any) -> Row:
    if not isinstance(entry, Mapping):
        raise StackError(CATALOG_INVALID, number=number, what="it is not a dictionary")
    for key in ("name", "repository"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise StackError(CATALOG_INVALID, number=number, what=f"it has no {key!r}")
    if entry["repository"].count("/") != 1:
        raise StackError(CATALOG_INVALID, number=number, what="its 'repository' is not of the form org/repository")
    also = entry.get("also") or []
    if not isinstance(also, list) or not all(isinstance(name, str) for name in also):
        raise StackError(CATALOG_INVALID, number=number, what="its 'also' is not a list of names")
    return Row(
        names=(str(entry["name"]), *(str(name) for name in also)),
        repository=str(entry["repository"]),
        default=str(entry.get("default") or DEFAULT_QUANTIZATION),
        license=str(entry.get("license") or ""),
    )


def rows(extra: Iterable[Any] = ()) -> list[Row]:
    """All models, those that the inventory adds first. Raises C(model.catalog_invalid)."""
    if isinstance(extra, (str, Mapping)):
        raise StackError(CATALOG_INVALID, number=1, what="it is not a list")
    # Not at the top: a host that only gets models has no YAML parser, and needs none.
    import yaml

    own = yaml.safe_load(Path(__file__).with_name("catalog.yml").read_text(encoding="utf-8"))
    return [_row(number, entry) for given in (extra, own) for number, entry in enumerate(given, 1)]


def find(name: str, extra: Iterable[Any] = ()) -> Row:
    """The model of this name. Raises C(model.not_in_catalog), with names that are like it."""
    by_name: dict[str, Row] = {}
    for row in rows(extra):
        for each in row.names:
            by_name.setdefault(each.lower(), row)
    wanted = name.lower()
    wanted = wanted[: -len(":latest")] if wanted.endswith(":latest") else wanted
    if wanted not in by_name:
        similar = difflib.get_close_matches(wanted, by_name, n=5, cutoff=0.4) or sorted(by_name)[:5]
        raise StackError(NOT_IN_CATALOG, name=name, similar=", ".join(similar))
    return by_name[wanted]
