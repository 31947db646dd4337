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
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_header, gguf_summary
from hypothesis import given, settings
from hypothesis import strategies as st


def parse(data: bytes) -> dict[str, object]:
    return gguf_summary.summarize(gguf_header.parse_header(data, len(data), "model"), data, "model")


def error_of(data: bytes) -> StackError:
    with pytest.raises(StackError) as caught:
        parse(data)
    assert "\n" not in str(caught.value)
    return caught.value


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
