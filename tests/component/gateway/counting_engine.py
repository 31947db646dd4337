"""An engine that counts what it is asked, in the shapes of mistral.rs: every answer is one of tests/recordings.

From tests/recordings/mistralrs-0.9.2+7/http: chat, completions, messages, health (answers), chat_stream,
completions_stream, messages_stream (an event, repeated; the last events), chat_tools_named_stream (an error in a
stream); from mistralrs-0.8.1: chat_tools_named_stream (the same in plain text). Replaced are texts, ids, counts.

The last message (or prompt) steers it with words `name=value`: `tokens` of the answer (default 5), `pause` before each
of them and `first` before the answer (seconds), `die` after so many events (0: before the first, -1: before the
headers; `how=rst`), `error=plain` or `error=json` after the first event, `status=N` with `say=TEXT`, `recorded=NAME`.
Tokens of the prompt are its words. It runs in a thread of the test, which reads its counts.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.component.contract.recorded import Exchange, load

VERSION = "mistralrs-0.9.2+7"
RECORDED = load(VERSION)
RECORDED_PLAIN = load("mistralrs-0.8.1")


@dataclass
class Request:
    """One request as it arrived, and what became of it."""

    path: str
    headers: dict[str, str]
    body: bytes
    words: list[str] = field(default_factory=list)
    events: int = 0
    end: str = "running"
    at: float = field(default_factory=time.monotonic)
    ended_at: float = 0

    @property
    def name(self) -> str:
        return self.words[0] if self.words else ""


class Gone(Exception):
    """The client has left."""


def _words(body: dict[str, Any]) -> list[str]:
    messages = body.get("messages")
    text = messages[-1]["content"] if messages else body.get("prompt", body.get("input", ""))
    if isinstance(text, list):
        text = " ".join(part.get("text", "") if isinstance(part, dict) else str(part) for part in text)
    return str(text).split()


class Engine:
    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.tokens_in = self.tokens_out = self.most = self.running = self.number = 0
        self.port = 0
        self.is_healthy = True
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> Engine:
        self._thread.start()
        self._ready.wait(10)
        return self

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**26, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    def _call(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def down(self) -> None:
        """Stops listening and cuts all connections, as a killed engine."""

        async def close() -> None:
            assert self._server is not None
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()

        self._call(close())

    def up(self) -> None:
        self._call(self._listen())

    def stop(self) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def has(self, name: str, events: int = 0) -> bool:
        """Whether the request whose first word is this has come, and got so many events of its answer."""
        return any(request.name == name and request.events >= events for request in self.requests)

    def named(self, name: str) -> Request:
        return next(request for request in self.requests if request.name == name)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, Gone):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        path = first.split(" ")[1]
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if path == "/health":
            status = 200 if self.is_healthy else 503
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nOK".encode())
            await writer.drain()
            return headers.get("connection") != "close"
        request = Request(path, headers, body)
        self.requests.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        watch = asyncio.ensure_future(reader.read(1))
        try:
            await Answering(self, request, writer, watch).answer()
            request.end = "complete" if request.end == "running" else request.end
            return request.end == "complete"
        except (Gone, ConnectionError):
            request.end = "client gone"
            return False
        finally:
            self.running -= 1
            # The next request's first byte is not for the watch.
            watch.cancel()
            await asyncio.wait({watch})
            request.ended_at = time.monotonic()


class Answering:
    """One answer."""

    def __init__(
        self, engine: Engine, request: Request, writer: asyncio.StreamWriter, watch: asyncio.Future[bytes]
    ) -> None:
        self.engine, self.request, self.writer, self.watch = engine, request, writer, watch

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            await asyncio.wait({self.watch}, timeout=seconds)
        else:
            await asyncio.sleep(0)
        if self.watch.done():
            raise Gone

    def head(self, status: int, exchange: Exchange, length: int | None) -> None:
        lines = [f"HTTP/1.1 {status} Recorded"]
        for name, value in exchange.response.headers:
            if name not in ("content-length", "transfer-encoding", "connection", "date"):
                lines.append(f"{name}: {value}")
        lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def chunk(self, text: str) -> None:
        data = text.encode()
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self.writer.drain()

    async def whole(self, status: int, exchange: Exchange, text: str) -> None:
        data = text.encode()
        self.head(status, exchange, len(data))
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> None:
        body = json.loads(self.request.body)
        words = self.request.words = _words(body)
        asked = dict(word.split("=", 1) for word in words if "=" in word)
        tokens, pause = int(asked.get("tokens", "5")), float(asked.get("pause", "0"))
        if asked.get("die") == "-1":
            self.request.end = "died"
            return
        await self.sleep(float(asked.get("first", "0")))
        if "status" in asked:
            status, say = int(asked["status"]), asked.get("say", "no").replace("_", " ")
            await self.whole(status, RECORDED["chat_unknown_model"], json.dumps({"message": say}))
            return
        if "recorded" in asked:
            exchange = RECORDED[asked["recorded"]]
            await self.whole(exchange.response.status, exchange, exchange.response.body)
            return
        self.engine.number += 1
        self.engine.tokens_in += len(words)
        if body.get("stream"):
            await self.stream(tokens, pause, asked)
        else:
            await self.sleep(tokens * pause)
            # Counted first: whoever has read the answer finds it counted.
            self.engine.tokens_out += tokens
            await self.whole(200, *self.document(tokens))

    def usage(self, tokens: int) -> dict[str, Any]:
        prompt = len(self.request.words)
        if self.request.path == "/v1/messages":
            return {"input_tokens": prompt, "output_tokens": tokens}
        return {"completion_tokens": tokens, "prompt_tokens": prompt, "total_tokens": prompt + tokens}

    def document(self, tokens: int) -> tuple[Exchange, str]:
        name = {"/v1/chat/completions": "chat", "/v1/completions": "completions", "/v1/messages": "messages"}
        exchange = RECORDED[name[self.request.path]]
        document = json.loads(exchange.response.body)
        document["id"] = str(self.engine.number)
        document["usage"] = {**document["usage"], **self.usage(tokens)}
        text = "word " * tokens
        if "content" in document:
            document["content"][0]["text"] = text
        elif "message" in document["choices"][0]:
            document["choices"][0]["message"]["content"] = text
        else:
            document["choices"][0]["text"] = text
        return exchange, json.dumps(document, separators=(",", ":"))

    async def stream(self, tokens: int, pause: float, asked: dict[str, str]) -> None:
        name = {
            "/v1/chat/completions": "chat_stream",
            "/v1/completions": "completions_stream",
            "/v1/messages": "messages_stream",
        }[self.request.path]
        exchange = RECORDED[name]
        events = list(exchange.response.events or ())
        die = int(asked.get("die", "1000000"))
        begin = events[:2] if name == "messages_stream" else []
        piece = events[2] if begin else events[0]
        end = events[-3:] if begin else events[-2:] if name == "chat_stream" else events[-1:]
        self.head(200, exchange, None)
        for event in begin:
            await self.chunk(self.event(event, tokens))
        for index in range(tokens):
            if index == die:
                self.request.end = "died"
                self.writer.transport.abort() if asked.get("how") == "rst" else self.writer.close()
                return
            if index == 1 and "error" in asked:
                said = (RECORDED if asked["error"] == "json" else RECORDED_PLAIN)["chat_tools_named_stream"]
                for event in said.response.events or ():
                    await self.chunk(event)
                self.writer.write(b"0\r\n\r\n")
                return
            await self.sleep(pause)
            await self.chunk(self.event(piece, tokens))
            self.request.events += 1
            self.engine.tokens_out += 1
        for event in end:
            await self.chunk(self.event(event, tokens))
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    def event(self, text: str, tokens: int) -> str:
        head, _, data = text.partition("data: ")
        if not data.startswith("{"):
            return text
        document = json.loads(data)
        if "id" in document:
            document["id"] = str(self.engine.number)
        if document.get("usage"):
            usage = self.usage(tokens)
            document["usage"] = {name: usage.get(name, value) for name, value in document["usage"].items()}
        return f"{head}data: {json.dumps(document, separators=(',', ':'), ensure_ascii=False)}\n\n"
