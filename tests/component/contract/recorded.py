"""The recorded exchanges with real servers (tests/recordings/*/http), and the bytes of their requests."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings"
#: The id under which the recorded servers served their model.
RECORDED_MODEL = "smollm2-q4_1"

#: In the order in which they were recorded: from `models_unload` on, each depends on those before it.
ORDER = (
    "health", "root", "models", "model_by_id", "models_status", "models_status_unknown", "metrics", "system_info",
    "system_doctor", "not_found", "method_wrong", "options_cors", "head_root", "chat", "chat_again", "chat_default",
    "chat_no_model", "chat_unknown_model", "chat_stream", "chat_stream_usage", "chat_stream_unknown_model",
    "chat_system", "chat_content_parts", "chat_image", "chat_stop", "chat_stop_list_many", "chat_seed", "chat_n2",
    "chat_n0", "chat_logprobs", "chat_logprobs_21", "chat_logit_bias", "chat_penalties", "chat_top_k_min_p",
    "chat_max_completion_tokens", "chat_max_tokens_0", "chat_max_tokens_negative", "chat_max_tokens_text",
    "chat_temperature_3", "chat_temperature_negative", "chat_top_p_2", "chat_unknown_field",
    "chat_user_metadata_store", "chat_messages_empty", "chat_messages_text", "chat_role_unknown",
    "chat_role_developer", "chat_content_null", "chat_context_overflow", "chat_context_overflow_stream",
    "chat_tools_auto", "chat_tools_required", "chat_tools_named", "chat_tools_named_stream", "chat_tools_none",
    "chat_tool_result", "chat_tools_bad_schema", "chat_tool_type_other", "chat_json_schema",
    "chat_json_schema_stream", "chat_json_object", "chat_json_schema_bad", "chat_grammar_regex", "chat_web_search",
    "chat_enable_thinking", "chat_reasoning_effort", "chat_bad_json", "chat_no_content_type", "chat_form",
    "chat_empty_body", "chat_not_utf8", "chat_deep_json", "chat_gzip", "chat_body_51mb", "completions",
    "completions_stream", "completions_stream_usage", "completions_echo_suffix", "completions_list",
    "completions_tokens", "completions_logprobs", "completions_best_of", "completions_unknown_model", "responses",
    "responses_stream", "responses_get_unknown", "responses_delete_unknown", "messages", "messages_stream",
    "messages_system_parts_tools", "messages_no_max_tokens", "messages_unknown_model", "count_tokens", "embeddings",
    "images", "speech", "rerank", "tokenize", "re_isq", "files", "skills", "sessions", "agent_approvals",
    "models_unload_unknown", "models_unload", "models_after_unload", "models_status_after_unload", "models_reload",
    "chat_after_reload", "models_unload_again", "chat_while_unloaded", "metrics_at_end",
)  # fmt: skip

#: What unloads the model, and what was asked after that. 0.8.1 does not find its model again.
AFTER_UNLOAD = frozenset(ORDER[ORDER.index("models_unload") :])

#: Requests that make a real server call other machines (the Hugging Face Hub).
NETWORK = frozenset({"system_doctor"})


def _long_prompt(stream: bool) -> bytes:
    body: dict[str, Any] = {
        "model": RECORDED_MODEL,
        "messages": [{"role": "user", "content": "word " * 40000}],
        "max_tokens": 24,
        "temperature": 0,
    }
    return json.dumps({**body, "stream": True} if stream else body).encode()


#: Bodies of which a recording holds the length and the beginning only.
_LARGE = {
    "chat_context_overflow": lambda: _long_prompt(stream=False),
    "chat_context_overflow_stream": lambda: _long_prompt(stream=True),
    "chat_deep_json": lambda: b'{"model":"x","messages":' + b"[" * 20000 + b"]" * 20000 + b"}",
    "chat_body_51mb": lambda: b'{"model":"' + b"x" * 51 * 1024 * 1024 + b'"}',
}


@dataclass(frozen=True)
class Response:
    """What a server said; `events` are the pieces in which a stream arrived."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str = ""
    events: tuple[str, ...] | None = None
    end: str = "closed by the server"

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


@dataclass(frozen=True)
class Exchange:
    """A recorded request and its answer."""

    name: str
    why: str
    method: str
    path: str
    headers: Mapping[str, str]
    response: Response
    _body: Any = field(repr=False)

    def target(self, model: str) -> str:
        """The request's path with another model's id."""
        quoted = urllib.parse.quote(RECORDED_MODEL, safe="")
        return self.path.replace(quoted, urllib.parse.quote(model, safe=""))

    def body(self, model: str) -> bytes | None:
        """The request's bytes as they were sent, with another model's id. None: the request had no body."""
        body = self._body
        if body is None:
            return None
        if isinstance(body, dict) and set(body) == {"latin1"}:
            return str(body["latin1"]).encode("latin-1")
        if isinstance(body, dict) and set(body) == {"bytes", "starts"}:
            raw = _LARGE[self.name]()
            if len(raw) != body["bytes"] or not raw.startswith(body["starts"].encode()):
                raise ValueError(f"{self.name}: the made body is not the recorded one")
        else:
            raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        return raw.replace(json.dumps(RECORDED_MODEL).encode(), json.dumps(model).encode())


def text(body: Any) -> str:
    """A recorded body; what was not UTF-8 was kept as Latin 1."""
    return str(body["latin1"]) if isinstance(body, dict) else str(body)


def versions() -> list[str]:
    """The recorded servers, by the names of their folders."""
    return sorted(folder.parent.name for folder in RECORDINGS.glob("*/http"))


def load(version: str, folder: Path = RECORDINGS) -> dict[str, Exchange]:
    """All exchanges with one server, in the order in which they took place."""
    exchanges = {}
    for name in ORDER:
        document = json.loads((folder / version / "http" / f"{name}.json").read_text(encoding="utf-8"))
        request, response = document["request"], document["response"]
        events = response.get("events")
        exchanges[name] = Exchange(
            name=name,
            why=document["why"],
            method=request["method"],
            path=request["path"],
            headers=request["headers"],
            response=Response(
                status=response["status"],
                headers=tuple((key, value) for key, value in response["headers"]),
                body="" if events is not None else text(response.get("body", "")),
                events=None if events is None else tuple(text(piece) for _seconds, piece in events),
                end=document["end"],
            ),
            _body=request.get("body"),
        )
    return exchanges
