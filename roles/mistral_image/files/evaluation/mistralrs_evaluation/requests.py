# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the JSON of a request to what the engine is asked for; pure.

What the engine's server accepts is accepted here: values out of range go to the engine as they are, and fields that
it doesn't know (C(seed) among them) have no effect. Refused is only what the wheel can't do.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mistralrs_evaluation import fields
from mistralrs_evaluation.fields import RequestError, mismatch, no_variant, optional
from mistralrs_evaluation.templates import RAW_ROLE


@dataclass(frozen=True)
class Generate:
    """What the engine is asked for."""

    model: str
    messages: tuple[Mapping[str, str], ...]
    prompt: str | None = None
    echo: bool = False
    suffix: str = ""
    stream: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)
    #: The engine keeps a session for a chat that may search the web, and says which. No search is done here.
    session_id: str | None = None
    #: The client wants a tool to be called, whatever the model would rather do.
    must_call: bool = False


def _response_format(value: Any) -> dict[str, str]:
    place = "response_format"
    if not isinstance(value, dict):
        raise mismatch(f"{place}: invalid type: {fields.given(value)}, expected internally tagged enum ResponseFormat")
    if "type" not in value:
        raise mismatch(f"{place}: missing field `type`")
    kind = fields.string(value["type"], f"{place}.type")
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"grammar_type": "json_schema", "grammar": json.dumps({"type": "object"})}
    if kind != "json_schema":
        raise mismatch(
            f"{place}.type: unknown variant `{kind[:100]}`, expected one of `text`, `json_object`, `json_schema`"
        )
    given = value.get("json_schema")
    for name in ("name", "schema"):
        if not isinstance(given, dict) or name not in given:
            raise mismatch(f"{place}: missing field `{name if isinstance(given, dict) else 'json_schema'}`")
    return {"grammar_type": "json_schema", "grammar": json.dumps(value["json_schema"]["schema"])}


_GRAMMARS = ("regex", "json_schema", "llguidance", "lark")


