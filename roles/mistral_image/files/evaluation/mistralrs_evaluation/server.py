# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP API of the mistral.rs server, as far as an evaluation needs it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mistralrs_evaluation import LABEL, fields, requests
from mistralrs_evaluation.answers import Answer, sse
from mistralrs_evaluation.config import Configuration
from mistralrs_evaluation.engine import Chunk, EngineDead, Model
from mistralrs_evaluation.fields import RequestError
from mistralrs_evaluation.metrics import CONTENT_TYPE, Metrics
from mistralrs_evaluation.requests import Generate
from mistralrs_evaluation.scheduler import Scheduler

KEEP_ALIVE_SECONDS = 10.0
# The comment of axum's KeepAlive (src/response/sse.rs, DEFAULT_KEEP_ALIVE), which the engine's server sends.
KEEP_ALIVE = b":\n\n"
MOST_BODY_BYTES = 50 * 1024 * 1024
LINGER_SECONDS = 5
_MODEL_KEY = "mistralrs.model"
_BODY_KEY = "mistralrs.body_bytes"
_KNOWN_KEY = "mistralrs.model_is_known"
# The labels of requests without a model, with one that isn't there, and to a path that isn't there.
_NO_MODEL, _UNKNOWN_MODEL, _UNMATCHED = "none", "unknown", "<unmatched>"
_METHODS = ("GET", "HEAD", "POST", "OPTIONS")
# Requests to these are neither counted nor, unless told so, logged (is_housekeeping in metrics.rs at 9e922623).
_HOUSEKEEPING = ("/", "/health", "/metrics")
_access_log = logging.getLogger("mistralrs_evaluation.access")
_log = logging.getLogger("mistralrs_evaluation")


def error_response(error: RequestError) -> Response:
    """An error before an answer."""
    if error.plain:
        return PlainTextResponse(error.message, status_code=error.status)
    return JSONResponse(error.document(), status_code=error.status)


def _internal(error: BaseException) -> RequestError:
    if isinstance(error, RequestError):
        return error
    if isinstance(error, EngineDead):
        return RequestError(500, "The engine has stopped and is started again.")
    # Its text could quote the request; the kind is enough for the log.
    _log.error("a request failed inside the server: %s", type(error).__name__)
    return RequestError(500, "The request failed inside the evaluation engine.")


