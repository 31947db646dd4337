# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory each model gets for its KV cache where a memory fraction would leave nothing for some.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

The engine loads the models one after the other, and each sets aside its KV cache at once. With a memory fraction, the
first takes all up to that fraction (up to 0.8.23) or up to its part of the fraction, which the second finds used up by
the first one's weights (0.9.0 to 0.9.1, at 0.9.2 depending on the sizes): "Num GPU blocks is 0". So does one model
that is larger than the first of several GPUs, from 0.8.0 on: the fraction is measured on the first GPU less the whole
model. With a size in MB, each gets that size, so it is computed here from the sizes of GPUs and models.

Source: C(calculate_cache_config) in mistralrs-core/src/paged_attention/mod.rs, C(get_device_layers) in
mistralrs-core/src/pipeline/loaders/auto_device_map.rs and C(split_paged_config) in mistralrs-core/src/resource_plan.rs,
at v0.7.0, v0.8.0, v0.8.4, v0.9.0, v0.9.1, v0.9.2 and commit 9e922623.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._engine.settings import OUT_OF_RANGE
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.row import Engine
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model import fitting

SIZE_UNKNOWN = Fault(
    "config.model_size_unknown",
    "The size of the model {id!r} is not known, so the GPU's memory can't be divided among the models.",
    "Pass the models as the role mistral_models reports them (mistral_models_result), with the size of each.",
)
MEMORY_UNKNOWN = Fault(
    "config.gpu_memory_unknown",
    "The memory of the GPU {gpu} is not known, so it can't be divided among the {count} models.",
    "Set gpu.allow_growth to true, or serve one model.",
)
NO_ROOM = Fault(
    "config.no_room_for_models",
    "mistral.rs {version} can't serve {models} on these GPUs: the weights take about {weights} and a context of "
    "{tokens} tokens takes {kv} {each}, but gpu.memory_fraction {fraction} of the GPUs' memory is {have}.",
    "{way_out}",
    "Serve fewer or smaller models, set models.context_length to less, raise gpu.memory_fraction or set "
    "gpu.allow_growth to true.",
)

MIB = 1 << 20
# The engine leaves so much free when it decides where layers go (auto_device_map.rs: GPU_MIN_RESERVE_BYTES and
# GPU_RESERVE_FRACTION).
_MIN_RESERVE = 512 * MIB
_RESERVE_PERCENT = 2
# Activations of each model, and CUDA's context on each GPU; as in C(_model/fitting.py).
ACTIVATIONS = 512 * MIB
CUDA_CONTEXT = 512 * MIB
_USUAL_LAYERS = 32
# As much as a memory fraction may be.
_MOST_FRACTION = 0.98
# What a model gets at least, if its header doesn't say what a token takes.
_MIN_KV = 256 * MIB


class Load(NamedTuple):
    """What one model puts into the GPU's memory: bytes of weights, bytes of its KV cache at least, layers."""

    id: str
    weights: int
    kv: int
    tokens: int
    layers: int


def load_of(engine: Engine, entry: Mapping[str, Any], context_length: int) -> Load | None:
    """The load of an entry of the plan; None if its size is not known."""
    size = int(entry["size"])
    if size <= 0:
        return None
    summary = entry["gguf"]
    if entry["is_plain"]:
        weights = fitting.loaded_bytes(size, str(summary.get("quantization") or ""), entry["isq_label"]) or size
    else:
        pieces = 0 if engine.quantized_embeddings else int(summary.get("vocabulary") or 0)
        weights = size + pieces * int(summary.get("embedding_length") or 0) * 4
    tokens = fitting.context_tokens(summary, int(entry.get("context_length") or 0) or context_length)
    # Of an element of two bytes, which a smaller type of the cache takes less of.
    per_token = int(summary.get("kv_bytes_per_token") or 0) * int(entry.get("cache_bits") or 16) // 16
    kv = max(per_token * tokens, MIB) if per_token else _MIN_KV
    return Load(str(entry["id"]), weights, kv, tokens, int(summary.get("block_count") or 0) or _USUAL_LAYERS)


