# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What config.yml says of each model: its context, the type of its activations, the type of its KV cache.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._engine.settings import (
    KEY_UNSUPPORTED,
    OUT_OF_RANGE,
    shown,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.row import Engine
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def needs_dtype(engine: Engine, entry: Mapping[str, Any]) -> bool:
    """Whether a model on the CPU fails several requests at once in F32, which the engine would choose there.

    SafeTensors that are served as they are don't: they keep F32, which holds whatever they were stored in.
    """
    if entry["is_plain"]:
        return engine.f32_fails_quantized and bool(entry["isq"] or entry["uqff"])
    return engine.f32_fails_gguf


def _contexts(settings: Mapping[str, Any], entries: list[dict[str, Any]], errors: list[StackError]) -> None:
    models = settings["models"]
    of_all = int(models.get("context_length") or 0)
    lengths = dict(models.get("context_lengths") or {})
    for entry in entries:
        names = [name for name in lengths if name == entry["id"] or name in entry["aliases"]]
        entry["context_length"] = lengths[names[0]] if names else of_all
        for name in names:
            lengths.pop(name)
    for name in lengths:
        known = ", ".join(entry["id"] for entry in entries)
        errors.append(
            StackError(OUT_OF_RANGE, key="models.context_lengths", value=shown(name), expected=f"a model here: {known}")
        )


def resolve(
    version: str,
    engine: Engine,
    settings: Mapping[str, Any],
    entries: list[dict[str, Any]],
    cpu: bool,
    errors: list[StackError],
) -> None:
    """Give each entry its C(context_length) (0: its own), C(dtype) (empty: the engine chooses) and C(cache_bits)."""
    _contexts(settings, entries, errors)
    given = settings["models"].get("dtype", "")
    for entry in entries:
        # F16 would be more exact, but the activations of some models (Gemma's, for one) exceed its range.
        entry["dtype"] = given or ("bf16" if cpu and needs_dtype(engine, entry) else "")
        entry["cache_bits"] = 8 if settings["gpu"].get("cache_type") == "f8e4m3" else 16
    if cpu and given == "f32" and any(needs_dtype(engine, entry) for entry in entries):
        errors.append(
            StackError(
                KEY_UNSUPPORTED,
                version=version,
                key="models.dtype",
                reason="it fails on several requests at once where F32 is used on the CPU",
                way_out="Remove it, or set it to bf16.",
            )
        )


def check_max_tokens(settings: Mapping[str, Any], entries: list[dict[str, Any]], errors: list[StackError]) -> None:
    """Refuse a default for the length of answers that is above the context of a model."""
    given = settings["inference"].get("max_tokens", 0)
    contexts = [entry["context_length"] for entry in entries if entry["context_length"]]
    if contexts and given > min(contexts):
        key = "context_lengths" if settings["models"].get("context_lengths") else "context_length"
        expected = f"at most models.{key} ({min(contexts)})"
        errors.append(StackError(OUT_OF_RANGE, key="inference.max_tokens", value=given, expected=expected))


def shortest_context(entries: list[dict[str, Any]]) -> int:
    """The shortest context that was set for a model, in tokens; 0 if none was."""
    return min((entry["context_length"] for entry in entries if entry["context_length"]), default=0)


def longest_answer(entries: list[dict[str, Any]]) -> int | None:
    """The most tokens that any model may answer; None if one of them has only its own limit."""
    contexts = [entry["context_length"] for entry in entries]
    return max(contexts) if all(contexts) else None