async def _discard(parts: AsyncIterator[bytes]) -> None:
    """Read the rest of a body that is refused, up to as much again and for a few seconds.

    A connection that is closed with bytes unread is reset, and the client may never see why it was refused.
    """
    left = MOST_BODY_BYTES
    with contextlib.suppress(asyncio.TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            async for part in parts:
                left -= len(part)
                if left < 0:
                    return


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Watched:
    """Sends an answer while it is made, and stops making it as soon as the client is gone."""

    def __init__(self, make: Callable[[], AsyncIterator[bytes]], media_type: str, keep_alive: float | None) -> None:
        self._make = make
        self._media_type = media_type
        self._stream = keep_alive is not None
        self._keep_alive = keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts = self._make()
        gone = asyncio.ensure_future(_gone(receive))
        started = False

        async def emit(data: bytes, more: bool = True) -> None:
            nonlocal started
            if not started:
                started = True
                headers = [(b"content-type", self._media_type.encode())]
                if self._stream:
                    headers.append((b"cache-control", b"no-cache"))
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": data, "more_body": more})

        upcoming: asyncio.Future[bytes] | None = None
        try:
            while True:
                upcoming = upcoming or asyncio.ensure_future(anext(parts))
                awaited: set[asyncio.Future[Any]] = {upcoming, gone}
                await asyncio.wait(awaited, timeout=self._keep_alive, return_when=asyncio.FIRST_COMPLETED)
                if upcoming.done():
                    data = upcoming.result()
                    upcoming = None
                    await emit(data)
                elif gone.done():
                    return
                else:
                    await emit(KEEP_ALIVE)
        except StopAsyncIteration:
            await emit(b"", more=False)
        except OSError:
            return
        except Exception as error:
            failure = _internal(error)
            if self._stream:
                # As the engine has it: a stream has begun with its status, whatever comes.
                await emit(sse(failure.event()) + sse("[DONE]"), more=False)
            elif not started:
                await error_response(failure)(scope, receive, send)
            else:
                await emit(b"", more=False)
        finally:
            gone.cancel()
            if upcoming is not None and not upcoming.done():
                upcoming.cancel()
                with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
                    await upcoming
            await parts.aclose()  # type: ignore[attr-defined]


class Api:
    """The endpoints."""

    def __init__(
        self,
        configuration: Configuration,
        models: Mapping[str, Model],
        on_dead: Callable[[EngineDead], None],
        keep_alive: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        self._configuration = configuration
        self._models = models
        self._keep_alive = keep_alive
        self._created = int(time.time())
        self.metrics = Metrics()
        self.metrics.capacity.set(configuration.max_seqs)
        self._schedulers = {
            name: Scheduler(model, configuration.max_seqs, self.metrics, on_dead) for name, model in models.items()
        }

    async def health(self, request: Request) -> Response:
        return PlainTextResponse("OK")

    async def list_models(self, request: Request) -> Response:
        def entry(name: str) -> dict[str, Any]:
            return {"id": name, "object": "model", "created": self._created, "owned_by": "local", "root": name}

        # The engine may be at work; meanwhile this server answers others.
        states = await asyncio.gather(*(asyncio.to_thread(model.status) for model in self._models.values()))
        models = [{**entry(name), "status": state} for name, state in zip(self._models, states, strict=True)]
        return JSONResponse({"object": "list", "data": [entry("default"), *models]})

    async def show_metrics(self, request: Request) -> Response:
        if not self._configuration.metrics:
            return PlainTextResponse("metrics disabled", status_code=503)
        return Response(self.metrics.text(), headers={"content-type": CONTENT_TYPE})

    def _scheduler(self, name: str) -> Scheduler:
        if name == "default":
            name = self._configuration.default_model_id
        if name not in self._schedulers:
            available = ", ".join(self._schedulers)
            raise RequestError(
                500,
                f"Requested model '{name[:200]}' is not available. Available models: {available}. "
                "Use 'default' to use the default model.",
            )
        return self._schedulers[name]

    async def _document(self, request: Request, struct: str, model_field: str = "model") -> dict[str, Any]:
        """The JSON object that was sent; what counts and logs the request learns its model."""
        try:
            body = await self._body(request)
            request.scope[_MODEL_KEY] = self._label(body, model_field)
        finally:
            request.scope[_KNOWN_KEY]()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
            raise RequestError(415, "Expected request with `Content-Type: application/json`", plain=True)
        return fields.parse(body, struct)

    async def _body(self, request: Request) -> bytes:
        too_big = RequestError(413, "request body too large", plain=True)
        parts = request.stream()
        if request.scope.get(_BODY_KEY, 0) > MOST_BODY_BYTES:
            if "expect" not in request.headers:
                await _discard(parts)
            raise too_big
        body = bytearray()
        async for part in parts:
            body += part
            if len(body) > MOST_BODY_BYTES:
                body.clear()
                await _discard(parts)
                raise too_big
        request.scope[_BODY_KEY] = len(body)
        return bytes(body)

    def _label(self, body: bytes, field: str) -> str:
        """The model that a body names, also where it asks for what is refused."""
        try:
            name = json.loads(body).get(field)
        except (ValueError, RecursionError, AttributeError):
            return _UNKNOWN_MODEL
        if field == "model" and (not isinstance(name, str) or name in ("", "default")):
            return self._configuration.default_model_id
        return name if isinstance(name, str) and name in self._models else _UNKNOWN_MODEL

    async def model_status(self, request: Request) -> Response:
        try:
            document = await self._document(request, "ModelOperationRequest", "model_id")
            name = fields.string(fields.required(document, "model_id"), "model_id")
        except RequestError as error:
            return error_response(error)
        model = self._models.get(name)
        status = "not_found" if model is None else await asyncio.to_thread(model.status)
        return JSONResponse({"model_id": name, "status": status})

    async def _answer(self, request: Request, parse: Callable[[Mapping[str, Any]], Generate], chat: bool) -> ASGIApp:
        began = time.monotonic()
        try:
            wanted = parse(await self._document(request, "ChatCompletionRequest" if chat else "CompletionRequest"))
            scheduler = self._scheduler(wanted.model)
            model = scheduler.model
            if chat and not model.chats:
                # The sentence of the engine (add_request.rs at 9e922623).
                raise RequestError(
                    422,
                    "Received messages for a model which does not have a chat template. Either use a different model "
                    "or pass a single string as the prompt",
                )
        except RequestError as error:
            return error_response(error)
        answer = Answer(wanted, model.model_id, chat)
        labels = (request.method, request.url.path, model.model_id, "200")

        async def events() -> AsyncIterator[bytes]:
            last: float | None = None
            begun: set[int] = set()
            kept: list[Chunk] = []
            stream = scheduler.generate(wanted)
            try:
                async for chunk in stream:
                    now = time.monotonic()
                    if last is None:
                        self.metrics.first_token.labels(*labels).observe(now - began)
                    else:
                        self.metrics.inter_token.labels(*labels).observe(now - last)
                    last = now
                    if wanted.must_call:
                        # Nothing is said before it is known whether a tool is called.
                        kept.append(chunk)
                        continue
                    yield answer.event(chunk, first=chunk.index not in begun)
                    begun.add(chunk.index)
                if wanted.must_call:
                    answer.whole(kept)
                for chunk in kept:
                    yield answer.event(chunk, first=False)
                yield sse("[DONE]")
            finally:
                await stream.aclose()  # type: ignore[attr-defined]

        async def document() -> AsyncIterator[bytes]:
            stream = scheduler.generate(wanted)
            try:
                chunks = [chunk async for chunk in stream]
                if not chunks:
                    raise RequestError(500, "The engine ended the answer before it began.")
                yield json.dumps(answer.whole(chunks), ensure_ascii=False).encode("utf-8")
            finally:
                await stream.aclose()  # type: ignore[attr-defined]

        if wanted.stream:
            return _Watched(events, "text/event-stream", self._keep_alive)
        return _Watched(document, "application/json", None)

    async def chat(self, request: Request) -> ASGIApp:
        return await self._answer(request, requests.chat, chat=True)

    async def completion(self, request: Request) -> ASGIApp:
        return await self._answer(request, requests.completion, chat=False)


_ASCII_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_VARY = b"origin, access-control-request-method, access-control-request-headers"
_PREFLIGHT = (
    (b"access-control-allow-methods", b"GET,POST,PUT,DELETE"),
    (
        b"access-control-allow-headers",
        b"content-type,authorization,x-api-key,anthropic-version,anthropic-beta,x-request-id",
    ),
)


class Observed:
    """Counts and logs requests (never what they say), and labels every answer as an evaluation's.

    Headers: the recordings health, options_cors, not_found and chat_body_51mb of 0.9.2+7.
    """

    def __init__(self, app: ASGIApp, configuration: Configuration, metrics: Metrics, paths: Mapping[str, str]) -> None:
        self._app = app
        self._configuration = configuration
        self._metrics = metrics
        self._paths = paths

    def _headers(self, method: str, known: bool, status: int, request_id: str) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-mistral-engine", LABEL.encode())]
        if known and status != 413:
            headers += [(b"vary", _VARY), (b"access-control-allow-origin", b"*")]
            if method == "OPTIONS":
                headers += _PREFLIGHT
            else:
                headers.append((b"access-control-expose-headers", b"x-request-id"))
        if self._configuration.request_id_header:
            headers.append((b"x-request-id", request_id.encode()))
        return headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        method = scope["method"] if scope["method"] in _METHODS else "other"
        known = scope["path"] in self._paths
        path = scope["path"] if known else _UNMATCHED
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        announced = headers.get(b"content-length", b"")
        if announced.isdigit():
            scope[_BODY_KEY] = int(announced)
        request_id = given if _ASCII_ID.match(given) else f"req_{uuid.uuid4().hex}"
        housekeeping = method == "OPTIONS" or path in _HOUSEKEEPING
        # None: the client was gone before there was anything to send, and nothing is counted.
        status: int | None = None

        async def labelled(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = self._headers(method, known, status, request_id)
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        in_flight: list[Any] = []

        def enter() -> None:
            model = scope.get(_MODEL_KEY, _NO_MODEL)
            gauge = self._metrics.in_flight.labels(method, path, model)
            gauge.inc()
            in_flight.append(gauge)
            if _BODY_KEY in scope:
                self._metrics.body.labels(method, path, model).observe(scope[_BODY_KEY])

        scope[_KNOWN_KEY] = enter
        asks_a_model = self._paths.get(path) == "POST"
        if asks_a_model:
            scope[_MODEL_KEY] = _UNKNOWN_MODEL
        # Which model a request is for is in its body, which the endpoint reads.
        if not housekeeping and not (asks_a_model and method == "POST"):
            enter()
        try:
            await self._app(scope, receive, labelled)
        finally:
            for gauge in in_flight:
                gauge.dec()
            seconds = time.monotonic() - began
            model = scope.get(_MODEL_KEY, _NO_MODEL)
            if status is not None and not housekeeping:
                self._metrics.requests.labels(method, path, model, str(status)).inc()
                self._metrics.duration.labels(method, path, model, str(status)).observe(seconds)
            if self._configuration.access_log and (self._configuration.access_log_health or not housekeeping):
                self._write(request_id, method, path, model, status, seconds)

    def _write(self, request_id: str, method: str, path: str, model: str, status: int | None, seconds: float) -> None:
        values = {
            "request_id": request_id,
            "method": method,
            "path": path,
            "model": model,
            "status": status,
            "duration_ms": round(seconds * 1000, 1),
        }
        if self._configuration.access_log_format == "json":
            _access_log.info("%s", json.dumps(values))
        else:
            _access_log.info("%s", " ".join(f"{name}={value}" for name, value in values.items() if value != ""))


def application(
    configuration: Configuration,
    models: Mapping[str, Model],
    on_dead: Callable[[EngineDead], None],
    keep_alive: float = KEEP_ALIVE_SECONDS,
) -> ASGIApp:
    """The whole server."""
    api = Api(configuration, models, on_dead, keep_alive)

    def endpoint(handler: Callable[[Request], Awaitable[ASGIApp]]) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            with contextlib.suppress(ClientDisconnect):
                answer = await handler(Request(scope, receive, send))
                await answer(scope, receive, send)

        return app

    routes: dict[str, tuple[str, Callable[[Request], Awaitable[ASGIApp]]]] = {
        "/": ("GET", api.health),
        "/health": ("GET", api.health),
        "/v1/models": ("GET", api.list_models),
        "/v1/models/status": ("POST", api.model_status),
        "/v1/chat/completions": ("POST", api.chat),
        "/v1/completions": ("POST", api.completion),
        "/metrics": ("GET", api.show_metrics),
    }

    async def unknown(request: Request, error: Exception) -> Response:
        if getattr(error, "status_code", 404) != 405:
            return Response(status_code=404)
        method = routes[request.url.path][0]
        # A preflight request of a browser is answered for every path that there is.
        status = 200 if request.method == "OPTIONS" else 405
        return Response(status_code=status, headers={"allow": "POST" if method == "POST" else "GET,HEAD"})

    async def broken(request: Request, error: Exception) -> Response:
        return error_response(_internal(error))

    class _Endpoint:
        """Starlette takes a class instance as a plain ASGI application, which may answer as it likes."""

        def __init__(self, app: ASGIApp) -> None:
            self._app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self._app(scope, receive, send)

    inner = Starlette(
        routes=[
            Route(path, _Endpoint(endpoint(handler)), methods=[method]) for path, (method, handler) in routes.items()
        ],
        exception_handlers={404: unknown, 405: unknown, 500: broken},
    )
    methods = {path: method for path, (method, _handler) in routes.items()}
    return Observed(inner, configuration, api.metrics, methods)
