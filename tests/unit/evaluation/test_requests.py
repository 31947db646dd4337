"""From the JSON of a request to what the engine is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from mistralrs_evaluation.requests import RequestError, chat, completion, parse_json

HELLO = [{"role": "user", "content": "hello"}]


def test_chat() -> None:
    wanted = chat(
        {
            "model": "a",
            "messages": [{"role": "system", "content": "be brief"}, *HELLO],
            "temperature": 0,
            "top_p": 0.9,
            "top_k": 40,
            "min_p": 0.05,
            "max_tokens": 5,
            "max_completion_tokens": 7,
            "stop": "\n",
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
            "repetition_penalty": 1.1,
            "logit_bias": {"17": -100},
            "stream": True,
            "user": "somebody",
            "stream_options": {"include_usage": True},
            "n": 1,
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
    }


def test_nothing_is_made_up() -> None:
    assert chat({"model": "a", "messages": HELLO, "temperature": None, "stop": None}).sampling == {}


def test_text_parts_are_joined() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert chat({"model": "a", "messages": [{"role": "user", "content": content}]}).messages[0]["content"] == "a\nb"


def test_json_schema() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    sampling = chat({"model": "a", "messages": HELLO, "response_format": form}).sampling
    assert sampling == {"grammar_type": "json_schema", "grammar": '{"type": "object"}'}


def test_completion() -> None:
    wanted = completion({"model": "a", "prompt": "Once", "echo": True, "max_tokens": 3})
    assert (wanted.prompt, wanted.echo, wanted.stream, wanted.sampling) == ("Once", True, False, {"max_tokens": 3})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": None}, "'model' must be a string"),
        ({"model": 3}, "'model' must be a string"),
        ({"messages": None}, "'messages' must be"),
        ({"messages": []}, "'messages' must be"),
        ({"messages": ["hello"]}, "'messages[0]' must be"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "'messages[0].role'"),
        # Only the server itself may say that a message is a raw prompt.
        ({"messages": [{"role": "mistralrs-evaluation-prompt", "content": "x"}]}, "'messages[0].role'"),
        ({"messages": [{"role": "user"}]}, "'messages[0].content'"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "valid Unicode"),
        # The engine would fetch the address by itself.
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
            "text part",
        ),
        ({"temperature": "hot"}, "'temperature' must be a number"),
        ({"temperature": -1}, "'temperature' must be a number from 0 to 2"),
        ({"temperature": True}, "'temperature'"),
        ({"top_p": 7}, "'top_p'"),
        ({"temperature": float("nan")}, "'temperature'"),
        ({"max_tokens": 0}, "'max_tokens'"),
        ({"max_tokens": 1.5}, "'max_tokens'"),
        ({"max_tokens": 10**30}, "'max_tokens'"),
        ({"stop": [""]}, "'stop'"),
        ({"stop": 3}, "'stop'"),
        ({"logit_bias": {"word": 1}}, "'logit_bias'"),
        ({"logit_bias": {"1" * 5000: 1}}, "'logit_bias'"),
        ({"stream": "yes"}, "'stream' must be true or false"),
        ({"n": 2}, "'n'"),
        ({"seed": 1}, "'seed'"),
        ({"tools": [{"type": "function"}]}, "'tools'"),
        ({"logprobs": True}, "'logprobs'"),
        ({"response_format": {"type": "json_object"}}, "'response_format'"),
        ({"reasoning_effort": "heroic"}, "'reasoning_effort'"),
    ],
)
def test_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        chat({"model": "a", "messages": HELLO, **change})
    assert caught.value.status == 422
    assert words in caught.value.message


@pytest.mark.parametrize("prompt", [None, "", 3, ["a"], [1, 2]])
def test_prompts_refused(prompt: Any) -> None:
    with pytest.raises(RequestError) as caught:
        completion({"model": "a", "prompt": prompt})
    assert "'prompt'" in caught.value.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff", b"[" * 100_000])
def test_bodies_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse_json(body)
    assert caught.value.status == 400


def test_error_document_has_the_engines_shape_and_openais() -> None:
    document = RequestError(404, "no", code="model_not_found", param="model").document()
    error = {"message": "no", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    assert document == {"message": "no", "error": error}