def capacity(memory: int, fraction: float) -> int:
    """The bytes of a GPU for weights, KV caches and activations, of the bytes that it has."""
    reserve = max(_MIN_RESERVE, memory * _RESERVE_PERCENT // 100)
    return min(int(memory * fraction), memory - reserve) - CUDA_CONTEXT


def _start(loads: Sequence[Load], gpus: Sequence[int], fraction: float, each: int) -> bool:
    """Whether all models start when each gets so many bytes for its KV cache.

    The engine puts a model on the first GPU if it fits, else as many layers as fit on each in turn. What the KV cache
    may have is measured on the first GPU alone, so there must be room for it, whichever GPU the layers go to.
    """
    left = [capacity(memory, fraction) for memory in gpus]
    for load in loads:
        if left[0] < each + ACTIVATIONS:
            return False
        of_layer = -(-(load.weights + each) // load.layers)
        missing = load.layers
        for index, room in enumerate(left):
            count = min(missing, max(0, room - ACTIVATIONS) // of_layer)
            if count:
                left[index] -= count * of_layer + ACTIVATIONS
                missing -= count
        if missing:
            return False
    return True


def megabytes_each(loads: Sequence[Load], gpus: Sequence[int], fraction: float) -> int:
    """The most MiB that each model's KV cache can have so that all start; 0 if they can't."""
    low, high = 0, max(gpus) // MIB
    while low < high:
        middle = (low + high + 1) // 2
        if _start(loads, gpus, fraction, middle * MIB):
            low = middle
        else:
            high = middle - 1
    return low


def _way_out(loads: Sequence[Load], gpus: Sequence[int], fraction: float, each: int) -> str:
    ways = ["Serve fewer or smaller models" if len(loads) > 1 else "Serve a smaller model or quantization"]
    if each:
        ways.append("set models.context_length to less")
    if fraction < 0.98 and megabytes_each(loads, gpus, 0.98) * MIB >= max(load.kv for load in loads):
        ways.append("raise gpu.memory_fraction")
    if each:
        ways.append("set gpu.allow_growth to true")
    return (", ".join(ways[:-1]) + " or " if len(ways) > 1 else "") + ways[-1] + "."


def visible(gpus: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """A CUDA program sees one MIG device only, however many there are."""
    return gpus[:1] if gpus and str(gpus[0].get("uuid") or "").startswith("MIG-") else gpus


def used_gpus(gpus: Sequence[Mapping[str, Any]], devices: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The GPUs that C(gpu.devices) names, by index or UUID, in its order; all of them if it names none."""
    named = {str(gpu.get("index", position)): gpu for position, gpu in enumerate(gpus)}
    named.update({str(gpu["uuid"]): gpu for gpu in gpus if gpu.get("uuid")})
    return [named[str(device)] for device in devices] if devices else list(gpus)


def _is_larger(load: Load, memory: int, fraction: float) -> bool:
    return load.weights + load.kv + ACTIVATIONS > capacity(memory, fraction)


def is_larger_than_first(
    engine: Engine, entry: Mapping[str, Any], gpus: Sequence[Mapping[str, Any]], fraction: float, context_length: int
) -> bool:
    """Whether a fraction of the first of several GPUs, less the whole model, leaves too little for its context."""
    seen = visible(gpus)
    load = load_of(engine, entry, context_length)
    if load is None or len(seen) < 2 or not all(int(gpu.get("memory") or 0) > 0 for gpu in seen):
        return False
    return _is_larger(load, int(seen[0]["memory"]), fraction)


def holding(loads: Sequence[Load], gpus: Sequence[int], fraction: float) -> Sequence[int]:
    """Those of the GPUs that the engine puts something on: one model that fits the first GPU stays there."""
    return gpus[:1] if len(loads) == 1 and not _is_larger(loads[0], gpus[0], fraction) else gpus


def kv_room(loads: Sequence[Load], gpus: Sequence[int], fraction: float) -> int:
    """The bytes that each model's KV cache gets, of GPUs with so many bytes each; 0 if the models don't start."""
    return megabytes_each(loads, holding(loads, gpus, fraction), fraction) * MIB


def shared_memory(
    version: str,
    engine: Engine,
    entries: Sequence[Mapping[str, Any]],
    gpus: Sequence[Mapping[str, Any]],
    fraction: float,
    context_length: int,
) -> int:
    """The MiB that each model gets for its KV cache.

    Raises StackError if that can't be computed, or if there isn't enough for all.
    """
    sizes: list[int] = []
    for position, gpu in enumerate(visible(gpus)):
        memory = int(gpu.get("memory") or 0)
        if memory <= 0:
            raise StackError(MEMORY_UNKNOWN, gpu=gpu.get("uuid") or gpu.get("index", position), count=len(entries))
        sizes.append(memory)
    loads = []
    for entry in entries:
        load = load_of(engine, entry, context_length)
        if load is None:
            raise StackError(SIZE_UNKNOWN, id=entry["id"])
        loads.append(load)
    each = megabytes_each(loads, sizes, fraction)
    largest = max(loads, key=lambda load: load.kv)
    if each * MIB < largest.kv:
        raise StackError(
            NO_ROOM,
            version=version,
            models=", ".join(load.id for load in loads),
            weights=fitting.readable(sum(load.weights for load in loads)),
            kv=fitting.readable(largest.kv),
            each="for each model" if len(loads) > 1 else "more",
            tokens=largest.tokens,
            fraction=fraction,
            have=fitting.readable(int(sum(sizes) * fraction)),
            way_out=_way_out(loads, sizes, fraction, each),
        )
    return each


def given_memory(
    version: str,
    engine: Engine,
    entries: Sequence[Mapping[str, Any]],
    gpus: Sequence[Mapping[str, Any]],
    total: int,
    context_length: int,
) -> int:
    """The MiB that each model gets of the MiB that the operator gives to the KV caches of all of them.

    Raises StackError if that is too little for one context of each or, beside the weights, more than the GPUs have. It
    is not compared with what is not known.
    """
    loads = [load_of(engine, entry, context_length) for entry in entries]
    known = [load for load in loads if load is not None]
    if len(known) == len(entries) and all(int(gpu.get("memory") or 0) > 0 for gpu in visible(gpus)):
        most = shared_memory(version, engine, entries, gpus, _MOST_FRACTION, context_length) * len(entries)
        least = max(-(-load.kv // MIB) for load in known) * len(entries)
        if not least <= total <= most:
            expected = f"from {least} to {most} with these models on these GPUs"
            raise StackError(OUT_OF_RANGE, key="gpu.cache_mb", value=total, expected=expected)
    return total // len(entries)
