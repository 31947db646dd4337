"""What people send who look for a hole: HTTP that can be read in two ways, odd paths, idle clients, equal hashes."""

from __future__ import annotations

import itertools
import json
import re
import socket
import time
from contextlib import ExitStack, suppress

import pytest

from tests.component.gateway.counting_engine import Engine
from tests.component.gateway.nginx_host import Gateway, Start, chat, key
from tests.component.gateway.test_memory import processor_seconds

CHAT = "/v1/chat/completions"
POST = f"POST {CHAT} HTTP/1.1"
BODY = json.dumps(chat("x tokens=1")).encode()
LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
HIDDEN = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"


def raw(gateway: Gateway, data: bytes) -> bytes:
    """All that comes back until the connection is closed, or nothing comes for a while."""
    received = b""
    # What was refused may be reset after its answer, or kept open for a body; the answer is what the tests look at.
    with (
        socket.create_connection(("127.0.0.1", gateway.port), timeout=8) as sock,
        suppress(TimeoutError, ConnectionError),
    ):
        sock.sendall(data)
        while piece := sock.recv(65536):
            received += piece
    return received


def request(
    *headers: str,
    line: str = f"POST {CHAT} HTTP/1.1",
    body: bytes = BODY,
    host: str = "Host: x",
    api_key: str = "alice",
) -> bytes:
    lines = [line, *([host] if host else []), f"Authorization: Bearer sk-{api_key}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def statuses(received: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(LENGTH, "Authorization: Bearer sk-alice"), 400),
        (request(LENGTH, "Host: y"), 400),
        (request(LENGTH, host=""), 400),
        (request(LENGTH, "Transfer-Encoding: chunked", body=CHUNKED + HIDDEN), 400),
        (request("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNKED), 400),
        (request(LENGTH, "Content-Length: 5"), 400),
        (request(LENGTH, LENGTH), 400),
        (request("Content-Length: -1"), 400),
        (request("Content-Length : 5"), 400),
        (request("Transfer-Encoding: chunked", body=b"-1\r\n"), 400),
        (request("Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\n"), 400),
        (request("Transfer-Encoding: chunked", line=f"POST {CHAT} HTTP/1.0", body=CHUNKED), 400),
        (request("Transfer-Encoding: xchunked", body=CHUNKED), 501),
        (request("Transfer-Encoding: chunked, identity", body=CHUNKED), 501),
        (request(LENGTH, "X-Folded: a\r\n b"), 400),
        (request(LENGTH, "X-Zero: a\0b"), 400),
        (request(LENGTH, line=f"POST {CHAT} HTTP/3.0"), 505),
        (request(LENGTH, line=f"post {CHAT} HTTP/1.1"), 400),
        (request(LENGTH, line="POST /v1/chat%00/completions HTTP/1.1"), 400),
        (request(LENGTH, line=f"POST /{'x' * 9000} HTTP/1.1"), 414),
        (request(LENGTH, f"X-Long: {'x' * 40_000}"), 400),
        (request(LENGTH, *(f"X-{number}: {'x' * 7000}" for number in range(6))), 400),
        (request("Content-Length: 60000000", body=b""), 413),
        (request(f"Content-Length: {2 * len(BODY)}", body=BODY.decode().encode("utf-16-le")), 400),
        (request("Content-Length: 0", body=b""), 400),
        (request(LENGTH, "Content-Encoding: gzip"), 415),
        (request(LENGTH, line=f"POST {CHAT}?api_key=sk-alice HTTP/1.1", api_key="none"), 401),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(start: Start, engine: Engine, data: bytes, status: int) -> None:
    gateway = start([key("alice")])
    received = raw(gateway, data)
    assert statuses(received) == [status], received[:400]
    assert b'{"error":{' in received
    assert b"<html" not in received
    assert engine.requests == []
    # What was refused has left nothing behind.
    assert gateway.chat("x").status == 200


CHATS = [f"/{CHAT}", "//v1//chat/completions", "/%76%31/chat/completions", "/v1/./chat/completions"]
OTHERS = [f"{CHAT}/", f"{CHAT};x", CHAT.upper(), "/v1/..;/v1/chat/completions", "/metrics", "/ui/", "/docs", "/re_isq"]
OTHERS += ["/_mistral/x", "/@engine", "/v1/files"]


@pytest.mark.parametrize(
    ("path", "status"),
    # The last is the model of that name, which can be looked at only.
    [*((path, 200) for path in CHATS), *((path, 404) for path in OTHERS), ("/v1/models/unload", 405)],
    ids=str,
)
def test_one_path_has_one_meaning(start: Start, engine: Engine, path: str, status: int) -> None:
    gateway = start([key("alice")])
    assert statuses(raw(gateway, request(LENGTH, line=f"POST {path} HTTP/1.1"))) == [status]
    assert [found.path for found in engine.requests] == ([CHAT] if status == 200 else [])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "FOO"])
def test_other_methods(start: Start, engine: Engine, method: str) -> None:
    gateway = start([key("alice")])
    found = statuses(raw(gateway, request(LENGTH, "X-HTTP-Method-Override: POST", line=f"{method} {CHAT} HTTP/1.1")))
    assert found in ([405], [400])
    assert engine.requests == []


def test_each_request_of_a_connection_shows_its_key(start: Start, engine: Engine) -> None:
    gateway = start([key("alice")])
    first = request(LENGTH).replace(b"Connection: close\r\n", b"")
    second = request(LENGTH).replace(b"Authorization: Bearer sk-alice\r\n", b"")
    assert statuses(raw(gateway, first + second)) == [200, 401]
    assert len(engine.requests) == 1


def test_who_asks_first_is_told_to_go_on_with_a_key_only(start: Start) -> None:
    gateway = start([key("alice")])
    assert statuses(raw(gateway, request(LENGTH, "Expect: 100-continue"))) == [100, 200]
    assert statuses(raw(gateway, request(LENGTH, "Expect: 100-continue", api_key="none", body=b""))) == [401]


def test_idle_connections_keep_nobody_out(start: Start) -> None:
    gateway = start([key("alice")])
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port))) for _ in range(900)]
        for number, sock in enumerate(idle):
            sock.sendall(b"POST /v1/" if number % 2 else b"")
        begun = time.monotonic()
        for _ in range(20):
            assert gateway.chat("x tokens=1").status == 200
        assert time.monotonic() - begun < 15
        # Who says nothing is left.
        for sock in idle[:20]:
            sock.settimeout(30)
            assert sock.recv(100) == b""


def colliding(count: int) -> list[str]:
    """Texts of 64 bytes that differ only where the LuaJIT of Debian 12 does not look for its hash."""
    letters = "abcdefghijklmnop"
    middles = itertools.islice(itertools.product(letters, repeat=5), count)
    return ["k" * 40 + "".join(middle) + "k" * 19 for middle in middles]


def test_texts_of_one_hash(start: Start) -> None:
    gateway = start([key("alice")])
    gateway.chat("warm")
    names = dict.fromkeys(colliding(60_000), "x")
    function = {"name": "f", "parameters": {"type": "object", "properties": names}}
    body = json.dumps(chat("x", tools=[{"type": "function", "function": function}])).encode()
    before = processor_seconds(gateway)
    # Too many values or not: what counts is how long it takes to say so.
    assert gateway.ask("POST", CHAT, body).status in (200, 400)
    assert processor_seconds(gateway) - before < 1
