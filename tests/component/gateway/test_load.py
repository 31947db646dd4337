"""Many requests of all kinds, some aborted, through reloads and a killed process: the counts are the engine's."""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from tests.component.gateway.counting_engine import Engine
from tests.component.gateway.nginx_host import MODEL, Gateway, Start, chat, key, wait_until
from tests.component.gateway.test_limits import open_stream

COUNT, THREADS, ABORTED = int(os.environ.get("REQUESTS", "3000")), 24, 0.01


def one(gateway: Gateway, number: int) -> int:
    """A request of some kind; returns its status, 0 if it was aborted."""
    rng = random.Random(number)
    name = rng.choice(["alice", "bob", "carol"])
    tokens = rng.randrange(1, 12)
    if rng.random() < ABORTED:
        sock = open_stream(gateway, f"abort{number} tokens=500 pause=0.02", name)
        sock.settimeout(30)
        received = b""
        # What comes first can be the place in the queue.
        while b"chatcmpl-" not in received:
            received += sock.recv(4096)
        sock.close()
        return 0
    kind = rng.randrange(5)
    content = f"n{number} of the load tokens={tokens}"
    if kind < 3:
        return gateway.chat(content, name=name, stream=kind == 1).status
    if kind == 3:
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}]}
        return gateway.ask("POST", "/api/chat", body, name=name).status
    return gateway.ask("POST", "/v1/messages", {**chat(content), "max_tokens": 20}, name=name).status


def sums(gateway: Gateway) -> tuple[int, int]:
    rows = gateway.usage().values()
    return sum(row["tokens_in"] for row in rows), sum(row["tokens_out"] for row in rows)


def test_sums_are_the_engines_through_aborts_and_reloads(start: Start, engine: Engine) -> None:
    keys = [key(name, tokens_per_day=10**9, concurrent=50) for name in ("alice", "bob", "carol")]
    gateway = start(keys, workers=2, queue={"running": 12, "waiting": 100})
    over = threading.Event()

    def reloads() -> None:
        for _ in range(3):
            over.wait(2)
            gateway.reload()

    thread = threading.Thread(target=reloads)
    thread.start()
    with ThreadPoolExecutor(THREADS) as pool:
        statuses = list(pool.map(lambda number: one(gateway, number), range(COUNT)))
    over.set()
    thread.join()
    wait_until(lambda: engine.running == 0)
    aborted = [request for request in engine.requests if request.name.startswith("abort")]
    assert set(statuses) == {0, 200}
    assert len(engine.requests) == COUNT
    assert engine.most <= 12
    wait_until(lambda: gateway.metric("mistral_gateway_running") == 0)
    wait_until(lambda: sum("tokens_out" in entry for entry in gateway.access_log()) == COUNT)
    log = gateway.access_log()
    # What the engine writes in the moment in which a client leaves, the gateway need not read: an event at most.
    told = {entry["id"]: entry["tokens_out"] for entry in log}
    unread = [request.events - told[request.headers["x-request-id"]] for request in aborted]
    assert set(unread) <= {0, 1}
    # The prompts of the aborted are not known to the gateway.
    known_in = engine.tokens_in - sum(len(request.words) for request in aborted)
    found = sums(gateway)
    assert found == (known_in, engine.tokens_out - sum(unread))
    # The log and the metrics say the same.
    assert (sum(e["tokens_in"] for e in log), sum(e["tokens_out"] for e in log)) == found
    time.sleep(1.2)
    out = sum(
        gateway.metric(f'mistral_gateway_tokens_total{{key="{name}",model="{MODEL}",kind="out"}}')
        for name in ("alice", "bob", "carol")
    )
    assert out == found[1]


def test_a_killed_process_loses_no_more_than_it_had_open(start: Start, engine: Engine) -> None:
    gateway = start([key("alice", concurrent=40)], workers=2, queue={"running": 40, "waiting": 0})
    streams = [open_stream(gateway, f"s{number} tokens=100 pause=0.02") for number in range(20)]
    wait_until(lambda: engine.running == 20)
    time.sleep(0.5)
    gateway.kill_worker()
    for sock in streams:
        sock.settimeout(20)
        with suppress(ConnectionError):
            while (piece := sock.recv(65536)) and not piece.endswith(b"0\r\n\r\n"):
                pass
        sock.close()
    wait_until(lambda: engine.running == 0)
    wait_until(lambda: gateway.metric("mistral_gateway_running") == 0)
    lost = engine.tokens_out - sums(gateway)[1]
    assert 0 <= lost <= 20
    assert gateway.chat("x").status == 200
    assert gateway.usage()["alice", MODEL]["requests"] == 21
