"""The queue in front of the engine: order, places, who leaves, killed processes, an engine that is gone and back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.component.gateway.counting_engine import Engine
from tests.component.gateway.nginx_host import Answer, Gateway, Start, key, wait_until
from tests.component.gateway.test_limits import open_stream


class Crowd:
    """Requests that are sent one after the other, and run at the same time."""

    def __init__(self, gateway: Gateway, engine: Engine) -> None:
        self.gateway, self.engine = gateway, engine
        self.answers: dict[str, Answer] = {}
        self.threads: list[threading.Thread] = []

    def send(self, label: str, content: str, name: str, **more: Any) -> None:
        def run() -> None:
            self.answers[label] = self.gateway.chat(f"{label} {content}", name=name, **more)

        thread = threading.Thread(target=run)
        thread.start()
        self.threads.append(thread)
        time.sleep(0.05)

    def wait(self) -> dict[str, Answer]:
        for thread in self.threads:
            thread.join()
        return self.answers

    def order(self) -> list[str]:
        return [request.name for request in self.engine.requests]


def queue_of(running: int, waiting: int, **more: object) -> dict[str, object]:
    return {"running": running, "waiting": waiting, **more}


def test_keys_are_served_in_turn_and_no_more_at_once_than_may(start: Start, engine: Engine) -> None:
    gateway = start([key("alice"), key("bob")], queue=queue_of(1, 10))
    crowd = Crowd(gateway, engine)
    for i in range(5):
        crowd.send(f"a{i}", "first=0.4", "alice")
    for i in range(2):
        crowd.send(f"b{i}", "first=0.4", "bob")
    answers = crowd.wait()
    assert {answer.status for answer in answers.values()} == {200}
    assert crowd.order() == ["a0", "a1", "b0", "a2", "b1", "a3", "a4"]
    assert engine.most == 1


def test_two_processes_share_one_queue(start: Start, engine: Engine) -> None:
    gateway = start([key("alice"), key("bob")], workers=2, queue=queue_of(2, 20))
    crowd = Crowd(gateway, engine)
    for i in range(8):
        crowd.send(f"a{i}", "first=0.5", "alice")
    for i in range(3):
        crowd.send(f"b{i}", "first=0.5", "bob")
    answers = crowd.wait()
    assert {answer.status for answer in answers.values()} == {200}
    assert engine.most == 2
    # Bob's three come before the last of Alice's.
    order = crowd.order()
    assert max(order.index(f"b{i}") for i in range(3)) < order.index("a7")


def test_beyond_the_line_is_429_with_a_true_retry_after(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")], queue=queue_of(1, 2))
    crowd = Crowd(gateway, engine)
    for i in range(4):
        crowd.send(f"a{i}", "first=1.5", "alice")
    answers = crowd.wait()
    assert [answers[f"a{i}"].status for i in range(4)] == [200, 200, 200, 429]
    refused = answers["a3"]
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "engine_busy"
    log = {entry["id"]: entry for entry in gateway.access_log()}
    assert log[answers["a2"].headers["x-request-id"]]["queued"] > 2.7


def test_a_waiting_stream_hears_its_place(start: Start, engine: Engine) -> None:
    gateway = start([key("alice"), key("bob")], queue=queue_of(1, 5))
    crowd = Crowd(gateway, engine)
    crowd.send("a0", "first=2.6", "alice")
    crowd.send("b0", "tokens=3", "bob", stream=True)
    crowd.send("b1", "tokens=3", "bob", stream=True)
    answers = crowd.wait()
    first, second = answers["b0"].events(), answers["b1"].events()
    assert first[0] == ": queued, place 1"
    assert second[0] == ": queued, place 2"
    for events in (first, second):
        rest = [event for event in events if not event.startswith(":")]
        assert len(rest) == 5
        assert rest[-1] == "data: [DONE]"
        assert rest[0].startswith('data: {"id":"chatcmpl-')
    usage = gateway.usage()["bob", "smollm2-q4_1"]
    assert usage == {"requests": 2, "tokens_in": 4, "tokens_out": 6, "tokens_in_estimated": 0}


def test_an_error_after_a_wait_is_an_event(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")], queue=queue_of(1, 5))
    crowd = Crowd(gateway, engine)
    crowd.send("a0", "first=1.5", "alice")
    crowd.send("a1", "status=500 say=broken", "alice", stream=True)
    crowd.send("a2", "die=1", "alice", stream=True)
    answers = crowd.wait()
    assert answers["a1"].status == 200
    assert '"message":"broken"' in answers["a1"].events()[-2]
    assert answers["a2"].events()[-1] == "data: [DONE]"
    assert "engine_died" in answers["a2"].events()[-2]


def left(gateway: Gateway) -> Callable[[], bool]:
    return lambda: gateway.metric("mistral_gateway_waiting") == 0 and gateway.metric("mistral_gateway_running") == 0


def test_who_hangs_up_leaves_the_line(start: Start, engine: Engine) -> None:
    gateway = start([key("alice"), key("bob")], queue=queue_of(1, 5))
    crowd = Crowd(gateway, engine)
    crowd.send("a0", "first=1.5", "alice")
    leaving = [open_stream(gateway, f"gone{i} tokens=1") for i in range(3)]
    wait_until(lambda: gateway.metric("mistral_gateway_waiting") == 3)
    crowd.send("b0", "tokens=1", "bob")
    for sock in leaving[:2]:
        sock.close()
    wait_until(lambda: gateway.metric("mistral_gateway_waiting") == 2, 3)
    # The third hangs up when it has heard its place.
    leaving[2].settimeout(5)
    assert b"queued" in leaving[2].recv(65536) + leaving[2].recv(65536)
    leaving[2].close()
    crowd.wait()
    assert crowd.order() == ["a0", "b0"]
    wait_until(left(gateway))


def test_places_of_a_killed_process_are_given_back(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")], queue=queue_of(2, 4))
    streams = [open_stream(gateway, f"s{i} tokens=1000 pause=0.05") for i in range(5)]
    wait_until(lambda: gateway.metric("mistral_gateway_waiting") == 3)
    gateway.kill_worker()
    wait_until(left(gateway))
    crowd = Crowd(gateway, engine)
    for i in range(4):
        crowd.send(f"a{i}", "first=0.2", "alice")
    assert {answer.status for answer in crowd.wait().values()} == {200}
    assert engine.most == 2
    for sock in streams:
        sock.close()


def test_waiting_survives_a_reload(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")], queue=queue_of(1, 5))
    crowd = Crowd(gateway, engine)
    crowd.send("a0", "first=1.5", "alice")
    crowd.send("a1", "first=0.1", "alice")
    gateway.reload()
    crowd.send("a2", "first=0.1", "alice")
    assert {answer.status for answer in crowd.wait().values()} == {200}
    assert engine.most == 1
    wait_until(left(gateway))


def test_an_engine_that_is_gone_and_back_under_load(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")], queue=queue_of(2, 10))
    crowd = Crowd(gateway, engine)
    for i in range(6):
        crowd.send(f"a{i}", "first=0.3", "alice")
    engine.down()
    answers = crowd.wait()
    assert {answer.status for answer in answers.values()} <= {200, 502}
    broken = [answer for answer in answers.values() if answer.status == 502]
    assert broken
    assert {answer.headers["retry-after"] for answer in broken} == {"5"}
    wait_until(lambda: gateway.ask("GET", "/health", name=None).status == 503)
    engine.up()
    wait_until(lambda: gateway.ask("GET", "/health", name=None).status == 200)
    assert gateway.chat("x").status == 200
    wait_until(left(gateway))


def test_an_engine_that_goes_on_keeps_its_place(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")], queue=queue_of(1, 5, exclusive=True))
    assert gateway.chat("x tokens=2").json()["usage"]["completion_tokens"] == 2
    assert gateway.chat("x tokens=2", stream=True).events()[-1] == "data: [DONE]"
    assert gateway.chat("status=500 say=no").status == 500
    connection = gateway.connect()
    connection.request(
        "POST",
        "/v1/chat/completions",
        b'{"messages":[{"role":"user","content":"left first=1.5"}]}',
        {"Authorization": "Bearer sk-alice"},
    )
    wait_until(lambda: engine.has("left"))
    connection.close()
    before = time.monotonic()
    assert gateway.chat("next").status == 200
    # The answer without a stream was computed to its end first.
    assert time.monotonic() - before > 1
    assert engine.named("left").end == "complete"
    assert engine.most == 1
    wait_until(left(gateway))
