"""The tokenizer_config.json for the engines that read one: with the special tokens, and one BOS before a chat."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_config import tokenizer_config
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_header import parse_header
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_tokenizer import read_vocabulary

TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"


def made(gguf: Any, add_bos: bool, template: str = "") -> dict[str, Any]:
    pieces, scores, types = zip(*gguf.pieces)
    data = gguf.build(
        {
            "general.architecture": "llama",
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": list(pieces),
            "tokenizer.ggml.scores": list(scores),
            "tokenizer.ggml.token_type": list(types),
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.add_bos_token": add_bos,
            **({"tokenizer.chat_template": template} if template else {}),
        }
    )
    header = parse_header(data, len(data), "m")
    return tokenizer_config(header, data, read_vocabulary(header, data, "m"))


@pytest.mark.parametrize(
    ("add_bos", "template"),
    [
        (
            True,
            "{% set __text %}\n" + TEMPLATE + "{{ '' }}{% endset %}"
            "{{ __text[3:] if __text[:3] == bos_token else __text }}",
        ),
        (False, TEMPLATE),
    ],
)
def test_one_bos_before_a_chat(gguf: Any, add_bos: bool, template: str) -> None:
    """With both, a chat has one token more: seen with 0.8.1 (molecule/real_engine/tests/test_named_tokenizer.py)."""
    found = made(gguf, add_bos, TEMPLATE)
    assert found["chat_template"] == template
    # v0.9.0 compares it with what the template begins with.
    assert found["bos_token"] == "<s>"
    assert found["eos_token"] == "</s>"


def test_without_a_template_there_is_none(gguf: Any) -> None:
    assert "chat_template" not in made(gguf, True)
