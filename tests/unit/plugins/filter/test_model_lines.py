"""What the modules return in, lines for people out."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.filter.model_lines import FilterModule

model_lines = FilterModule().filters()["model_lines"]
QWEN = {"name": "qwen3:4b", "quantization": "q4_k_m", "size": 2_500_000_000}


def test_which_quantizations_were_chosen() -> None:
    other = {"name": "gemma3:1b", "quantization": "q8_0", "size": 1}
    wanted = [{"name": "qwen3:4b", "quantization": "Auto"}, {"name": "gemma3:1b", "quantization": "q8_0"}]
    assert model_lines({"models": [QWEN, other]}, wanted=wanted) == ["qwen3:4b: q4_k_m (2.5 GB)"]


def test_what_a_store_holds() -> None:
    file = {"file": "qwen3-4b.gguf", "sha256": "ab", "source": "hf://a/b"}
    plain = {"name": "", "quantization": "", "size": 10, "file": "x.gguf", "sha256": "cd", "source": "file:///x"}
    store = {
        "models": [{**QWEN, **file, "present": True}, {**plain, "present": False}],
        "free": 3_000,
        "others": ["y.gguf"],
    }
    assert model_lines(store, path="/models") == [
        "/models: 3.0 kB free",
        "qwen3-4b.gguf: qwen3:4b q4_k_m, 2.5 GB, sha256 ab, hf://a/b",
        "x.gguf: , 10 Bytes, sha256 cd, file:///x",
        "x.gguf was altered or removed since it was verified",
        "y.gguf: not fetched by this store",
    ]
    assert model_lines({"models": [], "free": 0, "others": []}, path="/m") == ["/m: no models, 0 Bytes free"]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({}, "hf://a/b: q4_0, q8_0; licence mit, 7 downloads"),
        ({"fitting": ["q4_0"]}, "hf://a/b: q4_0, q8_0; of these fit here: q4_0; licence mit, 7 downloads"),
        ({"fitting": []}, "hf://a/b: q4_0, q8_0; of these fit here: none; licence mit, 7 downloads"),
        (
            {"quantizations": [], "gated": True, "license": ""},
            "hf://a/b: no GGUF; gated; licence unknown, 7 downloads",
        ),
    ],
)
def test_what_a_search_has_found(more: dict[str, Any], line: str) -> None:
    model = {"source": "hf://a/b", "quantizations": ["q4_0", "q8_0"], "gated": False, "license": "mit", "downloads": 7}
    assert model_lines({"models": [{**model, **more}]}, endpoint="https://hub") == [line]


def test_a_search_that_has_found_nothing() -> None:
    assert model_lines({"models": []}, endpoint="https://hub", query='a "b"') == [
        'Nothing in https://hub matches "a \\"b\\"": give fewer words, or leave out the quantization.'
    ]


def test_a_result_of_which_nothing_is_said_is_a_bug() -> None:
    with pytest.raises(AnsibleFilterError, match="give 'wanted', 'path' or 'endpoint'"):
        model_lines({"models": []})
