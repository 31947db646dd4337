# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds a model's chat template, and lets the engine take a prompt as it is.

The wheel streams chats only; its completions can't be streamed and so can't be stopped when the client goes
away. A chat whose template hands the message through unchanged is a completion, so each model's template
gets a branch for that in front. What the template itself says is not altered.
"""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import IO, Any

from mistralrs_evaluation import StartError
from mistralrs_evaluation.config import ModelConfiguration

#: The role of a message that is a prompt to be continued; clients can't use it.
RAW_ROLE = "mistralrs-evaluation-prompt"

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_BLANKS_BEFORE_BLOCK = re.compile(r"\A[ \t]+(?=\{[%#](?!\+))")
_MOST_TEMPLATE_BYTES = 4 * 1024 * 1024


def _number(stream: IO[bytes], form: str) -> Any:
    size = struct.calcsize("<" + form)
    data = stream.read(size)
    if len(data) != size:
        raise ValueError("the file ends inside its header")
    return struct.unpack("<" + form, data)[0]


def _skip(stream: IO[bytes], kind: int) -> None:
    if kind in _SCALARS:
        stream.seek(struct.calcsize("<" + _SCALARS[kind]), 1)
    elif kind == _STRING:
        stream.seek(_number(stream, "Q"), 1)
    elif kind == _ARRAY:
        inner, count = _number(stream, "I"), _number(stream, "Q")
        if inner in _SCALARS:
            stream.seek(count * struct.calcsize("<" + _SCALARS[inner]), 1)
        else:
            for _index in range(count):
                _skip(stream, inner)
    else:
        raise ValueError(f"value type {kind} is unknown")


def embedded(path: Path) -> str | None:
    """The chat template inside a GGUF file."""
    with path.open("rb") as stream:
        magic = stream.read(4)
        if magic != b"GGUF":
            raise StartError(f"{path}: invalid GGUF magic [{', '.join(f'{byte:x}' for byte in magic)}]")
        try:
            _number(stream, "I")
            _number(stream, "Q")
            for _index in range(_number(stream, "Q")):
                name = stream.read(min(_number(stream, "Q"), 65536))
                kind = _number(stream, "I")
                if name == b"tokenizer.chat_template" and kind == _STRING:
                    size = _number(stream, "Q")
                    if size > _MOST_TEMPLATE_BYTES:
                        raise ValueError("its chat template is longer than 4 MiB")
                    return stream.read(size).decode("utf-8")
                _skip(stream, kind)
        except (ValueError, OverflowError) as error:
            raise StartError(f"{path}: not a readable GGUF file: {error}") from None
    return None


def _from_json(path: Path) -> str | None:
    document = json.loads(path.read_text(encoding="utf-8"))
    template = document.get("chat_template") if isinstance(document, dict) else None
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def find(model: ModelConfiguration) -> str | None:
    """The template of a model, in the engine's order: explicit, given, the tokenizer's, the GGUF's own."""
    try:
        if model.jinja_explicit:
            return Path(model.jinja_explicit).read_text(encoding="utf-8")
        if model.chat_template:
            path = Path(model.chat_template)
            return _from_json(path) if path.suffix == ".json" else path.read_text(encoding="utf-8")
        if model.tok_model_id:
            folder = Path(model.tok_model_id)
            if (folder / "chat_template.jinja").is_file():
                return (folder / "chat_template.jinja").read_text(encoding="utf-8")
            if (folder / "tokenizer_config.json").is_file():
                template = _from_json(folder / "tokenizer_config.json")
                if template is not None:
                    return template
        return embedded(Path(model.model_id) / model.files[0])
    except (OSError, ValueError) as error:
        raise StartError(f"The chat template of model '{model.model_id}' can't be read: {error}") from None


def with_raw_branch(template: str | None) -> str:
    """A template that also hands a raw prompt through.

    The empty expressions keep the engine from trimming white space at the seams. What it would trim at the ends of
    a template of its own is trimmed here: the last newline, and blanks in front of a block on the first line.
    """
    chat = ""
    if template is not None:
        chat = "{{ '' }}" + _BLANKS_BEFORE_BLOCK.sub("", template.removesuffix("\n")) + "{{ '' }}"
    raw = "{{ messages[0]['content'] }}"
    return "{% if messages and messages[0]['role'] == '" + RAW_ROLE + "' %}" + raw + "{% else %}" + chat + "{% endif %}"
