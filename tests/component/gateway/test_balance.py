"""Several engines: who gets what, one out of service, one that fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

from tests.component.gateway.counting_engine import Engine
from tests.component.gateway.nginx_host import MODEL, Gateway, Start, key, wait_until


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    found = [Engine().start() for _ in range(3)]
    yield found
    for engine in found:
        engine.stop()


def turn(gateway: Gateway, conversation: int, count: int) -> None:
    """One more turn of a conversation: everything said so far is sent again."""
    messages = [
        {"role": "system", "content": "You are a test."},
        {"role": "user", "content": f"c{conversation} tokens=1"},
    ]
    for i in range(count):
        messages += [
            {"role": "assistant", "content": f"answer {i}"},
            {"role": "user", "content": f"c{conversation} tokens=1"},
        ]
    body = json.dumps({"model": MODEL, "messages": messages}).encode()
    assert gateway.ask("POST", "/v1/chat/completions", body).status == 200


def home(engines: list[Engine], conversation: int) -> list[int]:
    """The engines that have seen a conversation, in the order of its turns."""
    seen = [
        (request.at, number)
        for number, engine in enumerate(engines)
        for request in engine.requests
        if request.name == f"c{conversation}"
    ]
    return [number for _, number in sorted(seen)]


def test_a_conversation_stays_where_it_began(start: Start, engines: list[Engine]) -> None:
    gateway = start([key("alice")], engines=engines)
    for count in range(3):
        for conversation in range(30):
            turn(gateway, conversation, count)
    homes = [set(home(engines, conversation)) for conversation in range(30)]
    assert all(len(found) == 1 for found in homes)
    assert {number for found in homes for number in found} == {0, 1, 2}


def test_a_drained_engine_gets_nothing_and_comes_back(start: Start, engines: list[Engine]) -> None:
    gateway = start([key("alice")], engines=engines)
    for conversation in range(20):
        turn(gateway, conversation, 0)
    before = [home(engines, conversation)[0] for conversation in range(20)]
    drained = engines[before[0]]
    assert f"{drained.address}\tdrained" in gateway.admin("POST", f"/drain?engine={drained.address}")
    count = len(drained.requests)
    for conversation in range(20):
        turn(gateway, conversation, 1)
    assert len(drained.requests) == count
    for conversation in range(20):
        now = home(engines, conversation)[-1]
        assert (now == before[conversation]) == (engines[before[conversation]] is not drained)
    gateway.reload()
    assert f"{drained.address}\tdrained" in gateway.admin("GET", "/engines")
    gateway.admin("POST", f"/undrain?engine={drained.address}")
    for conversation in range(20):
        turn(gateway, conversation, 2)
    assert [home(engines, conversation)[-1] for conversation in range(20)] == before
    assert "no such engine" in gateway.admin("POST", "/drain?engine=127.0.0.1:1")


def test_draining_waits_for_open_streams(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    answers = []
    thread = threading.Thread(target=lambda: answers.append(gateway.chat("x tokens=20 pause=0.05", stream=True)))
    thread.start()
    wait_until(lambda: engine.running == 1)
    gateway.admin("POST", f"/drain?engine={engine.address}")
    refused = gateway.chat("x")
    assert (refused.status, refused.json()["error"]["code"]) == (503, "engine_unavailable")
    assert gateway.ask("GET", "/health", name=None).status == 503
    thread.join()
    assert answers[0].events()[-1] == "data: [DONE]"
    gateway.admin("POST", f"/undrain?engine={engine.address}")
    assert gateway.chat("x").status == 200


def test_another_engine_is_tried_before_the_first_byte_only(start: Start, engines: list[Engine]) -> None:
    gateway = start([key("alice")], engines=engines, health_seconds=60)
    engines[0].down()
    for conversation in range(12):
        turn(gateway, conversation, 0)
    answer = gateway.chat("once tokens=9 die=2", stream=True)
    assert "engine_died" in answer.body.decode()
    assert sum(request.name == "once" for engine in engines for request in engine.requests) == 1
    # One that closes without an answer costs a try at each of the others.
    assert gateway.chat("all die=-1").status == 502
    assert sum(request.name == "all" for engine in engines for request in engine.requests) >= 2


def test_a_dead_engine_is_noticed_and_comes_back(start: Start, engines: list[Engine]) -> None:
    gateway = start([key("alice")], engines=engines, health_seconds=1)
    engines[1].is_healthy = False
    address = engines[1].address
    wait_until(lambda: f"{address}\tdoes not answer /health" in gateway.admin("GET", "/engines"), 8)
    for conversation in range(10):
        turn(gateway, conversation, 0)
    assert not engines[1].requests
    assert gateway.metric(f'mistral_gateway_engine_up{{engine="{address}"}}') == 0
    engines[1].is_healthy = True
    wait_until(lambda: f"{address}\tready" in gateway.admin("GET", "/engines"), 8)


def test_a_busy_engine_is_relieved(start: Start, engines: list[Engine]) -> None:
    gateway = start([key("alice")], engines=engines)
    threads = [threading.Thread(target=lambda: gateway.chat("same words first=0.7")) for _ in range(9)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert sorted(engine.most for engine in engines)[-1] <= 5
    assert sum(len(engine.requests) for engine in engines) == 9
    assert "\t0\n" in gateway.admin("GET", "/engines")