def _grammar(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise mismatch(f"grammar: invalid type: {fields.given(value)}, expected adjacently tagged enum Grammar")
    for name in ("type", "value"):
        if name not in value:
            raise mismatch(f"grammar: missing field `{name}`")
    kind, text = fields.string(value["type"], "grammar.type"), value["value"]
    if kind not in _GRAMMARS:
        known = ", ".join(f"`{name}`" for name in _GRAMMARS)
        raise mismatch(f"grammar.type: unknown variant `{kind[:100]}`, expected one of {known}")
    if kind in ("regex", "lark"):
        return {"grammar_type": kind, "grammar": fields.string(text, "grammar.value")}
    return {"grammar_type": kind, "grammar": json.dumps(text)}


def _constraint(document: Mapping[str, Any]) -> dict[str, str]:
    grammar, form = document.get("grammar"), document.get("response_format")
    if grammar is not None and form is not None:
        raise RequestError(
            500, "Request `grammar` and `response_format` were both provided but are mutually exclusive."
        )
    if grammar is not None:
        return _grammar(grammar)
    return {} if form is None else _response_format(form)


def _tool_name(tool: Any, place: str, enum: str) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind in ("web_search", "web_search_preview"):
        raise RequestError(
            500,
            f'tools[].type="{kind}" is only supported by the Responses API; '
            "use web_search_options with Chat Completions",
        )
    function = tool.get("function") if isinstance(tool, dict) else None
    if kind != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise no_variant(place, enum)
    return str(function["name"])


def _tools(document: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """What the wheel is told of tools, and whether one must be called."""
    given = document.get("tools")
    if given is not None and not isinstance(given, list):
        raise mismatch(f"tools: invalid type: {fields.given(given)}, expected a sequence")
    tools = {_tool_name(tool, f"tools[{index}]", "OpenAiTool"): tool for index, tool in enumerate(given or [])}
    choice = document.get("tool_choice")
    wanted = None
    if isinstance(choice, dict):
        wanted = _tool_name(choice, "tool_choice", "ToolChoice")
        if wanted not in tools:
            raise RequestError(422, "Tool choice was required but no tools were called.")
        # The wheel can't be told which one: it knows of no other.
        tools = {wanted: tools[wanted]}
    elif choice not in (None, "none", "auto", "required"):
        raise no_variant("tool_choice", "ToolChoice")
    values: dict[str, Any] = {}
    if tools:
        values["tool_schemas"] = [json.dumps(tool) for tool in tools.values()]
        values["tool_choice"] = "none" if choice == "none" else "auto"
    return values, wanted is not None or choice == "required"


_PENALTIES = ("presence_penalty", "frequency_penalty", "repetition_penalty", "dry_multiplier", "dry_base")


def _sampling(document: Mapping[str, Any]) -> dict[str, Any]:
    if "max_tokens" in document and "max_completion_tokens" in document:
        raise mismatch("duplicate field `max_tokens`")
    most = "max_completion_tokens" if "max_completion_tokens" in document else "max_tokens"
    values: dict[str, Any] = {
        "max_tokens": optional(document, most, fields.usize),
        "n_choices": fields.defaulted(document, "n", fields.usize, None),
        "logit_bias": optional(document, "logit_bias", fields.bias),
        "stop_seqs": optional(document, "stop", fields.stop),
        "ignore_eos": fields.defaulted(document, "ignore_eos", fields.boolean, None),
        "top_k": optional(document, "top_k", fields.usize),
        "dry_allowed_length": optional(document, "dry_allowed_length", fields.usize),
        "dry_sequence_breakers": optional(document, "dry_sequence_breakers", fields.strings),
        "truncate_sequence": optional(document, "truncate_sequence", fields.boolean),
        **{name: optional(document, name, fields.f64) for name in ("temperature", "top_p", "min_p")},
        **{name: optional(document, name, fields.f32) for name in _PENALTIES},
        **_constraint(document),
    }
    if values["max_tokens"] == 0:
        raise RequestError(500, "max_tokens must be at least 1.")
    if values["n_choices"] == 0:
        raise RequestError(422, "Number of choices must be greater than 0.")
    return {name: value for name, value in values.items() if value is not None}


def _model_name(document: Mapping[str, Any]) -> str:
    name: str = fields.defaulted(document, "model", fields.string, "default")
    if document.get("adapter") is not None:
        raise RequestError(422, "The evaluation engine loads no adapters; leave out 'adapter'.")
    return name


def _content(message: Mapping[str, Any], place: str) -> str:
    value = message.get("content")
    if value is None:
        if not message.get("tool_calls"):
            raise RequestError(500, "No content was provided, expected tool calls to be provided.")
        return ""
    if isinstance(value, str):
        return fields.string(value, place)
    texts = []
    for index, part in enumerate(value):
        if part.get("type") not in ("text", "input_text"):
            raise RequestError(422, f"'{place}[{index}]' must be a text part; this engine reads text only.")
        texts.append(fields.string(part.get("text"), f"{place}[{index}].text"))
    return "\n".join(texts)


def _fits(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    content = message.get("content")
    if isinstance(content, list):
        return all(isinstance(part, dict) for part in content)
    return content is None or isinstance(content, str)


def _messages(document: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    value = fields.required(document, "messages")
    if isinstance(value, str):
        return ({"role": "user", "content": fields.string(value, "messages")},)
    if not isinstance(value, list) or not all(_fits(message) for message in value):
        raise no_variant("messages", "Either")
    messages = []
    for index, message in enumerate(value):
        role = fields.string(message["role"], f"messages[{index}].role")
        if role == RAW_ROLE:
            # Only the server itself may say that a message is a raw prompt.
            raise RequestError(422, f"'messages[{index}].role' is reserved.")
        messages.append({"role": role, "content": _content(message, f"messages[{index}].content")})
    return tuple(messages)


def chat(document: Mapping[str, Any]) -> Generate:
    """A request to C(/v1/chat/completions)."""
    messages = _messages(document)
    model = _model_name(document)
    sampling = _sampling(document)
    tools, must_call = _tools(document)
    sampling |= tools
    if fields.defaulted(document, "logprobs", fields.boolean, False):
        sampling["logprobs"] = True
    for name, kind in (
        ("top_logprobs", fields.usize),
        ("enable_thinking", fields.boolean),
        ("reasoning_effort", fields.string),
    ):
        value = optional(document, name, kind)
        if value is not None:
            sampling[name] = value
    session_id = optional(document, "session_id", fields.string)
    searches = document.get("web_search_options")
    if searches is not None and not isinstance(searches, dict):
        raise mismatch(f"web_search_options: invalid type: {fields.given(searches)}, expected struct WebSearchOptions")
    return Generate(
        model,
        messages,
        stream=bool(optional(document, "stream", fields.boolean)),
        sampling=sampling,
        session_id=None if searches is None else session_id or str(uuid.uuid4()),
        must_call=must_call,
    )


def completion(document: Mapping[str, Any]) -> Generate:
    """A request to C(/v1/completions)."""
    prompt = fields.string(fields.required(document, "prompt"), "prompt")
    model = _model_name(document)
    sampling = _sampling(document)
    tools, must_call = _tools(document)
    sampling |= tools
    logprobs = optional(document, "logprobs", fields.usize)
    if logprobs is not None:
        sampling |= {"logprobs": True, "top_logprobs": logprobs}
    optional(document, "best_of", fields.usize)
    if not prompt:
        raise RequestError(422, "Received an empty prompt.")
    return Generate(
        model,
        (),
        prompt=prompt,
        echo=fields.defaulted(document, "echo", fields.boolean, False),
        suffix=optional(document, "suffix", fields.string) or "",
        stream=bool(optional(document, "stream", fields.boolean)),
        sampling=sampling,
        must_call=must_call,
    )
