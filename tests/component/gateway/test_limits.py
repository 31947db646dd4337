"""What a key may do: exact under load, with killed processes, over reload and restart."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from tests.component.gateway.counting_engine import Engine
from tests.component.gateway.nginx_host import Gateway, Start, chat, key, wait_until


def away_from_the_end_of_a_minute(seconds: float = 10) -> None:
    if time.time() % 60 > 60 - seconds:
        time.sleep(60.1 - time.time() % 60)


def statuses(gateway: Gateway, count: int, content: str, name: str = "alice", threads: int = 16) -> Counter[int]:
    with ThreadPoolExecutor(threads) as pool:
        return Counter(answer.status for answer in pool.map(lambda _: gateway.chat(content, name=name), range(count)))


def open_stream(gateway: Gateway, content: str, name: str = "alice") -> socket.socket:
    """A stream that nobody reads yet."""
    body = json.dumps(chat(content, stream=True)).encode()
    sock = socket.create_connection(("127.0.0.1", gateway.port))
    sock.sendall(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-{name}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return sock


def test_requests_in_a_minute_are_exact_for_several_processes(start: Start, engine: Engine) -> None:
    gateway = start([key("alice", requests_per_minute=50), key("bob")], workers=2)
    away_from_the_end_of_a_minute(15)
    assert statuses(gateway, 120, "x") == {200: 50, 429: 70}
    assert len(engine.requests) == 50
    refused = gateway.chat("x")
    retry = int(refused.headers["retry-after"])
    assert abs(retry - (60 - time.time() % 60)) < 2
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert gateway.chat("x", name="bob").status == 200


def test_requests_at_once_are_exact_also_after_a_killed_process(start: Start, engine: Engine) -> None:
    gateway = start([key("alice", concurrent=3)], workers=2)
    assert statuses(gateway, 12, "x first=1", threads=12) == {200: 3, 429: 9}
    assert engine.most == 3
    streams = [open_stream(gateway, "x tokens=1000 pause=0.05") for _ in range(3)]
    wait_until(lambda: engine.running == 3)
    assert gateway.chat("x").status == 429
    # Both processes are killed one after the other, whichever has the streams.
    for _ in range(2):
        gateway.kill_worker()
    wait_until(lambda: engine.running == 0)
    assert statuses(gateway, 12, "x first=1", threads=12) == {200: 3, 429: 9}
    assert engine.most == 3
    for sock in streams:
        sock.close()


def test_who_hangs_up_gives_the_place_back(start: Start, engine: Engine) -> None:
    gateway = start([key("alice", concurrent=1)])
    for content in ("x tokens=1000 pause=0.05", "y first=30"):
        sock = open_stream(gateway, content)
        wait_until(lambda: engine.running == 1)
        assert gateway.chat("x").status == 429
        sock.close()
        wait_until(lambda: engine.running == 0, 2)
        assert gateway.chat("x").status == 200


def test_tokens_of_a_minute_and_a_day_survive_reload_and_restart(start: Start) -> None:
    gateway = start([key("alice", tokens_per_day=100), key("bob", tokens_per_minute=50)])
    away_from_the_end_of_a_minute(25)
    for _ in range(2):
        # Two words of a prompt, 48 of an answer; the second request begins below the limit.
        assert gateway.chat("x tokens=48", name="bob").status in (200, 429)
        assert gateway.chat("x tokens=48").status == 200
    refused = gateway.chat("x")
    assert refused.status == 429
    assert "100" in refused.json()["error"]["message"]
    assert abs(int(refused.headers["retry-after"]) - (86400 - time.time() % 86400)) < 2
    assert gateway.chat("x", name="bob").status == 429
    gateway.reload()
    assert gateway.chat("x").status == 429
    gateway.stop()
    gateway.start()
    assert gateway.chat("x").status == 429
    assert gateway.chat("x", name="bob").status == 429
    assert gateway.usage()["alice", "smollm2-q4_1"]["tokens_out"] == 96


def test_counts_are_on_the_disk_when_all_is_killed(start: Start) -> None:
    gateway = start([key("alice", tokens_per_day=10)])
    assert gateway.chat("x tokens=20").status == 200
    file = gateway.folder / "state" / "limits.tsv"
    wait_until(lambda: file.exists() and "tokens:alice:day" in file.read_text(), 12)
    pids = gateway.worker_pids()
    gateway.stop(signal.SIGKILL)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    (gateway.folder / "admin.sock").unlink()
    gateway.start()
    assert gateway.chat("x").status == 429


def test_a_new_limit_holds_after_a_reload_and_open_streams_go_on(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    received: list[bytes] = []

    def read() -> None:
        received.append(gateway.chat("x tokens=40 pause=0.05", stream=True).body)

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: engine.running == 1)
    gateway.plan["keys"] = [key("alice", concurrent=1), key("new")]
    gateway.reload()
    assert gateway.chat("x", name="new").status == 200
    reader.join()
    assert received[0].count(b"chatcmpl-") == 41
    assert received[0].endswith(b"data: [DONE]\n\n")


def test_a_plan_with_an_error_leaves_the_old_one_in_force(start: Start) -> None:
    gateway = start([key("alice")])
    gateway.plan["keys"] = [{"name": "alice", "sha256": "short"}]
    gateway.write()
    gateway.send(signal.SIGHUP)
    wait_until(lambda: "sha256 must be" in gateway.log())
    assert gateway.chat("x").status == 200
