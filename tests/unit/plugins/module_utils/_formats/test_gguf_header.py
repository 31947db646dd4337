# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import struct
import time
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_header
from hypothesis import given, settings
from hypothesis import strategies as st


def parse(data: bytes) -> dict[str, object]:
    return gguf_header.summarize(gguf_header.parse_header(data, len(data), "model"), data, "model")


def error_of(data: bytes) -> StackError:
    with pytest.raises(StackError) as caught:
        parse(data)
    assert "\n" not in str(caught.value)
    return caught.value


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
    assert gguf_header.inspect(str(path), "model") == {
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


def test_versions(gguf: Any) -> None:
    assert parse(gguf.build(version=2))["version"] == 2
    assert error_of(gguf.build(version=1)).id == "model.gguf_version"
    assert error_of(gguf.build(version=4)).id == "model.gguf_version"
    assert error_of(gguf.build(version=3 << 24)).id == "model.gguf_big_endian"


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n <html><body>Log in", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
        (b'{"error": "no"}', "JSON text"),
        (b"tjgg\3\0\0\0", "old GGML format"),
        (b"\x80\x02\x8a\x0a", "bytes 80 02 8a 0a"),
    ],
)
def test_other_files_are_named(data: bytes, hint: str) -> None:
    error = error_of(data)
    assert error.id == "model.not_gguf"
    assert hint in str(error)


def test_truncated(gguf: Any) -> None:
    whole = gguf.sentencepiece()
    parse(whole)
    for length in range(4, len(whole) - 1, 97):
        assert error_of(whole[:length]).id == "model.gguf_truncated", length
    assert "'token_embd.weight' ends at byte" in str(error_of(whole[:-1]))


def huge_array(kind: int, count: int) -> bytes:
    return struct.pack("<IIQ", 9, kind, count)


@pytest.mark.parametrize(
    "make",
    [
        lambda gguf: gguf.build(tensor_count=1 << 60),
        lambda gguf: gguf.build(key_count=1 << 63),
        lambda gguf: gguf.build({"a": huge_array(8, 1 << 60)}),
        lambda gguf: gguf.build({"a": huge_array(9, 1 << 60)}),
        lambda gguf: gguf.build({"a": huge_array(4, 1 << 62)}),
        lambda gguf: gguf.build({"a": huge_array(8, 7_000_000)}),
        lambda gguf: gguf.build({"a": struct.pack("<I", 8) + struct.pack("<Q", 1 << 63)}),
        lambda gguf: gguf.build({"a": struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 100_000}),
        lambda gguf: gguf.build({"a": struct.pack("<I", 13)}),
        lambda gguf: gguf.build({"k" * 2000: 1}),
        lambda gguf: gguf.build({"general.alignment": 0}),
        lambda gguf: gguf.build({"general.alignment": "32"}),
        lambda gguf: gguf.build({}, {"a": ([1] * 9, 0, 4)}),
        lambda gguf: gguf.build({}, {"a": ([1 << 63] * 4, 0, 4)}),
    ],
)
def test_hostile_headers_cost_nothing(gguf: Any, make: Any) -> None:
    data = make(gguf)
    tracemalloc.start()
    start = time.monotonic()
    assert error_of(data).id in ("model.gguf_malformed", "model.gguf_truncated")
    assert time.monotonic() - start < 2
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_bytes_raise_anything_else(gguf: Any, data: st.DataObject) -> None:
    """Garbage, cuts and flipped bytes are refused by a fault or parsed."""
    whole = bytearray(gguf.build({"general.architecture": "llama", "a": ["x", "y"], "b": [1, 2], "c": 1.5}))
    kind = data.draw(st.sampled_from(["garbage", "cut", "flips"]))
    if kind == "garbage":
        whole = bytearray(b"GGUF\3\0\0\0" + data.draw(st.binary(max_size=400)))
    elif kind == "cut":
        del whole[data.draw(st.integers(0, len(whole))) :]
    else:
        for _flip in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(StackError):
        parse(bytes(whole))


@pytest.mark.parametrize("pieces", [10, 60_000])
def test_a_remote_file_is_summarized_by_its_first_bytes(gguf: Any, pieces: int) -> None:
    header = gguf.build({"general.architecture": "llama", "tokenizer.ggml.tokens": ["x" * 50] * pieces}, {})
    content = header + b"\0" * (8 << 20)
    asked: list[tuple[int, int]] = []

    def read_range(start: int, end: int) -> bytes:
        asked.append((start, end))
        return bytes(content[start:end])

    summary = gguf_header.inspect_remote(len(content), read_range, "m")
    assert (summary["architecture"], summary["vocabulary"]) == ("llama", pieces)
    assert asked[0][0] == 0
    assert all(before[1] == after[0] for before, after in zip(asked, asked[1:]))
    assert asked[-1][1] <= max(1 << 20, 2 * len(header))


def test_a_remote_file_that_is_none_is_refused_at_once() -> None:
    asked: list[int] = []

    def read_range(_start: int, end: int) -> bytes:
        asked.append(end)
        return b"<html>" + bytes(end - 6)

    with pytest.raises(StackError, match="not_gguf"):
        gguf_header.inspect_remote(1 << 30, read_range, "m")
    assert asked == [1 << 20]


def test_a_header_without_end_is_given_up() -> None:
    asked: list[int] = []

    def read_range(start: int, end: int) -> bytes:
        asked.append(end)
        # One key with an array of bytes that never ends.
        start_bytes = b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 0, 1 << 30)
        return (start_bytes if not start else b"").ljust(end - start, b"\0")

    tracemalloc.start()
    with pytest.raises(StackError, match="larger than 32 MiB"):
        gguf_header.inspect_remote(1 << 40, read_range, "m")
    assert tracemalloc.get_traced_memory()[1] < 48 << 20
    tracemalloc.stop()
    assert max(asked) == 32 << 20
