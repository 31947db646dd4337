# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the header of one GGUF file says about a model: architecture, sizes, quantization, and whether it is a model.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError, plain
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.ggml_types import FILE_TYPES
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_header import Data, Header, read_numbers

NO_MODEL = Fault(
    "model.no_model",
    "{name} is {what}, which no engine serves by itself.",
    "Give the model that it belongs to as 'source'.",
)
_MAX_LAYERS = 4_096
_MAX_SHOWN = 200

_LLAMA = "llama"
_WORDS = re.compile(r"[^0-9A-Za-z]+")


def needs_config(header: Header) -> bool:
    """Whether the engine refuses this GGUF from 0.9.1 on, unless a C(config.json) lies beside it.

    Mistral's models are of the architecture C(llama), and the GGUF does not say whether their attention has a window.
    The engine takes a model for one of them by the first word of its name. Source: C(resolve_native_adapter) and
    C(llama_mistral_identity_hint) in C(mistralrs-core/src/gguf/normal_registry.rs) of v0.9.1, v0.9.2 and 9e922623.
    """
    values = header.values
    if values.get("general.architecture") != _LLAMA:
        return False
    is_mixture = f"{_LLAMA}.expert_count" in values or any(".ffn_gate_exps." in name for name in header.tensors.names)
    if is_mixture or f"{_LLAMA}.attention.sliding_window" in values:
        return False
    names = [name for name in map(values.get, ("general.basename", "general.name")) if isinstance(name, str)]
    words = [word for word in _WORDS.split(names[0]) if word] if names else []
    return bool(words) and words[0].lower() == "mistral"


def _whole(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) and 0 <= value < 1 << 63 else 0


def _kv_bytes_per_token(header: Header, data: Data, architecture: str) -> int:
    """Bytes of F16 keys and values that each token of context takes, over all attention layers."""

    def value(key: str) -> int:
        return _whole(header.values.get(f"{architecture}.{key}", 0))

    layers = value("block_count")
    heads = value("attention.head_count")
    per_head = value("embedding_length") // heads if heads else 0
    width = (value("attention.key_length") or per_head) + (value("attention.value_length") or per_head)
    # One number for all layers, or one for each; 0 in the list: a layer without attention.
    per_layer = header.arrays.get(f"{architecture}.attention.head_count_kv")
    if per_layer is not None:
        kv_heads = sum(_whole(number) for number in read_numbers(data, per_layer, _MAX_LAYERS))
    else:
        kv_heads = (value("attention.head_count_kv") or heads) * layers
    return kv_heads * width * 2


# What else is written as GGUF (GGUFType in gguf-py's constants.py); of older files the architecture tells.
_MODEL = "model"
_NO_MODELS = {
    "adapter": "a LoRA adapter",
    "clip": "a projector (mmproj)",
    "controlvector": "a control vector",
    "imatrix": "an importance matrix",
    "mmproj": "a projector (mmproj)",
}


def _check_kind(header: Header, name: str) -> None:
    """Refuse what is a part or a by-product of a model. Raises C(model.no_model)."""
    values = header.values
    kind = str(values.get("general.type", _MODEL)).lower()
    architecture = str(values.get("general.architecture", "")).lower()
    tensors = header.tensors.names
    what = _NO_MODELS.get(kind) or _NO_MODELS.get(architecture, "")
    if not what and kind != _MODEL:
        what = f"of the type {kind[:40]!r}"
    if "adapter.type" in values or any(tensor.endswith((".lora_a", ".lora_b")) for tensor in tensors):
        what = what or _NO_MODELS["adapter"]
    if "imatrix.chunk_count" in values or any(tensor.endswith(".in_sum2") for tensor in tensors):
        what = what or _NO_MODELS["imatrix"]
    if what:
        raise StackError(NO_MODEL, name=name, what=what)


def summarize(header: Header, data: Data, name: str) -> dict[str, object]:
    """What users and other parts want to know about a model, as plain data. Raises C(model.no_model)."""
    _check_kind(header, name)
    values = header.values
    architecture = str(values.get("general.architecture", ""))

    def number(key: str) -> int:
        return _whole(values.get(f"{architecture}.{key}", 0))

    def text(key: str) -> str:
        return str(plain(str(values.get(key, "")), _MAX_SHOWN))

    file_type = values.get("general.file_type")
    by_bytes = header.tensors.bytes_by_type
    quantization = FILE_TYPES.get(file_type, "") if isinstance(file_type, int) else ""
    if not quantization and by_bytes:
        quantization = max(by_bytes, key=lambda label: by_bytes[label])
    vocabulary = header.arrays.get("tokenizer.ggml.tokens")
    return {
        "version": header.version,
        "architecture": text("general.architecture"),
        "name": text("general.name"),
        "quantization": quantization,
        "tensor_types": sorted(by_bytes),
        "parameters": header.tensors.parameters,
        "tensors": header.tensors.length,
        "context_length": number("context_length"),
        "block_count": number("block_count"),
        "embedding_length": number("embedding_length"),
        "head_count": number("attention.head_count"),
        "head_count_kv": number("attention.head_count_kv"),
        "kv_bytes_per_token": _kv_bytes_per_token(header, data, architecture),
        "vocabulary": vocabulary.length if vocabulary else number("vocab_size"),
        "tokenizer": text("tokenizer.ggml.model"),
        "chat_template": "tokenizer.chat_template" in values,
        "needs_config": needs_config(header),
        "shards": _whole(values.get("split.count", 0)) or 1,
        "shard": _whole(values["split.no"]) if "split.no" in values else -1,
        "shard_tensors": _whole(values.get("split.tensors.count", 0)),
    }
