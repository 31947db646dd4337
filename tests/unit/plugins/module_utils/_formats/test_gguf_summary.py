# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_header, gguf_model, gguf_summary


def parse(data: bytes) -> dict[str, object]:
    return gguf_summary.summarize(gguf_header.parse_header(data, len(data), "model"), data, "model")


def test_summary(gguf: Any, tmp_path: Any) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(
        gguf.build(
            {
                "general.architecture": "llama",
                "general.name": "Tiny",
                "general.file_type": 15,
                "general.alignment": 32,
                "general.tags": ["a", "b"],
                "llama.context_length": 4096,
                "llama.block_count": 2,
                "llama.embedding_length": 64,
                "llama.attention.head_count": 8,
                "llama.attention.head_count_kv": 2,
                "tokenizer.ggml.model": "gpt2",
                "tokenizer.ggml.tokens": ["a", "b", "c"],
                "tokenizer.chat_template": "{{ x }}" * 1000,
            },
            {"a": ([4, 2], 0, 32), "b": ([256], 12, 144)},
        )
    )
    assert gguf_model.inspect(str(path), "model") == {
        "version": 3,
        "architecture": "llama",
        "name": "Tiny",
        "quantization": "Q4_K_M",
        "tensor_types": ["F32", "Q4_K"],
        "parameters": 264,
        "tensors": 2,
        "context_length": 4096,
        "block_count": 2,
        "embedding_length": 64,
        "head_count": 8,
        "head_count_kv": 2,
        # 2 layers x 2 heads x (8 + 8) elements x 2 bytes
        "kv_bytes_per_token": 128,
        "vocabulary": 3,
        "tokenizer": "gpt2",
        "chat_template": True,
        "needs_config": False,
        "shards": 1,
    }


def test_heads_of_each_layer_and_explicit_lengths(gguf: Any) -> None:
    summary = parse(
        gguf.build(
            {
                "general.architecture": "x",
                "x.block_count": 3,
                "x.attention.head_count": 8,
                "x.attention.key_length": 16,
                "x.attention.value_length": 32,
                "x.attention.head_count_kv": [2, 0, 4],
            }
        )
    )
    assert summary["kv_bytes_per_token"] == 6 * 48 * 2
    assert summary["quantization"] == "F32"
