# A stand-in's content: models of several files, as repositories of hubs have them.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of models in several files: SafeTensors, and shards of a GGUF."""

from __future__ import annotations

import json
import os
from typing import Any

from tests.fakes.hub.place import make_model

TENSOR = {"dtype": "F32", "shape": [1024], "data_offsets": [0, 4096]}
CONFIG = {"model_type": "qwen2", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 8}


def tensors(name: str = "a") -> bytes:
    text = json.dumps({name: TENSOR}).encode()
    return len(text).to_bytes(8, "little") + text + os.urandom(4096)


def repository(count: int = 2) -> dict[str, bytes]:
    names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    index = {"weight_map": {f"tensor{number}": name for number, name in enumerate(names)}}
    return {
        **{name: tensors(f"tensor{number}") for number, name in enumerate(names)},
        "model.safetensors.index.json": json.dumps(index).encode(),
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": b'{"model": {}}',
        "tokenizer_config.json": b'{"chat_template": "{{ x }}"}',
        "README.md": b"not for the engine",
        "pytorch_model.bin": b"a pickle",
        ".gitattributes": b"",
    }


def shards(gguf: Any, count: int = 3) -> dict[str, bytes]:
    return {
        f"m-Q4_K_M-{number:05}-of-{count:05}.gguf": make_model(gguf, 65536, fill=number, **{"split.count": count})
        for number in range(1, count + 1)
    }
