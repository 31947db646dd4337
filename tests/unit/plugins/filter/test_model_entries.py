# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.filter.model_entries import FilterModule

model_entries = FilterModule().filters()["model_entries"]
GOOD = {"name": "qwen2.5-coder:32b", "quantization": "Q5_K_M", "source": "https://h/x.gguf", "sha256": "A" * 64}


def ids(models: Any, directory: str = ".") -> list[str]:
    errors = model_entries(models, directory)["errors"]
    assert all("\n" not in error for error in errors)
    return [error.rpartition("[")[2].rstrip("]") for error in errors]


def test_entries() -> None:
    result = model_entries([GOOD, {"name": "x.gguf", "source": "file:///srv/x.gguf", "sha256": None}])
    assert result["errors"] == []
    assert result["entries"][0] == {
        "name": "qwen2.5-coder:32b",
        "quantization": "Q5_K_M",
        "source": "https://h/x.gguf",
        "revision": "",
        "sha256": "a" * 64,
        "chat_template": "",
        "file": "qwen2.5-coder-32b-q5_k_m.gguf",
        "id": "qwen2.5-coder-32b-q5_k_m",
        "aliases": [
            "qwen2.5-coder-32b-q5_k_m",
            "qwen2.5-coder-32b-q5_k_m.gguf",
            "qwen2.5-coder:32b",
            "qwen2.5-coder:32b-q5_k_m",
        ],
    }
    assert result["entries"][1]["file"] == "x.gguf"


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([], ["model.none_configured"]),
        (None, ["model.none_configured"]),
        ("x", ["model.none_configured"]),
        ({"name": "x"}, ["model.none_configured"]),
        (["x"], ["model.wrong_type"]),
        ([{}], ["model.wrong_type"]),
        ([{**GOOD, "name": 7}], ["model.wrong_type"]),
        ([{**GOOD, "checksum": "x"}], ["model.wrong_type"]),
        ([{**GOOD, "sha256": 12}], ["model.wrong_type"]),
        ([{**GOOD, "name": "../x"}], ["model.unsafe_name"]),
        ([{**GOOD, "sha256": "12"}], ["model.invalid_sha256"]),
        ([{"name": "qwen2.5-coder:33b"}], ["model.not_in_catalog"]),
        ([{**GOOD, "source": "s3://a/b"}], ["model.source_unsupported"]),
        ([{**GOOD, "revision": "main"}], ["model.revision_unsupported"]),
        ([GOOD, {**GOOD, "name": "qwen2.5-coder-32b"}], ["model.duplicate"]),
        ([GOOD, {**GOOD, "name": "QWEN2.5-coder:32b"}], ["model.duplicate"]),
        ([GOOD, GOOD, {"name": ".x"}], ["model.duplicate", "model.unsafe_name"]),
    ],
)
def test_all_that_is_wrong_is_said(models: Any, expected: list[str]) -> None:
    assert ids(models) == expected


def test_a_name_of_the_catalog_is_enough() -> None:
    result = model_entries([{"name": "qwen2.5-coder:32b", "quantization": "q5_k_m"}, {"name": "mistral:latest"}])
    assert result["errors"] == []
    assert [(entry["source"], entry["file"]) for entry in result["entries"]] == [
        ("hf://Qwen/Qwen2.5-Coder-32B-Instruct-GGUF", "qwen2.5-coder-32b-q5_k_m.gguf"),
        ("hf://bartowski/Mistral-7B-Instruct-v0.3-GGUF", "mistral-latest-q4_k_m.gguf"),
    ]
    assert "aliases" not in result["models"][0]


def test_the_inventory_extends_the_catalog() -> None:
    extra = [{"name": "ours:7b", "also": ["mistral"], "repository": "us/ours", "default": "q8_0"}]
    result = model_entries([{"name": "ours:7b"}, {"name": "mistral"}], ".", extra)
    assert [model["source"] for model in result["models"]] == ["hf://us/ours"] * 2
    assert result["models"][0]["quantization"] == "q8_0"


@pytest.mark.parametrize(
    "extra",
    [["x"], [{"name": "y"}], [{"name": "y", "repository": "z"}], "x", [{**GOOD, "repository": "a/b", "also": 1}]],
)
def test_what_is_wrong_with_the_extension_is_said(extra: Any) -> None:
    result = model_entries([{"name": "mistral"}], ".", extra)
    assert "[model.catalog_invalid]" in result["errors"][0]


def test_names_like_the_one_that_is_not_known_are_said() -> None:
    assert "qwen2.5-coder:32b" in model_entries([{"name": "qwen2.5-coder:33b"}])["errors"][0]


def test_what_is_stored_needs_no_source() -> None:
    """Neither one of its own nor one of the catalog, whose quantization would be part of the name."""
    models = [{"name": "nobody-knows:1b", "quantization": "q4_0"}, {"name": "mistral"}]
    result = model_entries(models, stored=True)
    assert result["errors"] == []
    assert [(entry["id"], entry["source"]) for entry in result["entries"]] == [
        ("nobody-knows-1b-q4_0", ""),
        ("mistral", ""),
    ]
    assert "[model.unsafe_name]" in model_entries([{"name": "../x"}], stored=True)["errors"][0]
    assert "[model.source_unsupported]" in model_entries([{"name": "x", "source": "y"}], stored=True)["errors"][0]


def test_chat_templates(tmp_path: Path) -> None:
    (tmp_path / "good.jinja").write_text("{{ messages }}")
    (tmp_path / "empty.jinja").write_text("")
    (tmp_path / "binary.jinja").write_bytes(b"\xff\xfe")
    (tmp_path / "prose.jinja").write_text("hello")
    result = model_entries([{**GOOD, "chat_template": "good.jinja"}], str(tmp_path))
    assert result["entries"][0]["chat_template"] == "{{ messages }}"
    assert ids([{**GOOD, "chat_template": str(tmp_path / "good.jinja")}]) == []
    assert ids([{**GOOD, "chat_template": "missing.jinja"}], str(tmp_path)) == ["model.chat_template_missing"]
    assert ids([{**GOOD, "chat_template": "binary.jinja"}], str(tmp_path)) == ["model.chat_template_missing"]
    assert ids([{**GOOD, "chat_template": "empty.jinja"}], str(tmp_path)) == ["model.chat_template_invalid"]
    assert ids([{**GOOD, "chat_template": "prose.jinja"}], str(tmp_path)) == ["model.chat_template_invalid"]
