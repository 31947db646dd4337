"""A server that gives the recorded answers byte by byte; the contract's check is tested with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.component.contract.recorded import RECORDED_MODEL, Exchange, Response


def _framed(response: Response) -> bytes:
    """The bytes of an answer: its recorded headers, with the length that the body has now."""
    pieces = [piece.encode() for piece in response.events or ()]
    body = response.body.encode()
    headers = [(name, value) for name, value in response.headers if name.lower() != "content-length"]
    if response.events is None:
        headers = [(name, value) for name, value in headers if name.lower() != "transfer-encoding"]
        headers.append(("content-length", str(len(body))))
    else:
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    head = f"HTTP/1.1 {response.status} Recorded\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
    return head.encode() + b"\r\n" + body


@contextmanager
def serving(exchanges: Mapping[str, Exchange]) -> Iterator[str]:
    """A server, until the block ends; yields its address. It answers each request once, in the recorded order."""
    script = list(exchanges.values())
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                return
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            with lock:
                exchange = script.pop(0)
                asked = (self.command, self.path, body if "Content-Length" in self.headers else None)
                right = (exchange.method, exchange.target(RECORDED_MODEL), exchange.body(RECORDED_MODEL))
            self.wfile.write(_framed(exchange.response if asked == right else Response(599, ())))
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
