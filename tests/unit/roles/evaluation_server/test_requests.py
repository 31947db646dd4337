"""From the JSON of a request to what the engine is asked for. Errors: tests/recordings/mistralrs-0.9.2+7/http."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from mistralrs_evaluation.fields import RequestError, parse
from mistralrs_evaluation.requests import chat, completion

RECORDINGS = Path(__file__).resolve().parents[3] / "recordings" / "mistralrs-0.9.2+7" / "http"
HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def test_chat() -> None:
    wanted = chat(
        {
            "model": "a",
            "messages": [{"role": "system", "content": "be brief"}, *HELLO],
            "temperature": 0,
            "top_p": 0.9,
            "top_k": 40,
            "min_p": 0.05,
            "max_completion_tokens": 7,
            "stop": "\n",
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
            "repetition_penalty": 1.1,
            "logit_bias": {"17": -100},
            "stream": True,
            "user": "somebody",
            "stream_options": {"include_usage": True},
            "n": 2,
            "logprobs": True,
            "top_logprobs": 3,
        }
    )
    assert (wanted.model, wanted.stream, wanted.prompt) == ("a", True, None)
    assert wanted.messages == ({"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"})
    assert wanted.sampling == {
        "max_tokens": 7,
        "temperature": 0.0,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "repetition_penalty": 1.1,
        "logit_bias": {17: -100.0},
        "stop_seqs": ["\n"],
        "n_choices": 2,
        "logprobs": True,
        "top_logprobs": 3,
    }


def test_nothing_is_made_up() -> None:
    assert chat({"model": "a", "messages": HELLO, "temperature": None, "stop": None}).sampling == {}


# Recordings with status 200: chat_no_model, chat_seed, chat_temperature_3, chat_temperature_negative, chat_top_p_2,
# chat_unknown_field, chat_user_metadata_store, chat_messages_empty, chat_role_unknown, chat_web_search.
@pytest.mark.parametrize(
    ("change", "sampling"),
    [
        ({"seed": 7}, {}),
        ({"no_such_field": 1}, {}),
        ({"user": "u", "metadata": {}, "store": False, "service_tier": "auto", "parallel_tool_calls": True}, {}),
        ({"functions": [{}], "modalities": ["text"], "web_search_options": {}, "session_id": "x"}, {}),
        ({"temperature": 3}, {"temperature": 3.0}),
        ({"temperature": -1}, {"temperature": -1.0}),
        ({"top_p": 2}, {"top_p": 2.0}),
        ({"messages": [{"role": "wizard", "content": "x"}]}, {}),
        ({"messages": []}, {}),
    ],
)
def test_what_the_engine_takes_is_taken(change: dict[str, Any], sampling: dict[str, Any]) -> None:
    assert chat({"messages": HELLO, **change}).sampling == sampling


def test_without_a_model_it_is_the_default() -> None:
    assert chat({"messages": HELLO}).model == "default"
    assert completion({"prompt": "x"}).model == "default"


def test_messages_may_be_one_text() -> None:
    assert chat({"messages": "Say hi."}).messages == ({"role": "user", "content": "Say hi."},)


def test_text_parts_are_joined() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert chat({"model": "a", "messages": [{"role": "user", "content": content}]}).messages[0]["content"] == "a\nb"


def test_a_call_needs_no_content() -> None:
    messages = [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, {"role": "tool", "content": "18"}]
    assert [message["content"] for message in chat({"messages": messages}).messages] == ["", "18"]


@pytest.mark.parametrize(
    ("choice", "names", "told", "must"),
    [
        (None, ["get_weather", "clock"], "auto", False),
        ("auto", ["get_weather", "clock"], "auto", False),
        ("none", ["get_weather", "clock"], "none", False),
        ("required", ["get_weather", "clock"], "auto", True),
        ({"type": "function", "function": {"name": "clock"}}, ["clock"], "auto", True),
    ],
)
def test_tools(choice: Any, names: list[str], told: str, must: bool) -> None:
    wanted = chat({"messages": HELLO, "tools": [WEATHER, CLOCK], "tool_choice": choice})
    assert [json.loads(tool)["function"]["name"] for tool in wanted.sampling["tool_schemas"]] == names
    assert (wanted.sampling["tool_choice"], wanted.must_call) == (told, must)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        (
            "response_format",
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
            {"grammar_type": "json_schema", "grammar": '{"type": "object"}'},
        ),
        ("response_format", {"type": "json_object"}, {"grammar_type": "json_schema", "grammar": '{"type": "object"}'}),
        ("response_format", {"type": "text"}, {}),
        ("grammar", {"type": "regex", "value": "[0-9]{3}"}, {"grammar_type": "regex", "grammar": "[0-9]{3}"}),
        ("grammar", {"type": "lark", "value": "start: X"}, {"grammar_type": "lark", "grammar": "start: X"}),
        (
            "grammar",
            {"type": "json_schema", "value": {"type": "string"}},
            {"grammar_type": "json_schema", "grammar": '{"type": "string"}'},
        ),
    ],
)
def test_constraints(field: str, value: dict[str, Any], expected: dict[str, Any]) -> None:
    assert chat({"messages": HELLO, field: value}).sampling == expected


def test_completion() -> None:
    wanted = completion({"model": "a", "prompt": "Once", "echo": True, "suffix": "!", "max_tokens": 3, "logprobs": 2})
    assert (wanted.prompt, wanted.echo, wanted.suffix, wanted.stream) == ("Once", True, "!", False)
    assert wanted.sampling == {"max_tokens": 3, "logprobs": True, "top_logprobs": 2}


def recorded(name: str) -> tuple[int, str]:
    """Status and words of a recorded error, without where in the body the fault is."""
    response = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))["response"]
    body = response["body"]
    words = json.loads(body)["message"] if body.startswith("{") else body
    return response["status"], words.split(" at line ")[0]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("chat_max_tokens_text", {"max_tokens": "24"}),
        ("chat_max_tokens_negative", {"max_tokens": -1}),
        ("chat_max_tokens_0", {"max_tokens": 0}),
        ("chat_n0", {"n": 0}),
        ("chat_content_null", {"messages": [{"role": "user", "content": None}]}),
        ("chat_tools_bad_schema", {"tools": [{"type": "function", "function": {}}]}),
        ("chat_tool_type_other", {"tools": [{"type": "web_search"}]}),
    ],
)
def test_errors_are_the_recorded_ones(name: str, change: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        chat({"model": "a", "messages": HELLO, **change})
    assert (caught.value.status, caught.value.message) == recorded(name)


WRONG = json.loads((RECORDINGS.parents[1] / "mistralrs-0.8.1" / "wrong-fields.json").read_text(encoding="utf-8"))
# What 0.9.2+7 says otherwise: the recording chat_tools_bad_schema.
NEWER = {
    "tools[0].function: missing field `name`": "tools[0]: data did not match any variant of untagged enum OpenAiTool"
}
# The engine's parser knows the field in which the body stops being JSON.
UNKNOWN_FIELD = ("temperature: number out of range", "temperature: expected value")


@pytest.mark.parametrize("case", WRONG, ids=[case["body"] for case in WRONG])
def test_wrong_fields_are_refused_as_by_the_engine(case: dict[str, Any]) -> None:
    is_chat = case["path"] == "/v1/chat/completions"
    struct, read = ("ChatCompletionRequest", chat) if is_chat else ("CompletionRequest", completion)
    with pytest.raises(RequestError) as caught:
        read(parse(case["body"].encode(), struct))
    error = caught.value
    assert error.status == case["status"]
    assert error.plain == case["content_type"].startswith("text/plain")
    words = case["answer"] if error.plain else json.loads(case["answer"])["message"]
    words = re.sub(r"( with \d+ elements)?( at line \d+ column \d+)?\Z", "", words)
    for older, newer in NEWER.items():
        words = words.replace(older, newer)
    for field in UNKNOWN_FIELD:
        words = words.replace(field, field.partition(": ")[2])
    assert error.message == words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        # The engine would fetch the address by itself.
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
            "text part",
        ),
        # Only the server itself may say that a message is a raw prompt.
        ({"messages": [{"role": "mistralrs-evaluation-prompt", "content": "x"}]}, "reserved"),
        ({"adapter": "x"}, "no adapters"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "clock"}}}, "Tool choice"),
    ],
)
def test_what_the_wheel_can_not_do_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        chat({"model": "a", "messages": HELLO, **change})
    assert (caught.value.status, caught.value.plain) == (422, False)
    assert words in caught.value.message


def test_two_constraints_exclude_each_other() -> None:
    with pytest.raises(RequestError, match="mutually exclusive") as caught:
        chat({"messages": HELLO, "grammar": {"type": "regex", "value": "x"}, "response_format": {"type": "text"}})
    assert caught.value.status == 500


def test_a_lone_surrogate_is_no_text() -> None:
    for ask in (lambda text: chat({"messages": text}), lambda text: completion({"prompt": text})):
        with pytest.raises(RequestError) as caught:
            ask("\ud800")
        assert caught.value.status == 400


@pytest.mark.parametrize("prompt", [None, 3, ["a"], [1, 2]])
def test_prompts_refused(prompt: Any) -> None:
    with pytest.raises(RequestError) as caught:
        completion({"model": "a", "prompt": prompt})
    assert "prompt: invalid type" in caught.value.message
    if isinstance(prompt, list):
        assert (caught.value.status, caught.value.message) == recorded("completions_list")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b'{"temperature": NaN}', 400),
        (b"[" * 100_000, 400),
        (b"[]", 422),
        (b'"text"', 422),
    ],
)
def test_bodies_refused(body: bytes, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        parse(body, "ChatCompletionRequest")
    assert (caught.value.status, caught.value.plain) == (status, True)


def test_an_empty_body_has_the_recorded_words() -> None:
    with pytest.raises(RequestError) as caught:
        parse(b"", "ChatCompletionRequest")
    assert (caught.value.status, caught.value.message) == recorded("chat_empty_body")


def test_error_documents_have_the_engines_shape() -> None:
    assert RequestError(500, "no").document() == {"message": "no"}
    assert RequestError(500, "no", partial={"id": "1"}).document() == {"message": "no", "partial_response": {"id": "1"}}
    error = {"message": "no", "type": "server_error", "param": None, "code": None}
    assert RequestError(422, "no").event() == {"error": error}
