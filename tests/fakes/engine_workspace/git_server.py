#!/usr/bin/env python3
"""Imitates a git host such as GitHub: serves the repositories of a folder by git's smart HTTP protocol.

    git_server.py FOLDER PORT [USER:PASSWORD]

With a user, everybody else gets 401. Needs the program git, which does the work (gitprotocol-http(5), stateless).
"""

from __future__ import annotations

import base64
import gzip
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER, PORT = Path(sys.argv[1]).resolve(), int(sys.argv[2])
USER = sys.argv[3] if len(sys.argv) > 3 else ""
PATH = re.compile(r"/([\w.-]+\.git)/(info/refs\?service=git-upload-pack|git-upload-pack)\Z")


class Handler(BaseHTTPRequestHandler):
    def _repository(self) -> Path | None:
        wanted = f"Basic {base64.b64encode(USER.encode()).decode()}"
        match = PATH.match(self.path)
        if USER and self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
        elif not match or not (FOLDER / match[1]).is_dir():
            self.send_response(404)
        else:
            return FOLDER / match[1]
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _answer(self, kind: str, repository: Path, begin: bytes, options: list[str], data: bytes) -> None:
        command = ["git", "-c", "safe.directory=*", "upload-pack", "--stateless-rpc", *options, str(repository)]
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        body = begin + done.stdout
        self.send_response(200)
        self.send_header("Content-Type", f"application/x-git-upload-pack-{kind}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if repository := self._repository():
            begin = b"001e# service=git-upload-pack\n0000"
            self._answer("advertisement", repository, begin, ["--advertise-refs"], b"")

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        if repository := self._repository():
            self._answer("result", repository, b"", [], data)


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
