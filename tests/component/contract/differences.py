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
    #: It may show or not, which depends on a model's words or on what was asked before.
    sometimes: bool = False
    #: It is the same in all answers, and so is said once and not for each.
    everywhere: bool = False

    def concerns(self, request: str) -> bool:
        return any(matches(pattern, request) for pattern in self.requests)

    def covers(self, line: str) -> bool:
        return any(matches(pattern, line) for pattern in self.what)


_LOGPROBS = ("body choices[].logprobs*",)


_UNLOADING = ("models_unload*", "models_reload")


def _paths(reason: str, *more: str) -> tuple[Wanted, ...]:
    """Paths that an imitation does not know."""
    unknown = (
        "system_*", "re_isq", "files", "skills", "embeddings", "images", "speech", "responses", "responses_stream",
        "messages*", "count_tokens", *more,
    )  # fmt: skip
    return (
        Wanted(unknown, ("status: 404, is *",), reason),
        # Their own 404 has a body.
        Wanted(("responses_get_unknown", "responses_delete_unknown"), ("header *: missing*", "body*"), reason),
    )


_FAKE = (
    *_paths(
        "The gateway blocks this path, so the fake does not know it.", "metrics*", "models_status*", *_UNLOADING,
    ),
    Wanted(("models_after_unload",), ("body data[].status: *",), "The fake unloads no model."),
    Wanted(
        ("chat_content_parts", "chat_image", "chat_content_null"),
        ("status: 200, is 500",),
        "The fake has no chat template: it repeats what reached it.",
    ),
    Wanted(("chat_n2",), ("status: 200, is 500",), "The recorded error is a defect of the engine on a CPU."),
    Wanted(
        ("chat_logprobs*", "completions_logprobs"),
        _LOGPROBS,
        "The fake has no probabilities: it repeats what reached it.",
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

_NOT_AGAIN = "The wheel unloads no model: it could not load it again."
_PARSER = "Python's JSON parser has other words, and does not know the field."

_EVALUATION = (
    Wanted(
        ("*",),
        ("header x-mistral-engine: added, evaluation", "*system_fingerprint: 'evaluation', is 'local'"),
        "Each answer says that an evaluation engine made it.",
        everywhere=True,
    ),
    *_paths("The gateway blocks this path, so the evaluation server does not offer it."),
    Wanted(_UNLOADING, ("status: 404, is *",), _NOT_AGAIN),
    Wanted(("models_after_unload",), ("body data[].status: *",), _NOT_AGAIN),
    Wanted(("models_status_after_unload",), ("body status: *",), _NOT_AGAIN),
    Wanted(
        ("metrics*",),
        (
            "body metric mistralrs_prefix_cache_lookups_total: missing*",
            "body labels of mistralrs_prefix_cache_lookups_total: missing*",
        ),
        "The wheel does not tell this.",
    ),
    Wanted(
        ("metrics*",),
        (
            "body metric mistralrs_sequences_capacity: added, gauge",
            "body labels of mistralrs_sequences_capacity: added, ",
            "body metric mistralrs_time_to_first_token_seconds: added, histogram",
            "body labels of mistralrs_time_to_first_token_seconds_*: added, le,method,model,path,status",
            "body labels of mistralrs_time_to_first_token_seconds_*: added, method,model,path,status",
            "body buckets of mistralrs_time_to_first_token_seconds_bucket: added, *",
            "body metric mistralrs_inter_token_latency_seconds: added, histogram",
            "body labels of mistralrs_inter_token_latency_seconds_*: added, le,method,model,path,status",
            "body labels of mistralrs_inter_token_latency_seconds_*: added, method,model,path,status",
            "body buckets of mistralrs_inter_token_latency_seconds_bucket: added, *",
            "body labels of mistralrs_sequences_completed_total: missing, is reason",
        ),
        "The engine shows a metric from its first value on; the recorded one had answered other requests before.",
        sometimes=True,
    ),
    Wanted(
        ("chat_content_parts",),
        ("status: 200, is 500",),
        "The parts of a text are joined, so that templates that add texts (SmolLM2's) take them too.",
    ),
    Wanted(("chat_image",), ("status: 422, is 500",), "The evaluation engine reads texts only, and says so."),
    Wanted(
        ("chat_n2",),
        ("status: 200, is 500",),
        "The recorded error is a defect of the engine on a CPU, which the dtype that the plan sets avoids.",
        sometimes=True,
    ),
    Wanted(("chat_bad_json", "chat_not_utf8", "chat_deep_json"), ("body text: *",), _PARSER),
)

WANTED: dict[str, tuple[Wanted, ...]] = {
    "real": (),
    "evaluation": _EVALUATION,
    "fake": _FAKE,
}
