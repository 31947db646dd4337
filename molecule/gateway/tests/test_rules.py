"""What reaches the engine and what comes back from it, seen through a stand-in that tells what it was asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

HostCommand = Callable[..., str]
Echo = Callable[..., dict[str, Any]]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"url": "http://x"}}}


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        ({}, "tiny-q4_k_m"),
        ({"model": None}, "tiny-q4_k_m"),
        ({"model": ""}, "tiny-q4_k_m"),
        ({"model": "default"}, "tiny-q4_k_m"),
        ({"model": "tiny:1b"}, "tiny-q4_k_m"),
        ({"model": "tiny-q4_k_m.gguf"}, "tiny-q4_k_m"),
        ({"model": "other:7b"}, "other-q4_k_m"),
        ({"model": "other-q4_k_m"}, "other-q4_k_m"),
    ],
)
def test_names_lead_to_the_engines_model(echo: Echo, asked: dict[str, Any], model: str) -> None:
    assert echo(**asked)["body"]["model"] == model


@pytest.mark.parametrize(
    ("asked", "arrives"),
    [
        ({}, {"temperature": 0.5, "top_p": 0.9, "max_tokens": 64}),
        ({"temperature": 0, "top_p": 1}, {"temperature": 0, "top_p": 1, "max_tokens": 64}),
        ({"temperature": None}, {"temperature": 0.5}),
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_completion_tokens": 8}, {"max_tokens": 8}),
        ({"max_tokens": 7, "max_completion_tokens": 8}, {"max_tokens": 8}),
        ({"max_tokens": 10**9}, {"max_tokens": 2048}),
        ({"max_completion_tokens": 10**9}, {"max_tokens": 2048}),
        ({"stop": ["a"], "seed": 3, "tools": [TOOL]}, {"stop": ["a"], "seed": 3}),
    ],
)
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_defaults_and_caps(echo: Echo, path: str, asked: dict[str, Any], arrives: dict[str, Any]) -> None:
    body = echo(path, **asked)["body"]
    assert {name: body[name] for name in arrives} == arrives
    assert "max_completion_tokens" not in body


def test_texts_arrive_as_they_were_sent(echo: Echo) -> None:
    text = 'ünïcode 🎉 " \\ \n \x00 </script> $uri ${x}'
    assert echo(prompt=text)["body"]["prompt"] == text


def test_data_urls_pass(echo: Echo) -> None:
    content = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    messages = [{"role": "user", "content": content}]
    body = echo("/v1/chat/completions", model="other:7b", messages=messages)["body"]
    assert body["messages"][0]["content"] == content


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("image_url", {"url": "http://169.254.169.254/latest/meta-data"}),
        ("image_url", {"url": "file:///etc/passwd"}),
        ("image_url", "https://example.org/x.png"),
        ("audio_url", {"url": "ftp://example.org/x"}),
        ("file_url", "//example.org/x"),
        ("video_url", {"url": "/etc/passwd"}),
    ],
)
def test_the_engine_is_made_to_fetch_nothing(client: httpx.Client, part: str, value: Any) -> None:
    content = [{"type": "text", "text": "see http://example.org"}, {"type": part, part: value}]
    answer = client.post(
        "/v1/chat/completions", json={"model": "other:7b", "messages": [{"role": "user", "content": content}]}
    )
    code = "file_not_allowed" if part == "file_url" else "url_not_allowed"
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_two_values_of_one_field_are_refused(client: httpx.Client) -> None:
    answer = client.post("/v1/completions", content=b'{"prompt": "a", "model": "gpt-4o", "model": "tiny:1b"}')
    assert answer.status_code == 400
    assert "model" in answer.json()["error"]["message"]


def test_the_engine_gets_no_key_and_no_query(client: httpx.Client, key: str) -> None:
    headers = {"Cookie": "a=b", "X-Forwarded-For": "1.2.3.4", "Accept-Encoding": "gzip"}
    answer = client.post("/v1/completions?secret=1", json={"prompt": "x"}, headers=headers)
    asked = json.loads(answer.json()["choices"][0]["text"])
    assert asked["path"] == "/v1/completions"
    assert set(asked["headers"]) == {"Host", "Content-Type", "Content-Length", "X-Request-Id"}
    assert asked["headers"]["X-Request-Id"] == answer.headers["X-Request-Id"]
    assert key not in answer.text


@pytest.mark.parametrize("chunked", [False, True])
def test_a_prompt_of_5_megabytes(client: httpx.Client, on_host: HostCommand, chunked: bool) -> None:
    text = "väry long " * 500_000
    body = json.dumps({"prompt": text}, ensure_ascii=False).encode()
    content = iter([body[i : i + 65536] for i in range(0, len(body), 65536)]) if chunked else body
    answer = client.post("/v1/completions", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert json.loads(answer.json()["choices"][0]["text"])["body"]["prompt"] == text
    assert not on_host("find", "/var/lib/nginx", "-type", "f").strip()


def test_a_chunked_request_that_grows_too_large(client: httpx.Client) -> None:
    answer = client.post("/v1/completions", content=iter([b"x" * 2**20] * 52))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    ("prompt", "status", "error"),
    [
        ("refuse", 500, {"message": "The engine says no: ünïcode.", "type": "server_error", "code": "engine_error"}),
        ("refuse-text", 400, {"message": "plain words", "type": "invalid_request_error", "code": "engine_refused"}),
        ("refuse-openai", 400, {"message": "wrong", "type": "special", "param": "prompt", "code": "own_code"}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_engines_errors(
    client: httpx.Client, prompt: str, status: int, error: dict[str, Any], stream: bool
) -> None:
    answer = client.post("/v1/completions", json={"prompt": prompt, "stream": stream})
    assert answer.status_code == status
    assert answer.headers["Content-Type"].partition(";")[0] == "application/json"
    assert answer.json() == {"error": {"param": None, **error}, "request_id": answer.headers["X-Request-Id"]}


@pytest.mark.parametrize(
    ("name", "status", "code", "words"),
    [
        (
            "mistralrs-0.9.2+7/chat_tools_named",
            500,
            "tool_not_called",
            "Tool choice was required but no tools were called.",
        ),
        (
            "mistralrs-0.8.1/chat_json_object",
            400,
            "engine_refused",
            "Failed to deserialize the JSON body into the target type: ",
        ),
        (
            "mistralrs-0.8.1/chat_context_overflow",
            400,
            "context_length_exceeded",
            "Prompt sequence length is greater than 8192",
        ),
        ("mistralrs-0.9.2+7/chat_body_51mb", 413, "request_too_large", "request body too large"),
    ],
)
def test_recorded_errors_of_the_engine(client: httpx.Client, name: str, status: int, code: str, words: str) -> None:
    answer = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": f"recorded:{name}"}]})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["message"].startswith(words)
    assert error["code"] == code


def last_stream(on_host: HostCommand) -> str:
    program = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:11434/last').read().decode())"
    return str(json.loads(on_host("python3", "-c", program))["stream"])


def test_pieces_are_not_held_back(client: httpx.Client) -> None:
    arrivals = []
    with client.stream("POST", "/v1/completions", json={"prompt": "slow", "stream": True}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                arrivals.append(time.monotonic())
    gaps = [later - earlier for earlier, later in zip(arrivals, arrivals[1:])]
    assert len(arrivals) == 20
    # The stand-in sends one each 0.1 s.
    assert max(gaps) < 0.5
    assert sorted(gaps)[len(gaps) // 2] > 0.05


def test_a_complete_stream_is_complete_for_the_engine(client: httpx.Client, on_host: HostCommand) -> None:
    with client.stream("POST", "/v1/completions", json={"prompt": "slow", "stream": True}) as answer:
        assert list(answer.iter_lines())[-2] == "data: [DONE]"
    assert last_stream(on_host) == "complete"


def test_the_engine_notices_a_client_that_hangs_up(client: httpx.Client, on_host: HostCommand) -> None:
    with client.stream("POST", "/v1/completions", json={"prompt": "slow", "stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert last_stream(on_host) == "running"
    end = time.monotonic() + 1.5
    while last_stream(on_host) == "running":
        assert time.monotonic() < end
    assert last_stream(on_host) == "client gone"


@pytest.mark.parametrize("version", ["mistralrs-0.8.1", "mistralrs-0.9.2+7"])
def test_an_error_inside_a_stream_ends_it_as_the_engine_says(client: httpx.Client, version: str) -> None:
    prompt = f"recorded:{version}/chat_context_overflow_stream"
    body = {"messages": [{"role": "user", "content": prompt}], "stream": True}
    answer = client.post("/v1/chat/completions", json=body)
    first, last = [line for line in answer.text.splitlines() if line]
    assert answer.status_code == 200
    assert "Prompt sequence length is greater than 8192" in first
    assert last == "data: [DONE]"
