# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import safetensors_header
from hypothesis import given, settings
from hypothesis import strategies as st

GOOD = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
    "b": {"dtype": "F32", "shape": [4], "data_offsets": [12, 28]},
}


def build(header: Any, data: int = 28) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


def read(content: bytes) -> safetensors_header.Header:
    return safetensors_header.read_header(len(content), lambda start, end: content[start:end], "m")


def test_header() -> None:
    assert read(build(GOOD)) == safetensors_header.Header(10, frozenset("ab"), {"BF16": 12, "F32": 16})
    assert read(build(b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}   ', 1)).parameters == 1
    assert read(build({}, 0)).names == frozenset()


def entry(**changes: Any) -> dict[str, Any]:
    return {"a": {**GOOD["a"], **changes}}


@pytest.mark.parametrize(
    ("content", "error", "hint"),
    [
        (b"", "not_safetensors", "empty"),
        (b"<!DOCTYPE html><html>", "not_safetensors", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "not_safetensors", "LFS pointer"),
        (b'{"error": "not found"}', "not_safetensors", "JSON text"),
        (b"PK\3\4" + bytes(60), "not_safetensors", "bytes 50 4b"),
        ((100_000_001).to_bytes(8, "little") + b"{" + bytes(600), "safetensors_malformed", "100000001"),
        ((5000).to_bytes(8, "little") + b"{" + bytes(600), "safetensors_truncated", "5008 or more"),
        (build(GOOD, 27), "safetensors_truncated", "header says"),
        (build(GOOD, 29), "safetensors_truncated", "header says"),
        (build(entry(data_offsets=[4, 16]), 16), "safetensors_malformed", "hole at byte 4"),
        (build({**GOOD, "c": GOOD["a"]}), "safetensors_malformed", "overlap at byte 0"),
        (build(entry(shape=[2, 4]), 12), "safetensors_malformed", "does not fit its shape"),
        (build(entry(shape=[-2, -3]), 12), "safetensors_malformed", "where a size belongs"),
        (build(entry(shape=[True]), 12), "safetensors_malformed", "where a size belongs"),
        (build(entry(data_offsets=[12, 0]), 12), "safetensors_malformed", "does not fit"),
        (build(entry(data_offsets=None), 12), "safetensors_malformed", "no shape or place"),
        (build({"a": 1}, 0), "safetensors_malformed", "not described"),
        (build(b'{"a":1,"a":1}', 0), "safetensors_malformed", "twice"),
        (build(b"{" + b'"a":' * 3, 0), "safetensors_malformed", "not JSON"),
        (build(b'{"a":' + b"9" * 100_000 + b"}", 0), "safetensors_malformed", "too long"),
        (build(b'{"a":' + b"[" * 100_000, 0), "safetensors_malformed", "nested"),
        (build(b'{"a":[' + b"[]," * 1_000_000, 0), "safetensors_malformed", "more values"),
        (build(b'{"\xff":1}', 0), "safetensors_malformed", "not JSON"),
    ],
)
def test_bad_files(content: bytes, error: str, hint: str) -> None:
    with pytest.raises(StackError, match=error) as caught:
        read(content)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_largest_header_is_read_in_bounds() -> None:
    count = 60_000
    tensors = {
        f"model.layers.{index}.weight": {
            "dtype": "F8_E4M3",
            "shape": [2, 2],
            "data_offsets": [4 * index, 4 * index + 4],
        }
        for index in range(count)
    }
    content = build(tensors, 4 * count)
    del tensors
    tracemalloc.start()
    # Of its own: other tests use the processor as well.
    started = time.process_time()
    assert len(read(content).names) == count
    assert time.process_time() - started < 10
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 500))
def test_no_bytes_make_it_fail_otherwise(content: bytes, size: int) -> None:
    for candidate in (content, build(b"{" + content, size), build(json.dumps({"a": content.hex()}).encode(), size)):
        with suppress(StackError):
            read(candidate)


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., dict[str, str]]:
    def make(**files: Any) -> dict[str, str]:
        paths = {}
        for name, content in files.items():
            file = name.replace("__", "-").replace("_json", ".json").replace("_st", ".safetensors")
            (tmp_path / file).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
            paths[file] = str(tmp_path / file)
        return paths

    return make


CONFIG = {
    "model_type": "qwen2",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "vocab_size": 100,
}


def test_a_repository_is_summarized(repository: Callable[..., dict[str, str]]) -> None:
    paths = repository(model_st=build(GOOD), config_json=CONFIG, tokenizer__config_json={"chat_template": "x"})
    paths["tokenizer_config.json"] = paths.pop("tokenizer-config.json")
    summary = safetensors_header.inspect_set(paths, "m")
    # 2 layers x 2 heads x 8 elements x 2 (keys, values) x 2 bytes
    assert summary["kv_bytes_per_token"] == 128
    assert {key: summary[key] for key in ("architecture", "parameters", "tensors", "context_length", "shards")} == {
        "architecture": "qwen2",
        "parameters": 10,
        "tensors": 2,
        "context_length": 4096,
        "shards": 1,
    }
    assert (summary["quantization"], summary["chat_template"]) == ("F32", True)


def test_a_model_that_sees_describes_its_text_part_apart(repository: Callable[..., dict[str, str]]) -> None:
    paths = repository(model_st=build(GOOD), config_json={"model_type": "gemma3", "text_config": CONFIG})
    summary = safetensors_header.inspect_set(paths, "m")
    assert (summary["architecture"], summary["block_count"]) == ("gemma3", 2)


def test_shards_are_complete(repository: Callable[..., dict[str, str]]) -> None:
    shards = {f"model__0000{number}__of__00002_st": build(GOOD) for number in (1, 2)}
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    paths = repository(**shards, consolidated_st=build(GOOD), config_json=CONFIG, model_st_index_json=index)
    paths["model.safetensors.index.json"] = paths.pop("model.safetensors-index.json", "") or paths.pop(
        "model.safetensors_index.json"
    )
    # What the index does not name is the same model once more.
    assert safetensors_header.inspect_set(paths, "m")["parameters"] == 20
    last = paths.pop("model-00002-of-00002.safetensors")
    with pytest.raises(StackError, match="lacks files: model-00002-of-00002.safetensors"):
        safetensors_header.inspect_set(paths, "m")
    del paths["model.safetensors.index.json"]
    with pytest.raises(StackError, match="safetensors_incomplete"):
        safetensors_header.inspect_set(paths, "m")
    paths["model-00002-of-00002.safetensors"] = last
    assert safetensors_header.inspect_set(paths, "m")["shards"] == 3


def test_without_tensors_it_is_no_model(repository: Callable[..., dict[str, str]]) -> None:
    with pytest.raises(StackError, match="any with tensors"):
        safetensors_header.inspect_set(repository(config_json=CONFIG), "m")
    with pytest.raises(StackError, match=r"file config.json is damaged"):
        safetensors_header.inspect_set(repository(model_st=build(GOOD), config_json=b"{{"), "m")
