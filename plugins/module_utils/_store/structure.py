# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the structure of a model's files, and summarize their headers.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import (
    gguf_model,
    safetensors_header,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.entry import Entry
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted, model_label, model_path

UQFF_SHARDS = Fault(
    "model.uqff_shards",
    "Model {name}: its UQFF files are not those of one model, numbered from 0 on: {found}.",
    "Give a directory that holds what one run of the engine's quantize wrote.",
)


def _inspect_uqff(wanted: Wanted, paths: Mapping[str, str]) -> dict[str, Any]:
    """The engine's own format: C(<stem>-<n>.uqff) from 0 on, the other tensors in C(residual.safetensors).

    Only what lies beside the quantized layers is read: what is in them is known to the version that wrote them. Source:
    the engine's reference of the format.
    """
    shards = [name for name in paths if name.endswith(".uqff")]
    stem = shards[0].rpartition("-")[0] or shards[0][: -len(".uqff")]
    expected = [f"{stem}-{number}.uqff" for number in range(len(shards))]
    if sorted(shards) != sorted(expected) and shards != [f"{stem}.uqff"]:
        found = ", ".join(sorted(shards)[:12])
        raise StackError(UQFF_SHARDS, name=wanted.name, found=found)
    if not all(os.path.getsize(paths[name]) for name in shards):
        raise StackError(UQFF_SHARDS, name=wanted.name, found="an empty one")
    summary = dict(safetensors_header.inspect_set(paths, model_label(wanted)))
    return {**summary, "quantization": stem.rpartition(".")[2].upper(), "parameters": 0, "shards": len(shards)}


def inspect_files(wanted: Wanted, paths: Mapping[str, str]) -> dict[str, Any]:
    """Check the structure of a model of several files, by their names in the model, and summarize it."""
    if any(name.endswith(".uqff") for name in paths):
        return _inspect_uqff(wanted, paths)
    shards = {name: path for name, path in paths.items() if name.endswith(".gguf")}
    if not shards:
        return dict(safetensors_header.inspect_set(paths, model_label(wanted)))
    return gguf_model.inspect_shards(shards, model_label(wanted))


def inspect_stored(wanted: Wanted, entry: Entry) -> dict[str, Any]:
    """Check the structure of a stored model and summarize it."""
    if entry.directory:
        folder = model_path(wanted, directory=True)
        return inspect_files(wanted, {name: os.path.join(folder, name) for name in entry.sidecar["files"]})
    return gguf_model.inspect(model_path(wanted), model_label(wanted))
