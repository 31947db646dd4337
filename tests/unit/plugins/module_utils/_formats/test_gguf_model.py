# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_model


@pytest.mark.parametrize("pieces", [10, 60_000])
def test_a_remote_file_is_summarized_by_its_first_bytes(gguf: Any, pieces: int) -> None:
    header = gguf.build({"general.architecture": "llama", "tokenizer.ggml.tokens": ["x" * 50] * pieces}, {})
    content = header + b"\0" * (8 << 20)
    asked: list[tuple[int, int]] = []

    def read_range(start: int, end: int) -> bytes:
        asked.append((start, end))
        return bytes(content[start:end])

    summary = gguf_model.inspect_remote(len(content), read_range, "m")
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
        gguf_model.inspect_remote(1 << 30, read_range, "m")
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
        gguf_model.inspect_remote(1 << 40, read_range, "m")
    assert tracemalloc.get_traced_memory()[1] < 48 << 20
    tracemalloc.stop()
    assert max(asked) == 32 << 20
