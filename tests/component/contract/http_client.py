"""Sends a request as recorded and keeps what comes back: no library changes a header or a body on its way."""

from __future__ import annotations

import socket
import ssl
import time
import urllib.parse

from tests.component.contract.recorded import Exchange, Response


def _read(sock: socket.socket, end: list[str]) -> bytes:
    received = bytearray()
    try:
        while piece := sock.recv(65536):
            received += piece
    except OSError as error:
        end.append(f"{type(error).__name__}: {error}")
    return bytes(received)


def _chunks(rest: bytes, end: list[str]) -> list[bytes]:
    """The pieces of a body in chunked transfer encoding."""
    pieces: list[bytes] = []
    while rest:
        size_line, _, after = rest.partition(b"\r\n")
        size = int(size_line.split(b";")[0], 16)
        if size == 0:
            return pieces
        pieces.append(after[:size])
        rest = after[size + 2 :]
    end.append("cut without a last chunk")
    return pieces


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _connect(url: urllib.parse.SplitResult, timeout: float) -> socket.socket:
    secure = url.scheme == "https"
    sock = socket.create_connection((url.hostname or "", url.port or (443 if secure else 80)), timeout=timeout)
    if secure:
        return ssl.create_default_context().wrap_socket(sock, server_hostname=url.hostname)
    return sock


def send(base: str, exchange: Exchange, model: str, timeout: float = 300) -> tuple[Response, float]:
    """Repeat a recorded request at another server; returns its answer and the seconds it took."""
    url = urllib.parse.urlsplit(base)
    raw = exchange.body(model)
    headers = dict(exchange.headers)
    headers["Host"] = url.netloc
    if "Content-Length" in headers:
        headers["Content-Length"] = str(len(raw or b""))
    head = f"{exchange.method} {exchange.target(model)} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    end: list[str] = []
    begun = time.monotonic()
    with _connect(url, timeout) as sock:
        try:
            sock.sendall(head.encode() + (raw or b""))
        except OSError as error:
            # A body that is too large is refused before it has arrived; the answer is still there.
            end.append(f"while sending: {error}")
        received = _read(sock, end)
    seconds = time.monotonic() - begun
    head_bytes, _, rest = received.partition(b"\r\n\r\n")
    lines = head_bytes.decode("latin-1").split("\r\n")
    status = lines[0].split(" ", 2)
    if len(status) < 2 or not status[1].isdigit():
        return Response(0, (), "", None, "; ".join(end) or "closed without an answer"), seconds
    reply = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:]))
    answer = Response(int(status[1]), reply)
    pieces = _chunks(rest, end) if answer.header("transfer-encoding").lower() == "chunked" else [rest]
    stream = "event-stream" in answer.header("content-type")
    return (
        Response(
            status=answer.status,
            headers=reply,
            body="" if stream else _decoded(b"".join(pieces)),
            events=tuple(_decoded(piece) for piece in pieces) if stream else None,
            end="; ".join(end) or "closed by the server",
        ),
        seconds,
    )
