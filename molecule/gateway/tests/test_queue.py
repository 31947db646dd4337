"""An engine that gets one request at a time while the others wait for their turn, as plan.yml says.

The stand-in counts the requests that it works on at the same time. It goes on with a whole answer whose client has
gone, and ends a stream whose client has gone: mistral.rs 0.8.1 (crates.io) on a CPU was seen to do both.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

HostCommand = Callable[..., str]
LENGTH, PATIENCE = 8, 6


@pytest.fixture
def load(on_host: HostCommand) -> Callable[[], dict[str, Any]]:
    """What ran at the same time since the last call."""
    program = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:11434/load').read().decode())"

    def ask() -> dict[str, Any]:
        found = json.loads(on_host("python3", "-c", program))
        assert isinstance(found, dict)
        return found

    return ask


@pytest.fixture
def clients(client: httpx.Client) -> Iterator[ThreadPoolExecutor]:
    client.get("/health")
    with ThreadPoolExecutor(32) as pool:
        yield pool


@pytest.fixture(autouse=True)
def idle(load: Callable[[], dict[str, Any]]) -> None:
    end = time.monotonic() + 30
    while load()["running"]:
        assert time.monotonic() < end
        time.sleep(0.2)
    load()


def work(client: httpx.Client, name: str, how: str = "work") -> httpx.Response:
    return client.post("/v1/completions", json={"prompt": f"{how} {name}"})


def start(clients: ThreadPoolExecutor, client: httpx.Client, name: str, how: str = "work") -> Future[httpx.Response]:
    """Ask in a thread, and give the request time to arrive before the next one."""
    future = clients.submit(work, client, name, how)
    time.sleep(0.25)
    return future


def test_one_at_a_time_and_in_order(
    client: httpx.Client, clients: ThreadPoolExecutor, load: Callable[[], dict[str, Any]]
) -> None:
    names = list("abcdef")
    answers = [start(clients, client, name) for name in names]
    for name, answer in zip(names, answers):
        assert answer.result().status_code == 200
        assert json.loads(answer.result().json()["choices"][0]["text"])["body"]["prompt"] == f"work {name}"
    assert load() == {"running": 0, "most": 1, "names": names}


def test_all_at_once(client: httpx.Client, clients: ThreadPoolExecutor, load: Callable[[], dict[str, Any]]) -> None:
    answers = list(clients.map(lambda name: work(client, name), "abcdefgh"))
    assert [answer.status_code for answer in answers] == [200] * 8
    found = load()
    assert (found["most"], sorted(found["names"])) == (1, list("abcdefgh"))


def test_streams_wait_and_are_waited_for(
    client: httpx.Client, clients: ThreadPoolExecutor, load: Callable[[], dict[str, Any]]
) -> None:
    def stream() -> list[str]:
        with client.stream("POST", "/v1/completions", json={"prompt": "slow", "stream": True}) as answer:
            assert answer.status_code == 200
            # While it waits it hears which place it has.
            return [line for line in answer.iter_lines() if line and not line.startswith(":")]

    streams = [clients.submit(stream), clients.submit(stream)]
    time.sleep(0.3)
    answer = start(clients, client, "last")
    for running in streams:
        lines = running.result()
        assert (len(lines), lines[-1]) == (21, "data: [DONE]")
    assert answer.result().status_code == 200
    assert load()["most"] == 1


def busy(answer: httpx.Response, message: str, status: int, kind: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].partition(";")[0] == "application/json"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["X-Request-Id"]
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == (kind, "engine_busy", None)
    assert message in error["message"]


def test_a_full_queue_refuses_at_once(
    client: httpx.Client, clients: ThreadPoolExecutor, load: Callable[[], dict[str, Any]]
) -> None:
    first = start(clients, client, "first", "work-long")
    waiting = [clients.submit(work, client, f"w{number}") for number in range(LENGTH)]
    time.sleep(1)
    began = time.monotonic()
    busy(work(client, "refused"), "as many requests wait as may", 429, "rate_limit_error")
    assert time.monotonic() - began < 1
    # Neither needs a turn.
    assert client.get("/v1/models").status_code == 200
    assert client.get("/health").status_code == 200
    assert time.monotonic() - began < 2
    assert first.result().status_code == 200
    assert {answer.result().status_code for answer in waiting} <= {200, 503}
    found = load()
    assert found["most"] == 1
    assert "refused" not in found["names"]


def test_a_wait_that_is_too_long(
    client: httpx.Client, clients: ThreadPoolExecutor, load: Callable[[], dict[str, Any]]
) -> None:
    running = [start(clients, client, name, "work-long") for name in "abc"]
    began = time.monotonic()
    busy(work(client, "late"), f"waited {PATIENCE} seconds", 503, "server_error")
    assert PATIENCE - 0.5 < time.monotonic() - began < PATIENCE + 2
    assert [answer.result().status_code for answer in running] == [200] * 3
    found = load()
    assert (found["most"], found["names"]) == (1, ["a", "b", "c"])


def test_a_client_that_hangs_up_while_waiting_is_not_served(
    client: httpx.Client, clients: ThreadPoolExecutor, load: Callable[[], dict[str, Any]]
) -> None:
    first = start(clients, client, "first", "work-long")
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/completions", json={"prompt": "work gone"}, timeout=0.5)
    last = start(clients, client, "last")
    assert first.result().status_code == last.result().status_code == 200
    assert load() == {"running": 0, "most": 1, "names": ["first", "last"]}


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_keeps_its_place_until_the_engine_has_finished(
    client: httpx.Client, clients: ThreadPoolExecutor, load: Callable[[], dict[str, Any]], stream: bool
) -> None:
    if stream:
        with client.stream("POST", "/v1/completions", json={"prompt": "slow", "stream": True}) as answer:
            next(answer.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/completions", json={"prompt": "work-long gone"}, timeout=0.5)
    began = time.monotonic()
    assert work(client, "next").status_code == 200
    assert time.monotonic() - began < 5
    found = load()
    assert (found["most"], found["names"][-1]) == (1, "next")


def test_requests_that_are_refused_before_take_no_place(
    client: httpx.Client, clients: ThreadPoolExecutor, load: Callable[[], dict[str, Any]]
) -> None:
    first = start(clients, client, "first", "work-long")
    began = time.monotonic()
    assert client.post("/v1/completions", json={"model": "gpt-4o", "prompt": "x"}).status_code == 404
    assert client.post("/v1/completions", content=b"{").status_code == 400
    assert time.monotonic() - began < 1
    assert first.result().status_code == 200


def test_errors_of_the_engine_give_the_place_back(client: httpx.Client, load: Callable[[], dict[str, Any]]) -> None:
    for prompt, status in [("refuse", 500), ("refuse-text", 400), ("refuse", 500)]:
        assert client.post("/v1/completions", json={"prompt": prompt}).status_code == status
    began = time.monotonic()
    assert work(client, "next").status_code == 200
    assert time.monotonic() - began < 2


def test_an_engine_that_answers_too_late_is_left_alone_for_a_while(
    client: httpx.Client, clients: ThreadPoolExecutor, load: Callable[[], dict[str, Any]]
) -> None:
    # The gateway gives up after five seconds, the engine works for seven.
    late = work(client, "late", "work-too-long")
    assert (late.status_code, late.json()["error"]["code"]) == (504, "engine_timeout")
    assert work(client, "next").status_code == 200
    assert load() == {"running": 0, "most": 1, "names": ["late", "next"]}


def test_a_worker_that_dies_gives_its_place_back(
    client: httpx.Client, clients: ThreadPoolExecutor, on_host: HostCommand, load: Callable[[], dict[str, Any]]
) -> None:
    gone = start(clients, client, "gone", "work-long")
    on_host("sh", "-c", "kill -9 $(pgrep -P $(cat /run/nginx.pid))")
    with pytest.raises(httpx.TransportError):
        gone.result()
    time.sleep(1)
    assert work(client, "next").status_code == 200
    assert load()["names"] == ["gone", "next"]


def test_a_reload_keeps_the_queue(
    url: str,
    trust: ssl.SSLContext,
    client: httpx.Client,
    clients: ThreadPoolExecutor,
    on_host: HostCommand,
    load: Callable[[], dict[str, Any]],
) -> None:
    before = [start(clients, client, name, "work-long") for name in "ab"]
    on_host("systemctl", "reload", "nginx")
    time.sleep(0.5)
    with httpx.Client(base_url=url, verify=trust, timeout=60, headers=client.headers, trust_env=False) as new:
        after = start(clients, new, "c")
        assert [answer.result().status_code for answer in (*before, after)] == [200] * 3
    found = load()
    assert (found["most"], sorted(found["names"])) == (1, ["a", "b", "c"])


@pytest.mark.parametrize("count", [2, 5])
def test_one_request_for_several_answers_is_refused(client: httpx.Client, count: object) -> None:
    # The engine computes them at the same time, as it would the answers to several requests.
    answer = client.post("/v1/completions", json={"prompt": "x", "n": count})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "n"
    assert answer.json()["error"]["code"] == "unsupported_value"


@pytest.mark.parametrize("count", [1, None])
def test_one_answer_may_be_asked_for(client: httpx.Client, count: object) -> None:
    assert client.post("/v1/completions", json={"prompt": "x", "n": count}).status_code == 200
