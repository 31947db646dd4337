"""The differences between each imitation and the recorded server that are wanted, each with its reason.

An entry that no longer shows fails the contract test, as does a difference that is not listed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


def matches(pattern: str, text: str) -> bool:
    """`*` stands for any text; nothing else is special (places have brackets in their names)."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text, re.DOTALL) is not None


@dataclass(frozen=True)
class Wanted:
    """A wanted difference: patterns of the requests that show it, and of the lines of compare.py that it covers."""

    requests: tuple[str, ...]
    what: tuple[str, ...]
    reason: str
    #: It may show or not: it depends on a model's words.
    sometimes: bool = False

    def concerns(self, request: str) -> bool:
        return any(matches(pattern, request) for pattern in self.requests)

    def covers(self, line: str) -> bool:
        return any(matches(pattern, line) for pattern in self.what)


_NO_SUCH_PATH = ("status: 404, is *",)
_LOGPROBS = ("body choices[].logprobs*",)

_FAKE = (
    Wanted(
        (
            "models_status", "models_status_unknown", "models_unload*", "models_status_after_unload", "models_reload",
            "system_*", "re_isq", "files", "skills", "metrics*", "embeddings", "images", "speech", "responses",
            "responses_stream", "messages*", "count_tokens",
        ),
        _NO_SUCH_PATH,
        "The gateway lets nobody ask for this path, so the fake does not know it.",
    ),
    Wanted(
        ("responses_get_unknown", "responses_delete_unknown"),
        ("header *: missing*", "body*"),
        "The gateway lets nobody ask for this path, so the fake does not know it.",
    ),
    Wanted(("models_after_unload",), ("body data[].status: *",), "The fake unloads no model."),
    Wanted(
        ("chat_content_parts", "chat_image", "chat_content_null"),
        ("status: 200, is 500",),
        "The fake has no chat template: it tells what reached it.",
    ),
    Wanted(("chat_n2",), ("status: 200, is 500",), "The recorded error is a defect of the engine on a CPU."),
    Wanted(
        ("chat_logprobs*", "completions_logprobs"),
        _LOGPROBS,
        "The fake has no probabilities: it tells what reached it.",
    ),
    Wanted(
        ("chat_context_overflow", "chat_tools_required", "chat_tools_named", "chat_tools_bad_schema",
         "chat_tool_type_other", "chat_json_schema_bad"),
        ("status: 200, is *",),
        "The fake checks only the fields that the gateway's tests send wrongly; `recorded:` gets any other error.",
    ),
    Wanted(
        ("chat_context_overflow_stream", "chat_tools_named_stream"),
        ("event *",),
        "The fake checks only the fields that the gateway's tests send wrongly; `recorded:` gets any other error.",
    ),
    Wanted(("chat_web_search",), ("body session_id: missing*",), "The fake keeps no sessions."),
)  # fmt: skip

WANTED: dict[str, tuple[Wanted, ...]] = {
    "real": (),
    "evaluation": (),
    "fake": _FAKE,
}
