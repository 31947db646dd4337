# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the section gpu of config.yml asks for, compared with the GPUs that the host has.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._engine.settings import (
    AUTO,
    CONTRADICTION,
    KEY_UNSUPPORTED,
    OUT_OF_RANGE,
    Gpu,
    shown,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import engine_of
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def _check_cache(version: str, gpu: Mapping[str, Any], errors: list[StackError]) -> None:
    grows = bool(gpu.get("allow_growth"))
    for key, other, contradicts in (
        ("cache_mb", "gpu.memory_fraction: one of them says how much memory is set aside", "memory_fraction" in gpu),
        ("cache_mb", "gpu.allow_growth: memory either grows with use or is set aside at the start", grows),
        ("cache_type", "gpu.allow_growth: only memory that is set aside at the start has a type of its own", grows),
    ):
        if key in gpu and contradicts:
            errors.append(StackError(CONTRADICTION, key=f"gpu.{key}", value=shown(gpu[key]), other=other))
    if gpu.get("cache_type", AUTO) != AUTO and not engine_of(version).toml:
        errors.append(
            StackError(
                KEY_UNSUPPORTED,
                version=version,
                key="gpu.cache_type",
                reason="its KV cache has the type of the model",
                way_out="Remove it, or use version 0.7.0 or newer.",
            )
        )


def check_layers(
    version: str,
    settings: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    gpus: Sequence[Gpu],
    errors: list[StackError],
) -> None:
    """Add to C(errors) what is wrong with the layers that each GPU is to get."""
    layers = settings["gpu"].get("device_layers")
    if not layers or not gpus:
        return
    used = len(settings["gpu"].get("devices") or gpus)
    pairs = [(int(gpu), int(count)) for gpu, count in (item.split(":") for item in layers)]
    expected = ""
    if max(gpu for gpu, _count in pairs) >= used or len({gpu for gpu, _count in pairs}) < len(pairs):
        expected = f"one entry at most for each of the {used} GPUs used, which are counted from 0"
    elif len(entries) > 1:
        expected = f"left out, since the layers would be those of each of the {len(entries)} models"
    elif len(entries) == 1:
        blocks = int(entries[0]["gguf"].get("block_count") or 0)
        placed = sum(count for _gpu, count in pairs)
        # The engine would compute the rest on the CPU, which takes a hundred times as long, or end.
        if blocks and placed != blocks:
            expected = f"all {blocks} layers of {entries[0]['id']} (these are {placed})"
    if expected:
        errors.append(StackError(OUT_OF_RANGE, key="gpu.device_layers", value=shown(layers), expected=expected))


def check_gpu(version: str, settings: dict[str, dict[str, Any]], gpus: Sequence[Gpu], errors: list[StackError]) -> None:
    """Add to C(errors) what the section gpu asks for and this host or version does not have."""
    gpu = settings["gpu"]
    if not gpus:
        for key in gpu:
            errors.append(
                StackError(
                    KEY_UNSUPPORTED,
                    version=version,
                    key=f"gpu.{key}",
                    reason="this host has no GPU, the engine runs on the CPU",
                    way_out="Remove it for this host.",
                )
            )
        return
    if gpu.get("allow_growth") and "memory_fraction" in gpu:
        errors.append(
            StackError(
                CONTRADICTION,
                key="gpu.allow_growth",
                value="true",
                other="gpu.memory_fraction: memory either grows with use or is set aside at the start",
            )
        )
    _check_cache(version, gpu, errors)
    if gpu.get("tensor_parallel", 1) > 1:
        errors.append(
            StackError(
                KEY_UNSUPPORTED,
                version=version,
                key="gpu.tensor_parallel",
                reason="it doesn't split GGUF models that way, it spreads their layers over the GPUs by itself",
                way_out="Remove it, or set it to 1.",
            )
        )
    present = {str(item.get("index", position)) for position, item in enumerate(gpus)}
    present |= {str(item["uuid"]) for item in gpus if item.get("uuid")}
    missing = [str(device) for device in gpu.get("devices", []) if str(device) not in present]
    if missing:
        errors.append(
            StackError(
                OUT_OF_RANGE,
                key="gpu.devices",
                value=shown(gpu["devices"]),
                expected=f"among the GPUs of this host ({', '.join(sorted(present))})",
            )
        )
