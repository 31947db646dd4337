"""Chat templates: where they come from, and the branch for raw prompts."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import jinja2
import pytest
from mistralrs_evaluation import StartError
from mistralrs_evaluation.config import ModelConfiguration
from mistralrs_evaluation.templates import RAW_ROLE, embedded, find, with_raw_branch


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(path: Path, template: str | None) -> None:
    entries = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("llama.rope.freq_base") + struct.pack("<If", 6, 1e6),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("▁b"),
        text("tokenizer.ggml.scores") + struct.pack("<IIQff", 9, 6, 2, 0.0, -1.0),
    ]
    if template is not None:
        entries.append(text("tokenizer.chat_template") + struct.pack("<I", 8) + text(template))
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries))


@pytest.mark.parametrize("template", [None, "{{ messages[0].content }} ▁"])
def test_embedded(tmp_path: Path, template: str | None) -> None:
    gguf(tmp_path / "x.gguf", template)
    assert embedded(tmp_path / "x.gguf") == template


@pytest.mark.parametrize("data", [b"", b"<html>", b"GGUF", b"GGUF" + struct.pack("<IQQ", 3, 0, 9) + b"\xff" * 40])
def test_not_a_gguf(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(StartError):
        embedded(tmp_path / "x.gguf")


def test_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m").mkdir()
    gguf(Path("m/m.gguf"), "embedded")
    Path("explicit.jinja").write_text("explicit")
    Path("given.json").write_text(json.dumps({"chat_template": "given"}))
    Path("m/tokenizer_config.json").write_text(json.dumps({"chat_template": [{"name": "default", "template": "tok"}]}))

    def model(**names: str) -> ModelConfiguration:
        return ModelConfiguration("m", ("m.gguf",), **names)

    assert find(model()) == "embedded"
    assert find(model(tok_model_id="m")) == "tok"
    assert find(model(tok_model_id="m", chat_template="given.json")) == "given"
    assert find(model(chat_template="given.json", jinja_explicit="explicit.jinja")) == "explicit"
    with pytest.raises(StartError, match="can't be read"):
        find(model(jinja_explicit="gone.jinja"))


ENVIRONMENT = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}",
        "\n  {{ messages[0].content }}  \n",
        "  {% if true %}x{% endif %}\n\n",
        "{%- set a = 1 -%}{{ a }}",
        "plain",
        "",
    ],
)
def test_the_branch_changes_no_chat_and_no_prompt(template: str) -> None:
    wrapped = ENVIRONMENT.from_string(with_raw_branch(template))
    messages = [{"role": "user", "content": " hello\n"}]
    assert wrapped.render(messages=messages) == ENVIRONMENT.from_string(template).render(messages=messages)
    # As the recording chat_messages_empty: no message is a request too.
    empty = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert ENVIRONMENT.from_string(with_raw_branch(empty)).render(messages=[]) == ""
    prompt = "  {{ not.a.template }}\n"
    assert wrapped.render(messages=[{"role": RAW_ROLE, "content": prompt}]) == prompt


def test_without_a_template_raw_prompts_work() -> None:
    wrapped = ENVIRONMENT.from_string(with_raw_branch(None))
    assert wrapped.render(messages=[{"role": RAW_ROLE, "content": "x"}]) == "x"
