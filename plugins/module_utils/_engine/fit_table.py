# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which quantizations and contexts of a model fit the GPUs, by the arithmetic that the plan uses.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Sizes are in bytes of GPU memory, contexts in tokens. What other programs use of the GPUs is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._engine import gpu_share
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.gpu_share import Load
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.row import Engine
from ansible_collections.mistralrs.stack.plugins.module_utils._model import fitting

# What a model is offered in most often, the smallest first.
LADDER = ("Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
# A context below this is of no use to anyone.
SHORTEST = 512
# Longer ones are said in steps of this.
_STEP = 256


class Way(NamedTuple):
    """One quantization of a model on the GPUs: what its weights take, what is left for all requests' KV caches.

    C(kv) is what one request takes with the whole C(context), C(native) the context that the model was made for (0 if
    that is not known).
    """

    label: str
    weights: int
    room: int
    kv: int
    context: int
    native: int

    @property
    def requests(self) -> int:
        """How many requests have the whole context at once."""
        return self.room // self.kv

    def longest(self, requests: int) -> int:
        """The longest context, in tokens, that so many requests can have at once."""
        tokens = self.room * self.context // (self.kv * requests)
        return min(tokens, self.native) if self.native else tokens


def entry_of(name: str, size: int, summary: Mapping[str, Any], label: str = "") -> dict[str, Any]:
    """A model as L{gpu_share.load_of} takes it; SafeTensors are quantized to C(label) when they are loaded."""
    plain = bool(summary) and not summary.get("version")
    return {"id": name, "size": size, "gguf": summary, "is_plain": plain, "isq_label": label if plain else ""}


def way(
    engine: Engine,
    label: str,
    entry: Mapping[str, Any],
    gpus: Sequence[int],
    fraction: float,
    context: int,
    others: Iterable[Load] = (),
) -> Way | None:
    """How a model, in one quantization, fits GPUs of this memory beside the others; None if its size is not known."""
    load = gpu_share.load_of(engine, entry, context)
    if load is None:
        return None
    room = gpu_share.kv_room([load, *others], gpus, fraction)
    native = int(entry["gguf"].get("context_length") or 0)
    return Way(label.lower(), load.weights, room, load.kv, load.tokens, native)


def _estimated(entry: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The usual quantizations of a model with their entries, by its number of parameters."""
    found = []
    for label in LADDER:
        if entry["is_plain"]:
            found.append((label, {**entry, "isq_label": label}))
        elif size := fitting.weights(int(entry["gguf"].get("parameters") or 0), label):
            found.append((label, {**entry, "size": size}))
    return found


class Fit(NamedTuple):
    """What fits: the model as it is, and its usual quantizations, the smallest first."""

    now: Way
    ways: list[Way]


def fit(
    engine: Engine,
    entry: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    gpus: Sequence[int],
    fraction: float,
    context: int,
) -> Fit | None:
    """What of one of the served models would fit; None where sizes are not known."""
    others = [gpu_share.load_of(engine, each, context) for each in entries if each["id"] != entry["id"]]
    known = [load for load in others if load is not None]
    label = str(entry.get("quantization") or entry["gguf"].get("quantization") or "as it is")
    now = way(engine, label, entry, gpus, fraction, context, known)
    if now is None or len(known) < len(others) or not entry["gguf"].get("kv_bytes_per_token"):
        return None
    found = [way(engine, each, one, gpus, fraction, context, known) for each, one in _estimated(entry)]
    ways = [each for each in found if each is not None and each.label != now.label]
    return Fit(now, sorted([*ways, now], key=lambda each: each.weights))


def rounded(tokens: int) -> int:
    """A context as it is said."""
    return tokens // _STEP * _STEP


def sentence(found: Fit) -> str:
    """What would fit, for a message about memory that was not enough."""
    now = found.now
    if now.requests:
        return (
            f"By its size {now.label} with {now.context} tokens of context fits these GPUs, so see what else uses "
            "their memory (nvidia-smi)."
        )
    smaller = [each for each in found.ways if each.requests and each.weights < now.weights]
    offers = [f"{smaller[-1].label} with {now.context} tokens of context"] if smaller else []
    shorter = rounded(now.longest(1))
    if shorter >= SHORTEST:
        offers.append(f"{now.label} with at most {shorter}{'' if offers else ' tokens of context'}")
    if not offers:
        smallest = found.ways[0]
        shorter = rounded(smallest.longest(1))
        if shorter >= SHORTEST:
            offers.append(f"{smallest.label} with at most {shorter} tokens of context")
    if offers:
        return f"What would fit these GPUs: {', or '.join(offers)}."
    smallest = found.ways[0]
    return (
        f"No quantization fits these GPUs: the smallest, {smallest.label}, takes "
        f"{fitting.readable(smallest.weights)} for its weights alone."
    )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines of a table: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def table(found: Fit) -> list[str]:
    """The same as lines for a terminal."""
    rows = [["quantization", "weights", "left for context", "longest context", "fits"]]
    for each in found.ways:
        fits = "yes" if each.requests else "no"
        cells = [each.label, mebibytes(each.weights), mebibytes(each.room), f"{rounded(each.longest(1)):,}", fits]
        rows.append(cells)
    return aligned(rows)


def mebibytes(count: int) -> str:
    """A size for people, in MiB."""
    return f"{(count + gpu_share.MIB // 2) // gpu_share.MIB:,} MiB"


def fits_of(
    engine: Engine,
    entries: Sequence[Mapping[str, Any]],
    gpus: Sequence[Mapping[str, Any]],
    fraction: float,
    context: int,
) -> dict[str, dict[str, Any]]:
    """For each served model's id what would fit, as C(sentence) and C(table); nothing where it can't be told."""
    sizes = [int(gpu.get("memory") or 0) for gpu in gpu_share.visible(gpus)]
    if not sizes or not all(sizes):
        return {}
    found = {each["id"]: fit(engine, each, entries, sizes, fraction, context) for each in entries}
    return {name: {"sentence": sentence(one), "table": table(one)} for name, one in found.items() if one}
