# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role mistral_models tells about models, a line each.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2.filters import do_filesizeformat

Model = Mapping[str, Any]


def chosen(models: Sequence[Model], wanted: Sequence[Model]) -> list[str]:
    """Which quantization each model got whose entry left the choice open; both lists have the same order."""
    pairs = zip(wanted, models, strict=False)
    return [
        f"{model['name']}: {model['quantization']} ({do_filesizeformat(model['size'])})"
        for asked, model in pairs
        if str(asked["quantization"]).lower() == "auto"
    ]


def stored(store: Mapping[str, Any], path: str) -> list[str]:
    """What a store holds, C(store) being what the module model_info returned of C(path)."""
    none = "" if store["models"] else "no models, "
    lines = [f"{path}: {none}{do_filesizeformat(store['free'])} free"]
    for model in store["models"]:
        title = " ".join(word for word in (model["name"], model["quantization"]) if word)
        size = do_filesizeformat(model["size"])
        lines.append(f"{model['file']}: {title}, {size}, sha256 {model['sha256']}, {model['source']}")
        if not model["present"]:
            lines.append(f"{model['file']} was altered or removed since it was verified")
    return lines + [f"{name}: not fetched by this store" for name in store["others"]]


def found(models: Sequence[Model], endpoint: str, query: str) -> list[str]:
    """What a search has found, C(models) being what the module model_search returned."""
    if not models:
        quoted = json.dumps(query)
        return [f"Nothing in {endpoint} matches {quoted}: give fewer words, or leave out the quantization."]
    return [_found(model) for model in models]


def _found(model: Model) -> str:
    parts = [f"{model['source']}: {', '.join(model['quantizations']) or 'no GGUF'};"]
    if "fitting" in model:
        parts.append(f"of these fit here: {', '.join(model['fitting']) or 'none'};")
    if model["gated"]:
        parts.append("gated;")
    parts.append(f"licence {model['license'] or 'unknown'}, {model['downloads']} downloads")
    return " ".join(parts)
