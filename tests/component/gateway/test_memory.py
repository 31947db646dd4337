"""What large bodies, strangers and streams cost in memory, and how long others wait meanwhile."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from tests.component.gateway.counting_engine import Engine
from tests.component.gateway.nginx_host import MODEL, Gateway, Start, chat, key, wait_until
from tests.component.gateway.test_limits import open_stream


def memory_kib(gateway: Gateway) -> int:
    total = 0
    for pid in gateway.worker_pids():
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            total += next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    return total


def processor_seconds(gateway: Gateway) -> float:
    total = 0
    for pid in gateway.worker_pids():
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def test_large_bodies_without_a_key_cost_nothing(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    gateway.chat("warm")
    before = memory_kib(gateway)
    socks = []
    for _ in range(20):
        sock = socket.create_connection(("127.0.0.1", gateway.port))
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 19000000\r\n\r\n" + b"x" * 100_000
        )
        socks.append(sock)
    for sock in socks:
        sock.settimeout(5)
        assert sock.recv(1000).startswith(b"HTTP/1.1 401")
        sock.close()
    assert memory_kib(gateway) - before < 4 * 1024
    assert len(engine.requests) == 1


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda: json.dumps(chat("x " * 22_000_000)).encode(), 200),
        (lambda: b'{"model":"' + MODEL.encode() + b'","messages":[' + b"[]," * 16_000_000 + b"[]]}", 400),
    ],
    ids=["45 MB of text", "48 MB of lists"],
)
def test_others_wait_little_for_a_large_body(start: Start, make: object, status: int) -> None:
    gateway = start([key("alice")])
    gateway.chat("warm")
    body = make()  # type: ignore[operator]
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(gateway.ask("POST", "/v1/chat/completions", body).status))
    thread.start()
    slowest, before = 0.0, processor_seconds(gateway)
    while thread.is_alive():
        begun = time.monotonic()
        assert gateway.ask("GET", "/health", name=None).status == 200
        slowest = max(slowest, time.monotonic() - begun)
    assert answers == [status]
    spent = processor_seconds(gateway) - before
    print(f"others waited for {slowest * 1000:.0f} ms at most, the process worked for {spent * 1000:.0f} ms")
    # The wait itself hangs on what else this machine does.
    assert spent < 0.7


def test_a_stream_does_not_grow(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    gateway.chat("warm tokens=500", stream=True)
    sock = open_stream(gateway, "long tokens=20000")
    received = 0
    wait_until(lambda: engine.has("long", 500), 20)
    before = memory_kib(gateway)
    most = before
    sock.settimeout(30)
    while piece := sock.recv(1 << 20):
        received += len(piece)
        most = max(most, memory_kib(gateway))
        if piece.endswith(b"0\r\n\r\n"):
            break
    assert received > 4_000_000
    assert most - before < 3 * 1024
