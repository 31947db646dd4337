# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the JSON of a request to what the engine is asked for; pure.

Fields that would change the answer and can't be honoured are refused with a sentence; fields that don't change
it (C(user), C(metadata), C(stream_options) and whatever else the engine doesn't know) have no effect, as in
the real engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ROLES = ("system", "developer", "user", "assistant", "tool")
_MOST = 2**31 - 1
_EFFORTS = ("off", "none", "low", "medium", "high", "xhigh")


class RequestError(Exception):
    """A request that is not answered: HTTP status, a sentence, and how OpenAI's clients name the kind."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param

    def document(self) -> dict[str, Any]:
        """The body: C(message) as the engine has it, and C(error) as OpenAI's clients want it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"message": self.message, "error": error}


@dataclass(frozen=True)
class Generate:
    """What the engine is asked for."""

    model: str
    messages: tuple[Mapping[str, str], ...]
    prompt: str | None = None
    echo: bool = False
    stream: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a request's body."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(400, "The body of the request is not valid JSON.") from None
    if not isinstance(document, dict):
        raise RequestError(400, "The body of the request must be a JSON object.")
    return document


def _wrong(name: str, words: str) -> RequestError:
    return RequestError(422, f"'{name}' must be {words}.", param=name)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong(name, "a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _wrong(name, "valid Unicode text") from None
    return value


def _number(document: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise _wrong(name, f"a number from {least:g} to {most:g}")
    return float(value)


def _whole(document: Mapping[str, Any], name: str, least: int, most: int = _MOST) -> int | None:
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(name, f"a whole number of at least {least}" if most == _MOST else f"from {least} to {most}")
    return value


def _truth(document: Mapping[str, Any], name: str) -> bool | None:
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong(name, "true or false")
    return value


def _stop(document: Mapping[str, Any]) -> list[str] | None:
    value = document.get("stop")
    if value is None:
        return None
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list) or not all(isinstance(entry, str) and entry for entry in entries):
        raise _wrong("stop", "a string or a list of strings, none of them empty")
    return [_text(entry, "stop") for entry in entries] or None


def _bias(document: Mapping[str, Any]) -> dict[int, float] | None:
    value = document.get("logit_bias")
    if value is None:
        return None
    if not isinstance(value, dict) or not all(len(key) <= 10 and key.isascii() and key.isdigit() for key in value):
        raise _wrong("logit_bias", "an object from token numbers to numbers")
    return {int(key): float(_number(value, key, -100, 100) or 0) for key in value if int(key) <= _MOST} or None


def _grammar(document: Mapping[str, Any]) -> dict[str, str]:
    value = document.get("response_format")
    if value is None:
        return {}
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise _wrong("response_format", "an object with a type")
    if value["type"] == "text":
        return {}
    given = value.get("json_schema")
    if value["type"] != "json_schema" or not isinstance(given, dict) or not isinstance(given.get("schema"), dict):
        raise RequestError(
            422,
            "'response_format' must be of type text, or of type json_schema with a schema.",
            param="response_format",
        )
    return {"grammar_type": "json_schema", "grammar": json.dumps(given["schema"])}


def _refuse(document: Mapping[str, Any], names: Mapping[str, tuple[Any, ...]]) -> None:
    for name, harmless in names.items():
        if name in document and document[name] is not None and document[name] not in harmless:
            raise RequestError(
                422,
                f"The evaluation engine does not support '{name}' with this value; leave it out.",
                param=name,
                code="unsupported_parameter",
            )


_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "n_choices": (1,),
    "best_of": (1,),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "seed": (),
    "grammar": (),
    "suffix": ("",),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "web_search_options": (),
    "adapter": (),
    "session_id": (),
    "files": ([],),
    "audio": (),
    "modalities": (["text"],),
    "enable_code_execution": (False,),
    "enable_shell": (False,),
    "dry_multiplier": (0,),
}


def _sampling(document: Mapping[str, Any]) -> dict[str, Any]:
    top_k = _whole(document, "top_k", -1)
    # OpenAI renamed the field; clients send either.
    limit = _whole(document, "max_completion_tokens", 1)
    if limit is None:
        limit = _whole(document, "max_tokens", 1)
    values: dict[str, Any] = {
        "max_tokens": limit,
        "temperature": _number(document, "temperature", 0, 2),
        "top_p": _number(document, "top_p", 0, 1),
        "top_k": top_k if top_k is not None and top_k > 0 else None,
        "min_p": _number(document, "min_p", 0, 1),
        "presence_penalty": _number(document, "presence_penalty", -2, 2),
        "frequency_penalty": _number(document, "frequency_penalty", -2, 2),
        "repetition_penalty": _number(document, "repetition_penalty", 0.01, 100),
        "logit_bias": _bias(document),
        "stop_seqs": _stop(document),
        **_grammar(document),
    }
    return {name: value for name, value in values.items() if value is not None}


def _model_name(document: Mapping[str, Any]) -> str:
    if "model" not in document:
        raise RequestError(422, "The request has no 'model'.", param="model")
    return _text(document["model"], "model")


def _content(value: Any, name: str) -> str:
    if isinstance(value, str):
        return _text(value, name)
    if isinstance(value, list) and value:
        texts = []
        for index, part in enumerate(value):
            if not isinstance(part, dict) or part.get("type") not in ("text", "input_text"):
                raise RequestError(
                    422, f"'{name}[{index}]' must be a text part; this engine reads text only.", param=name
                )
            texts.append(_text(part.get("text"), f"{name}[{index}].text"))
        return "\n".join(texts)
    raise _wrong(name, "a string or a list of text parts")


def _messages(document: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    value = document.get("messages")
    if not isinstance(value, list) or not value:
        raise _wrong("messages", "a list with at least one message")
    messages = []
    for index, message in enumerate(value):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise _wrong(where, "an object with role and content")
        if message.get("role") not in _ROLES:
            raise _wrong(f"{where}.role", f"one of {', '.join(_ROLES)}")
        if message.get("tool_calls"):
            raise RequestError(422, f"'{where}.tool_calls': the evaluation engine does no tool calls.", param=where)
        messages.append({"role": message["role"], "content": _content(message.get("content"), f"{where}.content")})
    return tuple(messages)


def chat(document: Mapping[str, Any]) -> Generate:
    """A request to C(/v1/chat/completions)."""
    model = _model_name(document)
    messages = _messages(document)
    _refuse(document, _UNSUPPORTED)
    sampling = _sampling(document)
    thinking = _truth(document, "enable_thinking")
    if thinking is not None:
        sampling["enable_thinking"] = thinking
    effort = document.get("reasoning_effort")
    if effort is not None:
        if effort not in _EFFORTS:
            raise _wrong("reasoning_effort", f"one of {', '.join(_EFFORTS)}")
        sampling["reasoning_effort"] = effort
    return Generate(model, messages, stream=bool(_truth(document, "stream")), sampling=sampling)


def completion(document: Mapping[str, Any]) -> Generate:
    """A request to C(/v1/completions)."""
    model = _model_name(document)
    prompt = _text(document.get("prompt"), "prompt")
    if not prompt:
        raise _wrong("prompt", "a string that is not empty")
    _refuse(document, _UNSUPPORTED)
    return Generate(
        model,
        (),
        prompt=prompt,
        echo=bool(_truth(document, "echo")),
        stream=bool(_truth(document, "stream")),
        sampling=_sampling(document),
    )
