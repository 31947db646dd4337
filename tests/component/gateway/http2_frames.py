"""Frames of HTTP/2 (RFC 9113), written by hand: what no client's library would send."""

from __future__ import annotations

import socket
import ssl
import struct

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 0x1, 0x4
CANCEL = struct.pack(">I", 8)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def header(name: str, value: str) -> bytes:
    """A field of HPACK: literal, with its name, without Huffman's code (RFC 7541, 6.2.2). Up to 126 bytes each."""
    texts = (name.encode(), value.encode())
    return b"\0" + b"".join(bytes([len(text)]) + text for text in texts)


def request(method: str, path: str, *more: tuple[str, str]) -> bytes:
    """The fields of a request, for HEADERS."""
    fields = [(":method", method), (":scheme", "https"), (":path", path), (":authority", "localhost"), *more]
    return b"".join(header(name, value) for name, value in fields)


def connect(port: int, settings: bytes = b"") -> ssl.SSLSocket:
    """A connection on which both sides speak HTTP/2."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    secured = context.wrap_socket(sock, server_hostname="localhost")
    assert secured.selected_alpn_protocol() == "h2"
    secured.sendall(PREFACE + frame(SETTINGS, payload=settings))
    return secured


def frames(received: bytes) -> list[tuple[int, int, bytes]]:
    """What came: kind, stream and payload of each whole frame."""
    found, at = [], 0
    while len(received) - at >= 9:
        length, kind = int.from_bytes(received[at : at + 3], "big"), received[at + 3]
        stream = int.from_bytes(received[at + 5 : at + 9], "big") & 0x7FFFFFFF
        if len(received) - at - 9 < length:
            break
        found.append((kind, stream, received[at + 9 : at + 9 + length]))
        at += 9 + length
    return found
