"""Answers on their way: bytes, ids, usage, errors, an engine that dies, a client that leaves."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.component.gateway.counting_engine import Engine
from tests.component.gateway.nginx_host import MODEL, Gateway, Start, chat, key, wait_until
from tests.component.gateway.test_limits import open_stream

PLAIN = {"tokens_in_estimated": 0}


def usage(gateway: Gateway, name: str = "alice") -> dict[str, int]:
    found: dict[str, int] = gateway.usage()[name, MODEL]
    return found


def log_of(gateway: Gateway, request_id: str) -> Any:
    return wait_until(lambda: next((e for e in gateway.access_log() if e["id"] == request_id), None))


def test_what_is_not_changed_arrives_byte_for_byte(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    body = (
        '{ "messages" : [{"role":"user","content":"caf\\u00e9 \U0001f600 tokens=1"}],\n'
        f'  "model":"{MODEL}", "logit_bias":{{}}, "seed": 9007199254740993, "temperature":1.0, "stop":["a\\/b"] }}'
    ).encode()
    assert gateway.ask("POST", "/v1/chat/completions", body).status == 200
    received = engine.requests[-1]
    assert received.body == body
    assert "authorization" not in received.headers
    assert received.headers["host"] == "localhost"


def test_the_request_id_goes_through_everything(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    mine = "my-request-0001"
    answer = gateway.ask("POST", "/v1/chat/completions", chat("x tokens=1"), {"X-Request-Id": mine})
    assert answer.headers["x-request-id"] == mine
    assert answer.json()["id"] == f"chatcmpl-{mine}"
    assert engine.requests[-1].headers["x-request-id"] == mine
    assert log_of(gateway, mine)["key"] == "alice"
    refused = gateway.ask("POST", "/v1/chat/completions", b"[]", {"X-Request-Id": mine})
    assert refused.json()["request_id"] == mine
    # One that could break a log line is replaced.
    answer = gateway.ask("POST", "/v1/chat/completions", chat("x"), {"X-Request-Id": 'a"b c'})
    assert len(answer.headers["x-request-id"]) == 32


def test_ids_are_unique_and_usage_is_the_engines(start: Start, engine: Engine) -> None:
    gateway = start([key("alice"), key("bob")])
    ids = set()
    for stream in (False, True):
        for tokens in (1, 7, 300):
            answer = gateway.chat(f"two words tokens={tokens}", stream=stream)
            if stream:
                events = answer.events()
                assert len(events) == tokens + 2
                assert events[-1] == "data: [DONE]"
                found = {json.loads(event[6:])["id"] for event in events[:-1]}
            else:
                found = {answer.json()["id"]}
            assert len(found) == 1
            ids |= found
    assert len(ids) == 6
    assert usage(gateway) == {"requests": 6, "tokens_in": engine.tokens_in, "tokens_out": engine.tokens_out, **PLAIN}
    assert (engine.tokens_in, engine.tokens_out) == (18, 616)
    for kind, tokens in (("in", 18), ("out", 616)):
        line = f'mistral_gateway_tokens_total{{key="alice",model="{MODEL}",kind="{kind}"}}'
        assert gateway.metric(line) == tokens
    log = gateway.access_log()
    assert sum(entry.get("tokens_out", 0) for entry in log) == 616


def test_completions_without_usage_are_counted_by_their_events(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    body = {"model": MODEL, "prompt": "once upon tokens=9", "stream": True}
    answer = gateway.ask("POST", "/v1/completions", body)
    assert answer.events()[0].startswith('data: {"id":"cmpl-')
    found = usage(gateway)
    assert (found["tokens_in"], found["tokens_out"]) == (0, 9)
    assert found["tokens_in_estimated"] > 0
    body["stream"] = False
    assert gateway.ask("POST", "/v1/completions", body).status == 200
    assert usage(gateway)["tokens_in"] == 3


def test_messages_of_anthropic(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    body: dict[str, Any] = {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "hi tokens=4"}]}
    answer = gateway.ask("POST", "/v1/messages", body, {"x-api-key": "sk-alice"}, name=None)
    assert answer.json()["id"].startswith("msg_")
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert usage(gateway) == {"requests": 1, "tokens_in": 2, "tokens_out": 4, **PLAIN}
    events = gateway.ask("POST", "/v1/messages", {**body, "stream": True}).events()
    assert '"id":"msg_' in events[0]
    assert events[-1].startswith("event: message_stop")
    assert usage(gateway)["tokens_out"] == 8
    body["messages"][0]["content"] = "hi tokens=9 die=2"
    events = gateway.ask("POST", "/v1/messages", {**body, "stream": True}).events()
    assert events[-1].startswith('event: error\ndata: {"type":"error"')


@pytest.mark.parametrize("steer", ["die=0", "die=3", "die=3 how=rst"])
def test_an_engine_that_dies_ends_the_stream_with_an_event(start: Start, engine: Engine, steer: str) -> None:
    gateway = start([key("alice")])
    answer = gateway.chat(f"x tokens=9 pause=0.02 {steer}", stream=True)
    assert answer.status == 200
    events = answer.events()
    assert events[-1] == "data: [DONE]"
    error = json.loads(events[-2][6:])
    assert error["error"]["code"] == "engine_died"
    assert error["request_id"] == answer.headers["x-request-id"]
    count = 0 if steer == "die=0" else 3
    assert len(events) == count + 2
    assert usage(gateway)["tokens_out"] == count
    assert log_of(gateway, answer.headers["x-request-id"])["end"] == "engine died"


def test_an_engine_that_dies_before_its_headers_is_a_502(start: Start) -> None:
    gateway = start([key("alice")])
    for stream in (False, True):
        answer = gateway.chat("x die=-1", stream=stream)
        assert (answer.status, answer.json()["error"]["code"]) == (502, "engine_unavailable")
        assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize("kind", ["json", "plain"])
def test_an_error_in_a_stream_is_one_line(start: Start, kind: str) -> None:
    gateway = start([key("alice")])
    answer = gateway.chat(f"x tokens=9 error={kind}", stream=True)
    events = answer.events()
    assert len(events) == 3
    error = json.loads(events[1][6:])["error"]
    assert error["message"] == "Tool choice was required but no tools were called."
    assert "unknown" not in answer.body.decode()
    assert events[-1] == "data: [DONE]"


def test_an_error_of_the_engine_keeps_its_first_line(start: Start) -> None:
    gateway = start([key("alice")])
    answer = gateway.chat("x recorded=chat_tools_named")
    assert answer.status == 500
    assert answer.json()["error"]["message"] == "Tool choice was required but no tools were called."
    assert b"unknown" not in answer.body
    assert gateway.usage() == {}


def test_a_client_that_leaves_is_seen_by_the_engine_and_counted(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    sock = open_stream(gateway, "s tokens=1000 pause=0.05")
    wait_until(lambda: engine.has("s", 5))
    sock.close()
    request = engine.named("s")
    wait_until(lambda: request.end == "client gone", 1)
    found = wait_until(lambda: gateway.usage().get(("alice", MODEL)))
    assert found["tokens_out"] == request.events
    assert found["tokens_in_estimated"] > 0
    assert wait_until(lambda: gateway.access_log())[-1]["end"] == "client left"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_before_the_first_byte(start: Start, engine: Engine, stream: bool) -> None:
    gateway = start([key("alice")])
    connection = gateway.connect()
    body = json.dumps(chat("early first=30", stream=stream)).encode()
    connection.request("POST", "/v1/chat/completions", body, {"Authorization": "Bearer sk-alice"})
    wait_until(lambda: engine.has("early"))
    connection.close()
    left = time.monotonic()
    request = engine.named("early")
    wait_until(lambda: request.end == "client gone", 2)
    assert request.ended_at - left < 0.5


def test_streams_of_a_killed_process_are_booked(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    sock = open_stream(gateway, "s tokens=1000 pause=0.05")
    wait_until(lambda: engine.has("s", 5))
    gateway.kill_worker()
    request = engine.named("s")
    wait_until(lambda: request.end == "client gone")
    # What the engine wrote in the moment of the kill has not been read any more.
    assert request.events - 1 <= usage(gateway)["tokens_out"] <= request.events
    sock.close()


def test_the_answer_of_a_stream_is_whole_however_it_is_cut(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    whole = gateway.chat("x tokens=200", stream=True)
    assert len(whole.events()) == 202
    assert whole.body.count(b"data: ") == 202
    for event in whole.events()[:-1]:
        json.loads(event[6:])


def test_no_prompt_and_no_key_reaches_a_log(start: Start) -> None:
    gateway = start([key("alice")])
    gateway.chat("very-private tokens=1")
    gateway.ask("GET", "/nothing?secret=sk-alice")
    gateway.ask("POST", "/v1/chat/completions", b'{"messages": very-private')
    gateway.chat("very-private status=500")
    for name in ("access.log", "error.log", "stderr"):
        text = (gateway.folder / name).read_text()
        assert "very-private" not in text, name
        assert "sk-alice" not in text, name
