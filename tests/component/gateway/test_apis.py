"""The APIs that clients have, through the gateway: requests, answers, streams, errors of OpenAI, Ollama, Anthropic."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.component.gateway.counting_engine import RECORDED, Engine
from tests.component.gateway.nginx_host import MODEL, Answer, Gateway, Start, key

HELLO = [{"role": "user", "content": "hello tokens=3"}]


@pytest.fixture
def gateway(start: Start) -> Gateway:
    return start([key("alice")])


def ollama(gateway: Gateway, path: str, method: str = "POST", **body: Any) -> Answer:
    return gateway.ask(method, path, body or None)


def lines(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.body.decode().splitlines()]


@pytest.mark.parametrize("call", ["chat", "generate"])
def test_ollama_stream(gateway: Gateway, engine: Engine, call: str) -> None:
    asked = {"messages": HELLO} if call == "chat" else {"prompt": "hello tokens=3"}
    answer = ollama(gateway, f"/api/{call}", model=f"{MODEL}:latest", options={"num_predict": 9, "num_ctx": 1}, **asked)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    *pieces, last = lines(answer)
    assert [piece["message"]["content"] if call == "chat" else piece["response"] for piece in pieces] == ["The"] * 3
    assert not any(piece["done"] for piece in pieces)
    assert (last["done"], last["done_reason"], last["eval_count"]) == (True, "stop", 3)
    assert {piece["model"] for piece in [*pieces, last]} == {f"{MODEL}:latest"}
    received = json.loads(engine.requests[-1].body)
    assert (received["model"], received["max_tokens"], received["stream"]) == (MODEL, 9, True)
    assert engine.requests[-1].path == "/v1/chat/completions"
    assert gateway.usage()["alice", MODEL]["tokens_out"] == 3


@pytest.mark.parametrize("call", ["chat", "generate"])
def test_ollama_whole(gateway: Gateway, call: str) -> None:
    asked = {"messages": HELLO} if call == "chat" else {"prompt": "hello tokens=3"}
    answer = ollama(gateway, f"/api/{call}", model=MODEL, stream=False, **asked)
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    said = answer.json()
    assert (said["message"]["content"] if call == "chat" else said["response"]) == "word word word "
    assert (said["done"], said["eval_count"], said["prompt_eval_count"]) == (True, 3, 2)


def test_ollama_raw(gateway: Gateway, engine: Engine) -> None:
    *pieces, last = lines(ollama(gateway, "/api/generate", model=MODEL, prompt="hello tokens=3", raw=True))
    assert engine.requests[-1].path == "/v1/completions"
    assert len(pieces) == 3
    assert last["done"] is True


def test_ollama_loads(gateway: Gateway, engine: Engine) -> None:
    (loaded,) = lines(ollama(gateway, "/api/generate", model=MODEL, prompt=""))
    assert (loaded["done_reason"], loaded["response"]) == ("load", "")
    unloaded = ollama(gateway, "/api/chat", model=MODEL, messages=[], keep_alive=0, stream=False).json()
    assert (unloaded["done_reason"], unloaded["message"]["content"]) == ("unload", "")
    assert engine.requests == []


def test_ollama_lists(gateway: Gateway) -> None:
    (tag,) = ollama(gateway, "/api/tags", "GET").json()["models"]
    assert tag["name"] == f"{MODEL}:latest"
    assert len(ollama(gateway, "/api/ps", "GET").json()["models"]) == 1
    assert "completion" in ollama(gateway, "/api/show", name=MODEL).json()["capabilities"]
    assert gateway.ask("GET", "/api/version", name=None).json()["version"].replace(".", "").isdigit()
    assert gateway.ask("GET", "/", name=None).body == b"Ollama is running"
    assert gateway.ask("HEAD", "/", name=None).status == 200


@pytest.mark.parametrize("call", ["pull", "push", "create", "copy"])
def test_ollama_calls_that_are_not_here(gateway: Gateway, call: str) -> None:
    answer = ollama(gateway, f"/api/{call}", model="x")
    assert answer.status == 501
    assert set(answer.json()) == {"error", "request_id"}


def test_ollama_errors(gateway: Gateway) -> None:
    missing = ollama(gateway, "/api/chat", model="gone", messages=HELLO)
    assert (missing.status, missing.json()["error"]) == (404, "model 'gone' not found")
    assert gateway.ask("POST", "/api/chat", {"model": MODEL}, name=None).status == 403
    said = ollama(
        gateway, "/api/chat", model=MODEL, messages=[{"role": "user", "content": "x status=500 say=It_broke."}]
    )
    assert (said.status, said.json()["error"]) == (500, "It broke.")
    assert said.headers["content-type"].partition(";")[0] == "application/json"
    for error, words in (("plain", "Tool choice was required"), ("json", "Tool choice was required")):
        content = f"x error={error}"
        *_, last = lines(ollama(gateway, "/api/chat", model=MODEL, messages=[{"role": "user", "content": content}]))
        assert last["error"].startswith(words)
        assert "\n" not in last["error"]
    *_, last = lines(ollama(gateway, "/api/chat", model=MODEL, messages=[{"role": "user", "content": "x die=2"}]))
    assert last["error"] == "The model server stopped in the middle of the answer."


def events(answer: Answer) -> list[dict[str, Any]]:
    found = []
    for event in answer.events():
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


@pytest.mark.parametrize("line", ["0.8.1", "0.9.2"])
def test_anthropic(start: Start, engine: Engine, line: str) -> None:
    gateway = start([key("alice")], line=line)
    body = {"model": MODEL, "max_tokens": 9, "messages": HELLO}
    answer = gateway.ask("POST", "/v1/messages", body, {"x-api-key": "sk-alice"}, name=None)
    assert engine.requests[-1].path == ("/v1/messages" if line == "0.9.2" else "/v1/chat/completions")
    said = answer.json()
    assert (said["type"], said["content"][0]["text"]) == ("message", "word word word ")
    assert said["id"] == f"msg_{answer.headers['x-request-id']}"
    assert said["usage"] == {"input_tokens": 2, "output_tokens": 3}
    answer = gateway.ask("POST", "/v1/messages", {**body, "stream": True})
    assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
    said = events(answer)
    assert [event["type"] for event in said][:2] == ["message_start", "content_block_start"]
    assert said[-1]["type"] == "message_stop"
    assert said[0]["message"]["id"] == f"msg_{answer.headers['x-request-id']}"
    assert len([event for event in said if event["type"] == "content_block_delta" and event["delta"]["text"]]) == 3


@pytest.mark.parametrize("line", ["0.8.1", "0.9.2"])
def test_anthropic_errors(start: Start, line: str) -> None:
    gateway = start([key("alice")], line=line)
    body = {"model": "gone", "max_tokens": 9, "messages": HELLO}
    missing = gateway.ask("POST", "/v1/messages", body)
    assert missing.status == 404
    assert missing.json()["type"] == "error"
    assert missing.json()["error"]["type"] == "not_found_error"
    assert missing.json()["request_id"] == missing.headers["x-request-id"] == missing.headers["request-id"]
    stranger = gateway.ask("POST", "/v1/messages", body, name=None)
    assert (stranger.status, stranger.json()["error"]["type"]) == (401, "authentication_error")
    messages = [{"role": "user", "content": "x die=2"}]
    said = events(gateway.ask("POST", "/v1/messages", {**body, "model": MODEL, "messages": messages, "stream": True}))
    assert said[-1]["type"] == "error"
    counted = gateway.ask("POST", "/v1/messages/count_tokens", {"model": MODEL, "messages": HELLO})
    if line == "0.8.1":
        assert (counted.status, counted.json()["error"]["type"]) == (404, "not_found_error")


def test_models(gateway: Gateway) -> None:
    assert [entry["id"] for entry in gateway.ask("GET", "/v1/models").json()["data"]] == [MODEL]
    assert gateway.ask("GET", f"/v1/models/{MODEL}.gguf").json()["id"] == MODEL
    missing = gateway.ask("GET", "/v1/models/gone")
    assert (missing.status, missing.json()["error"]["code"]) == (404, "model_not_found")


# What is not there, as the references say it where the engine says something else.
MISSING = frozenset(
    {
        "chat_unknown_model",
        "chat_stream_unknown_model",
        "completions_unknown_model",
        "messages_unknown_model",
        "chat_not_utf8",
    }
)
POSTS = sorted(name for name, each in RECORDED.items() if each.method == "POST" and each.body(MODEL))


@pytest.mark.parametrize("name", POSTS)
def test_every_recorded_request(gateway: Gateway, engine: Engine, name: str) -> None:
    """Whatever was recorded is answered in the client's shape, and the engine is not asked what it must not be."""
    exchange = RECORDED[name]
    answer = gateway.ask("POST", exchange.path, exchange.body(MODEL))
    if answer.status >= 400:
        error = answer.json()["error"]
        assert "\n" not in error["message"]
        assert (answer.status == 404) == (name in MISSING or error.get("code") in ("unknown_url", "not_served"))
    for request in engine.requests:
        received = json.loads(request.body)
        assert received["model"] == MODEL
        assert not {"web_search_options", "session_id", "files", "adapter"} & set(received)
