# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An https server with good and bad models, and the module in a process of its own."""

from __future__ import annotations

import http.server
import json
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[5]
FILE = "tiny.gguf"
Run = Callable[..., dict[str, Any]]
# Runs the module in a process of its own, with the arguments of standard input.
RUNNER = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("conftest", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import model
with patch_module_args(json.load(sys.stdin)):
    model.main()
"""
# What may stay of an interrupted download, so that the next run can go on.
PART = {f".store/incoming/{FILE}.part", f".store/incoming/{FILE}.part.json"}
COMPLETE = {FILE, "tiny.tokenizer.json", "tiny.tokenizer_config.json", f".store/{FILE}.json"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, status: int, body: bytes = b"", **headers: Any) -> None:
        self.send_response(status)
        fields = {"Content-Type": "application/octet-stream", "Content-Length": len(body)}
        for name, content in {**fields, **{key.replace("_", "-"): item for key, item in headers.items()}}.items():
            if content is not None:
                self.send_header(name, str(content))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        good = self.server.content
        name = self.path.partition("?")[0]
        if name in ("/good", "/again"):
            self.answer(200, good)
        elif name == "/get-only":
            self.answer(*((405,) if self.command == "HEAD" else (200, good)))
        elif name == "/html":
            self.answer(200, b"<html>log in</html>", Content_Type="text/html; charset=utf-8")
        elif name == "/text":
            self.answer(200, b"<html>log in</html>")
        elif name == "/pointer":
            self.answer(200, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        elif name == "/short":
            self.answer(200, good[:-10], Content_Length=len(good))
        elif name == "/huge":
            self.answer(200, good, Content_Length=1 << 60)
        elif name == "/gzip":
            self.answer(200, good, Content_Encoding="gzip")
        elif name == "/chunked":
            self.answer(
                200, b"%x\r\n%s\r\n0\r\n\r\n" % (len(good), good), Content_Length=None, Transfer_Encoding="chunked"
            )
        elif name == "/chunked-cut":
            self.answer(200, b"%x\r\n%s" % (len(good), good[:-5]), Content_Length=None, Transfer_Encoding="chunked")
        elif name == "/until-close":
            self.answer(200, good, Content_Length=None)
        elif name == "/relative":
            self.answer(302, b"moved", Location="/good?signature=secret")
        elif name == "/loop":
            self.answer(307, Location="/loop")
        elif name == "/to-http":
            self.answer(302, Location=f"http://127.0.0.1:{self.server.server_port}/good?signature=secret")
        elif name == "/to-file":
            self.answer(302, Location="file:///etc/passwd")
        elif name == "/to-nowhere":
            self.answer(302)
        elif name in ("/slow", "/slow-and-short"):
            time.sleep(0.5)
            self.answer(200, good if name == "/slow" else good[:-10], Content_Length=len(good))
        elif name in ("/stalls", "/stalls-once"):
            stall = name == "/stalls" or not self.server.stalled.is_set()
            self.answer(200, good[: len(good) // 2] if stall else good, Content_Length=len(good))
            if stall and self.command == "GET":
                self.wfile.flush()
                self.server.stalled.set()
                self.server.stopped.wait(30)
        else:
            self.answer(404, b"<html>not found</html>", Content_Type="text/html")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, content: bytes, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.stalled = threading.Event()
        self.stopped = threading.Event()
        self.ca = certificate.read_text()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_arguments: Any) -> None:
        pass

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.server_port}{path}"


def arguments(store: Path, server: Server | None = None, check: bool = False, **options: Any) -> dict[str, Any]:
    return {
        "path": str(store),
        "name": "tiny",
        "ca_certificates": server.ca if server else "",
        "timeout": 10,
        "retries": 0,
        "_ansible_check_mode": check,
        "_ansible_diff": True,
        "_ansible_remote_tmp": str(store.parent),
        **options,
    }


def start(store: Path, server: Server, **options: Any) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(ROOT / "tests" / "tools" / "checkout.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(arguments(store, server, **options)))
    process.stdin.close()
    return process


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    output = process.stdout.read()
    process.wait(30)
    return dict(json.loads(output))


def files(store: Path) -> set[str]:
    """What lies in the store, but for the logs of jobs that failed."""
    found = {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}
    return {path for path in found if not path.startswith(".store/jobs/")}
