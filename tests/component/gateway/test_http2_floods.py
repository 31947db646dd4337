"""Floods of HTTP/2 frames: the gateway takes little of them, stays up, and serves others meanwhile."""

from __future__ import annotations

import itertools
import ssl
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.component.gateway import http2_frames as h2
from tests.component.gateway.counting_engine import Engine
from tests.component.gateway.nginx_host import Gateway, Start, key, wait_until
from tests.component.gateway.test_memory import memory_kib, processor_seconds

MIB = 1 << 20
CHAT = "/v1/chat/completions"
#: What goes to the gateway on a connection, endlessly; one that it closes is replaced.
Pieces = Callable[[], Iterator[bytes]]


def resets(*more: tuple[str, str]) -> Pieces:
    """Streams that are opened and given up at once (CVE-2023-44487)."""

    def pieces() -> Iterator[bytes]:
        fields = h2.request("GET", "/v1/models", *more)
        streams = itertools.count(1, 2)
        while True:
            yield b"".join(
                h2.frame(h2.HEADERS, stream, fields, h2.END_STREAM | h2.END_HEADERS)
                + h2.frame(h2.RST_STREAM, stream, h2.CANCEL)
                for stream in itertools.islice(streams, 50)
            )

    return pieces


def continuations(size: int) -> Pieces:
    """Fields of a request that have no end (VU#421644)."""

    def pieces() -> Iterator[bytes]:
        yield h2.frame(h2.HEADERS, 1, h2.request("GET", "/v1/models"))
        fields = h2.header("x", "y" * 100) * (size // 104)
        while True:
            yield h2.frame(h2.CONTINUATION, 1, fields) * 20

    return pieces


def endless(piece: bytes, first: bytes = b"") -> Pieces:
    def pieces() -> Iterator[bytes]:
        yield first + piece
        while True:
            yield piece

    return pieces


OPEN = h2.frame(h2.HEADERS, 1, h2.request("POST", CHAT), h2.END_HEADERS)
FLOODS: dict[str, Pieces] = {
    "rapid reset by a stranger": resets(),
    "rapid reset with a key": resets(("authorization", "Bearer sk-alice")),
    "continuation": continuations(16_000),
    "empty continuation": continuations(0),
    "settings": endless(h2.frame(h2.SETTINGS, payload=struct.pack(">HI", 4, 65_535)) * 200),
    "ping": endless(h2.frame(h2.PING, payload=b"12345678") * 200),
    "window updates": endless(h2.frame(h2.WINDOW_UPDATE, payload=struct.pack(">I", 1)) * 200),
    "priority": endless(h2.frame(h2.PRIORITY, 3, struct.pack(">IB", 0, 1)) * 200),
    "empty data": endless(h2.frame(h2.DATA, 1) * 200, first=OPEN),
}


@dataclass
class Flood:
    """A client that sends until it is told to stop, and reads what comes, or never."""

    gateway: Gateway
    pieces: Pieces
    reads: bool
    until: float
    sent: int = 0
    closed: int = 0
    failed: str = ""

    def run(self) -> None:
        try:
            while time.monotonic() < self.until:
                with h2.connect(self.gateway.tls_port) as sock:
                    self.connection(sock)
        # In a thread nobody else would see it.
        except Exception as error:
            self.failed = repr(error)

    def connection(self, sock: ssl.SSLSocket) -> None:
        try:
            for piece in self.pieces():
                sock.settimeout(0.5)
                sock.sendall(piece)
                self.sent += len(piece)
                if self.reads and not self.is_open(sock):
                    self.closed += 1
                    return
                if time.monotonic() > self.until:
                    return
        except TimeoutError:
            # It does not read any more either; this connection has done what it can.
            return
        except OSError:
            self.closed += 1

    @staticmethod
    def is_open(sock: ssl.SSLSocket) -> bool:
        sock.settimeout(0)
        try:
            while piece := sock.recv(65536):
                # Said by the gateway before it closes.
                if any(kind == h2.GOAWAY for kind, _stream, _payload in h2.frames(piece)):
                    return False
        except (ssl.SSLWantReadError, BlockingIOError):
            return True
        return False


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_frames_keeps_nobody_out(start: Start, engine: Engine, name: str) -> None:
    gateway = start([key("alice")])
    gateway.chat("warm")
    pids, before = gateway.worker_pids(), memory_kib(gateway)
    until = time.monotonic() + 1
    floods = [Flood(gateway, FLOODS[name], reads, until) for reads in (True, False)]
    threads = [threading.Thread(target=each.run) for each in floods]
    for thread in threads:
        thread.start()
    most, waits = before, []
    while any(thread.is_alive() for thread in threads):
        begun = time.monotonic()
        assert gateway.chat("others tokens=1").status == 200
        waits.append(time.monotonic() - begun)
        most = max(most, memory_kib(gateway))
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    sent = " and ".join(f"{each.sent // 1024} KiB ({each.closed} closed)" for each in floods)
    print(f"{name}: +{most - before} KiB, waits {statistics.median(waits):.3f} to {max(waits):.3f} s, sent {sent}")
    assert [each.failed for each in floods] == ["", ""]
    assert all(each.sent > 0 for each in floods)
    # The slowest one also waits for this test's own threads.
    assert statistics.median(waits) < 1
    assert most - before < 16 * 1024
    assert gateway.worker_pids() == pids
    # Nothing of it goes on: neither in the process, nor at the engine.
    wait_until(lambda: engine.running == 0)
    time.sleep(0.2)
    spent = processor_seconds(gateway)
    time.sleep(0.5)
    assert processor_seconds(gateway) - spent < 0.25


def test_streams_that_are_given_up_leave_the_engine(start: Start, engine: Engine) -> None:
    gateway = start([key("alice", concurrent=20)])
    body = b'{"messages":[{"role":"user","content":"reset tokens=1000 pause=0.05"}],"stream":true}'
    fields = h2.request("POST", CHAT, ("authorization", "Bearer sk-alice"))
    with h2.connect(gateway.tls_port) as sock:
        for stream in range(1, 601, 2):
            opened = h2.frame(h2.HEADERS, stream, fields, h2.END_HEADERS)
            sent = h2.frame(h2.DATA, stream, body, h2.END_STREAM)
            sock.sendall(opened + sent + h2.frame(h2.RST_STREAM, stream, h2.CANCEL))
        # The connection itself is as good as before.
        last = h2.request("GET", "/v1/models", ("authorization", "Bearer sk-alice"))
        sock.sendall(h2.frame(h2.HEADERS, 601, last, h2.END_STREAM | h2.END_HEADERS))
        received = b""
        with suppress(TimeoutError):
            while not any(kind == h2.DATA and stream == 601 for kind, stream, _payload in h2.frames(received)):
                piece = sock.recv(65536)
                assert piece, "the gateway has closed the connection"
                received += piece
    wait_until(lambda: engine.running == 0)
    wait_until(lambda: gateway.metric("mistral_gateway_running") == 0)
    assert engine.most <= 20
    # Each place is free again.
    assert gateway.chat("x").status == 200
