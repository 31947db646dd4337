# A stand-in: it imitates an https origin that serves files with Range (facts/models.md); no hub or registry yet.
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve the files of a directory over http or https, with Range, a log of requests and one fault: a dropped body."""

from __future__ import annotations

import argparse
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Origin(ThreadingHTTPServer):
    """One origin; `drops` maps a path to the bytes after which its connection ends."""

    def __init__(self, root: Path, port: int = 0, certificate: str = "") -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.root, self.log, self.drops = root.resolve(), list[tuple[str, str, dict[str, str]]](), dict[str, int]()
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin

    def log_message(self, *_: object) -> None:
        """Requests are kept in the log of the origin."""

    def do_GET(self) -> None:
        self.server.log.append((self.command, self.path, dict(self.headers.items())))
        file = (self.server.root / self.path.lstrip("/")).resolve()
        if self.server.root not in file.parents or not file.is_file():
            return self.send_error(404)
        size, start, end = file.stat().st_size, 0, file.stat().st_size
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes=") and wanted[6:7].isdigit():
            first, _, last = wanted[6:].partition("-")
            start, end = int(first), min(size, int(last) + 1 if last else size)
            if start >= size:
                return self.send_error(416)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.end_headers()
        if self.command == "GET":
            stop = min(end, start + self.server.drops.get(self.path, size))
            with file.open("rb") as stream:
                stream.seek(start)
                while start < stop and (data := stream.read(min(1 << 20, stop - start))):
                    self.wfile.write(data)
                    start += len(data)
            self.close_connection = stop < end

    do_HEAD = do_GET


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--https-port", type=int, default=0)
    parser.add_argument("--certificate", default="", help="PEM file with the key and the certificate")
    options = parser.parse_args()
    Origin(options.root, options.https_port, options.certificate).serve_forever()
