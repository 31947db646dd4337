"""Ollama's and Anthropic's APIs through the gateway: what reaches the engine, and what comes back."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from tests.component.gateway.counting_engine import Engine
from tests.component.gateway.nginx_host import MODEL, Gateway, Start, key, wait_until


def ollama(content: str, **more: Any) -> dict[str, Any]:
    return {"model": f"{MODEL}:latest", "messages": [{"role": "user", "content": content}], **more}


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.decode().splitlines()]


def test_a_chat_of_ollama_streams_unless_told_otherwise(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    answer = gateway.ask("POST", "/api/chat", ollama("hi there tokens=4"))
    assert answer.headers["content-type"] == "application/x-ndjson"
    found = lines(answer.body)
    assert [line["done"] for line in found] == [False] * 4 + [True]
    assert found[0]["message"]["content"] == "The"
    assert found[0]["model"] == f"{MODEL}:latest"
    assert (found[-1]["prompt_eval_count"], found[-1]["eval_count"]) == (3, 4)
    assert engine.requests[-1].path == "/v1/chat/completions"
    whole = gateway.ask("POST", "/api/chat", ollama("hi there tokens=2", stream=False))
    assert whole.json()["message"]["content"] == "word word "
    assert whole.json()["eval_count"] == 2
    assert gateway.usage()["alice", MODEL] == {
        "requests": 2,
        "tokens_in": 6,
        "tokens_out": 6,
        "tokens_in_estimated": 0,
    }


def test_ollamas_other_calls(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    generated = gateway.ask("POST", "/api/generate", {"model": MODEL, "prompt": "x tokens=3", "stream": False})
    assert generated.json()["response"] == "word word word "
    loaded = gateway.ask("POST", "/api/generate", {"model": MODEL})
    assert lines(loaded.body)[-1]["done_reason"] == "load"
    assert len(engine.requests) == 1
    tags = gateway.ask("GET", "/api/tags").json()["models"]
    assert [entry["name"] for entry in tags] == [f"{MODEL}:latest"]
    assert gateway.ask("POST", "/api/show", {"model": MODEL}).json()["capabilities"]
    assert gateway.ask("POST", "/api/show", {"name": "other"}).status == 404
    assert gateway.ask("GET", "/api/ps").json()["models"]
    assert gateway.ask("GET", "/api/version", name=None).json()["version"]
    assert gateway.ask("GET", "/", name=None).body == b"Ollama is running"
    assert gateway.ask("HEAD", "/", name=None).status == 200
    refused = gateway.ask("POST", "/api/pull", {"model": "x"})
    assert refused.status == 501
    assert "not pulled here" in refused.json()["error"]
    assert gateway.ask("DELETE", "/api/delete", {"model": "x"}).status == 501


def test_errors_have_ollamas_form(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    assert isinstance(gateway.ask("POST", "/api/chat", b"{").json()["error"], str)
    missing = gateway.ask("POST", "/api/chat", {"model": "nothing", "messages": []})
    assert missing.status == 404
    assert isinstance(missing.json()["error"], str)
    died = lines(gateway.ask("POST", "/api/chat", ollama("x tokens=9 die=2")).body)
    assert len(died) == 3
    assert "stopped in the middle" in died[-1]["error"]
    assert isinstance(
        gateway.ask("POST", "/api/chat", ollama("x status=500 say=broken", stream=False)).json()["error"], str
    )
    error = lines(gateway.ask("POST", "/api/chat", ollama("x tokens=9 error=json")).body)
    assert error[-1]["error"] == "Tool choice was required but no tools were called."
    engine.down()
    gone = gateway.ask("POST", "/api/chat", ollama("x"))
    assert gone.status == 502
    assert isinstance(gone.json()["error"], str)
    engine.up()


def test_ollamas_stream_waits_without_a_word(start: Start) -> None:
    gateway = start([key("alice")], queue={"running": 1, "waiting": 3})
    thread = threading.Thread(target=lambda: gateway.chat("x first=1.5"))
    thread.start()
    wait_until(lambda: gateway.metric("mistral_gateway_running") == 1)
    begun = time.monotonic()
    answer = gateway.ask("POST", "/api/chat", ollama("x tokens=2"))
    assert time.monotonic() - begun > 0.5
    assert [line["done"] for line in lines(answer.body)] == [False, False, True]
    thread.join()


def test_messages_for_an_engine_that_lacks_them(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")], line="0.8.1")
    body: dict[str, Any] = {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "hi tokens=3"}]}
    answer = gateway.ask("POST", "/v1/messages", body, {"x-api-key": "sk-alice"}, name=None).json()
    assert answer["type"] == "message"
    assert answer["content"] == [{"type": "text", "text": "word word word "}]
    assert answer["usage"] == {"input_tokens": 2, "output_tokens": 3}
    assert engine.requests[-1].path == "/v1/chat/completions"
    streamed = gateway.ask("POST", "/v1/messages", {**body, "stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    names = [event.splitlines()[0].removeprefix("event: ") for event in streamed.events()]
    assert (names[0], names[-1]) == ("message_start", "message_stop")
    assert names.count("content_block_delta") == 3
    assert gateway.usage()["alice", MODEL]["tokens_out"] == 6


def test_every_api_counts_the_same(start: Start, engine: Engine) -> None:
    gateway: Gateway = start([key("alice")])
    gateway.chat("one tokens=2")
    gateway.ask("POST", "/api/chat", ollama("one tokens=2"))
    gateway.ask("POST", "/v1/messages", {"model": MODEL, "max_tokens": 9, **ollama("one tokens=2")} | {"model": MODEL})
    usage = gateway.usage()["alice", MODEL]
    assert (usage["tokens_in"], usage["tokens_out"]) == (engine.tokens_in, engine.tokens_out) == (6, 6)
