"""Many open streams over TLS, through two reloads: none is cut. `make test-all` has 2,000 of them (STREAMS)."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import ssl
import time

import pytest

from tests.component.gateway.counting_engine import Engine
from tests.component.gateway.nginx_host import Gateway, Start, chat, key, wait_until
from tests.component.gateway.test_memory import memory_kib

COUNT = int(os.environ.get("STREAMS", "300"))
TOKENS = 20
# The engine of the tests writes some thousands of events in a second. All streams have to be open before the first one
# ends, on a busy machine too, and the last one ends before the old processes are told to (worker_shutdown_timeout).
PAUSE = max(1.0, COUNT / 800)
#: The gateway takes at most 1,000 requests at a time from an address, and not many more with a key.
PER_ADDRESS = 500
KEYS = [f"key{number}" for number in range(-(-COUNT // PER_ADDRESS))]


@pytest.fixture(autouse=True)
def files() -> None:
    """One for each stream here, one at the engine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * COUNT + 500
    if needed > hard:
        pytest.fail(f"{COUNT} streams need {needed} open files, and the limit is {hard}: set STREAMS to fewer")
    if needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class Clients:
    """Streams, each on a connection of its own."""

    def __init__(self, gateway: Gateway) -> None:
        self.port = gateway.tls_port
        self.ends: list[bytes] = []
        self.failed: list[str] = []
        self.trust = ssl.create_default_context(cafile=str(gateway.folder / "ca.pem"))
        body = json.dumps(chat(f"s tokens={TOKENS} pause={PAUSE}", stream=True)).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        self.data = [f"{head}Authorization: Bearer sk-{name}\r\n\r\n".encode() + body for name in KEYS]
        self.opening = asyncio.Semaphore(50)

    async def one(self, number: int) -> None:
        group = number // PER_ADDRESS
        address = f"127.0.0.{2 + group}"
        try:
            async with self.opening:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, ssl=self.trust, server_hostname="localhost", local_addr=(address, 0),
                    ssl_handshake_timeout=120,
                )  # fmt: skip
                writer.write(self.data[group])
            end = b""
            while not end.endswith(b"0\r\n\r\n") and (piece := await reader.read(65536)):
                end = (end + piece)[-200:]
            self.ends.append(end)
            writer.close()
        except OSError as error:
            self.failed.append(repr(error))

    async def all(self, gateway: Gateway, engine: Engine) -> tuple[int, int]:
        """Open all, reload twice, and wait for their ends; the workers' memory in KiB before and with them."""
        before = memory_kib(gateway)
        tasks = [asyncio.create_task(self.one(number)) for number in range(COUNT)]
        await asyncio.to_thread(wait_until, lambda: engine.running == COUNT or self.failed, 120)
        most = memory_kib(gateway)
        for _number in range(2):
            await asyncio.to_thread(gateway.reload)
            assert engine.running == COUNT, "a stream has ended before the reloads"
        await asyncio.gather(*tasks)
        return before, most


def test_many_streams_stand_two_reloads(start: Start, engine: Engine) -> None:
    gateway = start([key(name, concurrent=1000) for name in KEYS], workers=2)
    clients = Clients(gateway)
    begun = time.monotonic()
    before, most = asyncio.run(clients.all(gateway, engine))
    each = (most - before) / COUNT
    print(f"{COUNT} streams of {TOKENS} events in {time.monotonic() - begun:.1f} s, {each:.0f} KiB each with TLS")
    assert clients.failed == []
    assert len(clients.ends) == COUNT
    assert all(b"data: [DONE]" in end for end in clients.ends)
    assert [found.end for found in engine.requests] == ["complete"] * COUNT
    assert sum(row["tokens_out"] for row in gateway.usage().values()) == COUNT * TOKENS
