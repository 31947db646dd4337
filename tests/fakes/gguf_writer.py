# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small writer of GGUF files; tests have it as the fixture C(gguf)."""

from __future__ import annotations

import struct
from typing import Any


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def array(kind: int, code: str, values: list[Any]) -> bytes:
    if kind == 8:
        return struct.pack("<IQ", 8, len(values)) + b"".join(text(value) for value in values)
    return struct.pack(f"<IQ{len(values)}{code}", kind, len(values), *values)


def value(content: Any) -> bytes:
    """A typed value; lists become arrays of strings, of f32 (floats) or of i32."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, bool):
        return struct.pack("<I?", 7, content)
    if isinstance(content, int):
        return struct.pack("<II", 4, content)
    if isinstance(content, float):
        return struct.pack("<If", 6, content)
    if isinstance(content, str):
        return struct.pack("<I", 8) + text(content)
    if content and isinstance(content[0], str):
        return struct.pack("<I", 9) + array(8, "", content)
    if content and isinstance(content[0], float):
        return struct.pack("<I", 9) + array(6, "f", content)
    return struct.pack("<I", 9) + array(5, "i", content)


def build(
    metadata: dict[str, Any] | None = None,
    tensors: dict[str, tuple[list[int], int, int]] | None = None,
    version: int = 3,
    tensor_count: int | None = None,
    key_count: int | None = None,
    data: bytes | None = None,
) -> bytes:
    """The bytes of a GGUF; tensors are name: (dimensions, type id, bytes)."""
    metadata = {"general.architecture": "llama"} if metadata is None else metadata
    tensors = {"token_embd.weight": ([4, 2], 0, 32)} if tensors is None else tensors
    head = b"GGUF" + struct.pack(
        "<IQQ",
        version,
        len(tensors) if tensor_count is None else tensor_count,
        len(metadata) if key_count is None else key_count,
    )
    body = b"".join(text(key) + value(content) for key, content in metadata.items())
    offset = 0
    table = []
    for name, (dimensions, kind, size) in tensors.items():
        table.append(text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset))
        offset += -(-size // 32) * 32
    header = head + body + b"".join(table)
    padding = -len(header) % 32
    return header + b"\0" * padding + (b"\1" * offset if data is None else data)


def sentencepiece(
    pieces: list[tuple[str, float, int]] | None = None, architecture: str = "llama", count: int = 0, **settings: Any
) -> bytes:
    """The bytes of a GGUF, or of the first of C(count), with a SentencePiece vocabulary of (piece, score, type)."""
    vocabulary = PIECES if pieces is None else pieces
    metadata = {
        "general.architecture": architecture,
        "general.name": "Test",
        **({"split.count": count} if count else {}),
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [piece for piece, _score, _kind in vocabulary],
        "tokenizer.ggml.scores": [score for _piece, score, _kind in vocabulary],
        "tokenizer.ggml.token_type": [kind for _piece, _score, kind in vocabulary],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        **{f"tokenizer.ggml.{key}": content for key, content in settings.items()},
    }
    return build(metadata)


# "▁hello" is reached by ▁he + llo; the scores are the order of merges, as in every SentencePiece BPE vocabulary.
PIECES: list[tuple[str, float, int]] = [
    ("<unk>", 0.0, 2),
    ("<s>", 0.0, 3),
    ("</s>", 0.0, 3),
    *[(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)],
    ("he", 0.0, 1),
    ("lo", -1.0, 1),
    ("llo", -2.0, 1),
    ("▁he", -3.0, 1),
    ("▁hello", -4.0, 1),
    ("▁", -5.0, 1),
    ("e", -6.0, 1),
    ("l", -7.0, 1),
    ("o", -8.0, 1),
    ("h", -9.0, 1),
]


class Writer:
    """What the tests use."""

    build = staticmethod(build)
    sentencepiece = staticmethod(sentencepiece)
    value = staticmethod(value)
    text = staticmethod(text)
    pieces = PIECES
