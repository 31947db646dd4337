# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import aliases, model_id, store_file_name


@pytest.mark.parametrize(
    ("name", "quantization", "file"),
    [
        ("qwen2.5-coder:32b", "Q5_K_M", "qwen2.5-coder-32b-q5_k_m.gguf"),
        ("x.gguf", None, "x.gguf"),
        ("X-Large.GGUF", None, "X-Large.gguf"),
        ("x.gguf", "q4_0", "x.gguf"),
        ("mistral", None, "mistral.gguf"),
        ("mistral", "", "mistral.gguf"),
        ("mistral-7b-instruct-q4_k_m", "Q4_K_M", "mistral-7b-instruct-q4_k_m.gguf"),
        ("qwen3:30b-a3b", "UD-Q4_K_XL", "qwen3-30b-a3b-ud-q4_k_xl.gguf"),
        ("a" * 195, None, "a" * 195 + ".gguf"),
        ("v1.5_x+y@z", None, "v1.5_x+y@z.gguf"),
    ],
)
def test_store_file_name(name: str, quantization: str | None, file: str) -> None:
    assert store_file_name(name, quantization) == file


@pytest.mark.parametrize(
    ("name", "quantization", "error"),
    [
        ("", None, "model.unsafe_name"),
        ("../etc/passwd", None, "model.unsafe_name"),
        ("a..b", None, "model.unsafe_name"),
        ("/etc/passwd", None, "model.unsafe_name"),
        ("org/repo", None, "model.unsafe_name"),
        ("a\\b", None, "model.unsafe_name"),
        ("a\0b", None, "model.unsafe_name"),
        ("a\n", None, "model.unsafe_name"),
        (".hidden", None, "model.unsafe_name"),
        ("-rf", None, "model.unsafe_name"),
        ("a b", None, "model.unsafe_name"),
        ("a;b", None, "model.unsafe_name"),
        ("%2e%2e", None, "model.unsafe_name"),
        ("modèle", None, "model.unsafe_name"),
        ("a" * 201, None, "model.unsafe_name"),
        ("a" * 196, None, "model.unsafe_name"),
        ("a" * 190, "q" * 20, "model.unsafe_name"),
        ("mistral", "../q", "model.unsafe_name"),
        ("mistral", "q 4", "model.unsafe_name"),
        ("default", None, "model.reserved_name"),
        ("Default.gguf", None, "model.reserved_name"),
        # What the store makes for the model x, or would not tell from its parts.
        ("x.jinja", None, "model.unsafe_name"),
        ("x.Tokenizer.json", "", "model.unsafe_name"),
        ("x.tokenizer_config", "json.config.json", "model.unsafe_name"),
        ("x.gguf.gguf", None, "model.unsafe_name"),
        ("x.gguf.part", None, "model.unsafe_name"),
    ],
)
def test_unsafe_names_are_refused(name: str, quantization: str | None, error: str) -> None:
    with pytest.raises(StackError) as caught:
        store_file_name(name, quantization)
    assert caught.value.id == error
    assert "\n" not in str(caught.value)


def test_model_id() -> None:
    assert model_id("qwen2.5-coder-32b-q5_k_m.gguf") == "qwen2.5-coder-32b-q5_k_m"
    assert model_id("x") == "x"


@pytest.mark.parametrize(
    ("name", "quantization", "expected"),
    [
        (
            "qwen2.5-coder:32b",
            "q5_k_m",
            [
                "qwen2.5-coder-32b-q5_k_m",
                "qwen2.5-coder-32b-q5_k_m.gguf",
                "qwen2.5-coder:32b",
                "qwen2.5-coder:32b-q5_k_m",
            ],
        ),
        ("x.gguf", None, ["x", "x.gguf"]),
        ("x.gguf", "q4_0", ["x", "x.gguf"]),
        ("x-q4_0", "Q4_0", ["x-q4_0", "x-q4_0.gguf"]),
        ("mistral", None, ["mistral", "mistral.gguf"]),
    ],
)
def test_aliases(name: str, quantization: str | None, expected: list[str]) -> None:
    assert aliases(name, quantization, store_file_name(name, quantization)) == expected
