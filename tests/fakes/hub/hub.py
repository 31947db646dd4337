# A stand-in: it imitates a Hugging Face hub with its CDN, Ollama's and an OCI registry, and plain origins, with faults.
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers on two origins, with a log, and faults that are switched on for single requests.

They answer as huggingface_hub (file_download.py, utils/_http.py, hf_api.py), ollama (server/download.go) and the OCI
distribution specification expect it. As a program it serves a directory: hub.py DIRECTORY --certificate PEM --port PORT
"""

from __future__ import annotations

import argparse
import hashlib
import json
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, Union

COMMIT = "c" * 40
TOKEN = "hf_stand_in_token"
Content = Union[bytes, Path]


@dataclass
class Fault:
    """What is wrong with one answer; C(times) with that many, -1 with all. C(method) '' is any."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    # Bytes of this answer's body that are sent before the connection is cut, or before nothing more comes.
    cut_after: int = -1
    stall_after: int = -1
    stall_seconds: float = 3600.0
    # Seconds between the bytes of the body, one by one.
    drip_seconds: float = 0.0
    length: int | None = None
    no_length: bool = False
    chunked: bool = False
    ignore_range: bool = False
    shift: int = 0
    total: int | None = None
    times: int = 1
    method: str = "GET"


@dataclass
class Request:
    """What was asked, for the log."""

    method: str
    path: str
    headers: dict[str, str]


class Server(ThreadingHTTPServer):
    """One origin: files by path, faults by path, a log."""

    daemon_threads = True
    # Many connections at once, as in races.
    request_queue_size = 128

    def __init__(self, certificate: str = "", port: int = 0, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), Handler)
        self.scheme = "http"
        self.files: dict[str, Content] = {}
        self.root: Path | None = None
        self.types: dict[str, str] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.log: list[Request] = []
        self.hub: Hub | None = None
        self.log_file: IO[str] | None = None
        self.stopped = threading.Event()
        self.sent = 0
        if certificate:
            self.scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake is made by the thread of the connection.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.server_address[0]!s}:{self.server_port}"

    def fault(self, path: str, **what: Any) -> None:
        """Switch a fault on for the next requests for a path (without its query)."""
        self.faults.setdefault(path, []).append(Fault(**what))

    def take_fault(self, path: str, method: str) -> Fault:
        """The fault that this request meets."""
        for fault in self.faults.get(path, []):
            if fault.times and fault.method in ("", method):
                fault.times -= fault.times > 0
                return fault
        return Fault()

    def handle_error(self, *_arguments: Any) -> None:
        """Clients leave; that is what is tested."""

    def asked(self, method: str = "") -> list[str]:
        """The paths that were asked for, in order, without their queries."""
        return [each.path.partition("?")[0] for each in self.log if method in ("", each.method)]

    def secrets(self, text: str) -> bool:
        """Whether a text came here in a header."""
        return any(text in value for each in self.log for value in each.headers.values())


class Handler(BaseHTTPRequestHandler):
    """Answers from the server's tables."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_arguments: Any) -> None:
        """Requests are kept in the server's log."""

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self._answer()

    def do_GET(self) -> None:
        """A file, or what the hub says."""
        self._answer()

    def do_POST(self) -> None:
        """A question with a form."""
        self._answer()

    def _answer(self) -> None:
        self.close_connection = True
        path = urllib.parse.unquote(self.path.partition("?")[0])
        self.server.log.append(Request(self.command, self.path, dict(self.headers.items())))
        if self.server.log_file:
            print(self.command, path, file=self.server.log_file, flush=True)
        fault = self.server.take_fault(path, self.command)
        if fault.status and fault.status not in (200, 206):
            body = fault.body if fault.body is not None else b"<html>error</html>"
            return self.small(fault.status, body, {"Content-Type": "text/html", **fault.headers})
        if self.server.hub is not None and self.server.hub.answer(self, path):
            return None
        content: Content | None = self.server.files.get(path)
        if content is None and self.server.root is not None:
            file = (self.server.root / path.lstrip("/")).resolve()
            content = file if self.server.root in file.parents and file.is_file() else None
        if content is None:
            return self.small(404, b"<html>not found</html>", {"Content-Type": "text/html"})
        return self.file(path, content, fault)

    def small(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """A whole answer at once."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, data: Any, headers: dict[str, str] | None = None) -> None:
        """An answer of an API."""
        self.small(200, json.dumps(data).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _range(self, size: int, etag: str, fault: Fault) -> tuple[int, int] | None:
        """The part that is asked for; (0, -1) if there is none of it; None for all."""
        wanted = self.headers.get("Range", "")
        condition = self.headers.get("If-Range", "")
        if fault.ignore_range or not wanted.startswith("bytes=") or (condition and condition != etag):
            return None
        first, _dash, last = wanted[6:].partition("-")
        start = int(first) if first else max(0, size - int(last))
        end = min(size, int(last) + 1) if first and last else size
        return (start, end) if start < end else (0, -1)

    def file(self, path: str, content: Content, fault: Fault) -> None:
        """A file, or a part of it, as the fault wants it."""
        whole = content if isinstance(content, bytes) else b""
        size = len(whole) if isinstance(content, bytes) else content.stat().st_size
        etag = f'"{hashlib.sha256(whole).hexdigest()[:32]}"' if whole else f'"{size:x}"'
        headers = {
            "Content-Type": self.server.types.get(path, "application/octet-stream"),
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "Connection": "close",
            "Last-Modified": formatdate(1_700_000_000, usegmt=True),
            **self.server.headers.get(path, {}),
        }
        headers.update(fault.headers)
        part = self._range(size, headers["ETag"], fault)
        if part == (0, -1):
            return self.small(416, b"", {"Content-Range": f"bytes */{size}"})
        start, end = part or (0, size)
        body = fault.body if fault.body is not None else None
        length = len(body) if body is not None else end - start
        self.send_response(206 if part else 200)
        if part:
            shown = fault.total if fault.total is not None else size
            begin, last = start + fault.shift, end - 1 + fault.shift
            headers["Content-Range"] = f"bytes {begin}-{last}/{shown}"
        if fault.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif not fault.no_length:
            headers["Content-Length"] = str(fault.length if fault.length is not None else length)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._body(content, body, start, end, fault)

    def _pieces(self, content: Content, body: bytes | None, start: int, end: int) -> Iterator[bytes]:
        if body is not None or isinstance(content, bytes):
            whole = body if body is not None else bytes(content[start:end])  # type: ignore[index]
            for position in range(0, len(whole), 1 << 16):
                yield whole[position : position + (1 << 16)]
            return
        with content.open("rb") as stream:
            stream.seek(start)
            while start < end and (data := stream.read(min(1 << 20, end - start))):
                yield data
                start += len(data)

    def _write(self, data: bytes, fault: Fault) -> None:
        if fault.chunked:
            data = b"%x\r\n%s\r\n" % (len(data), data)
        self.wfile.write(data)
        self.server.sent += len(data)

    def _body(self, content: Content, body: bytes | None, start: int, end: int, fault: Fault) -> None:
        done = 0
        stop = min((limit for limit in (fault.cut_after, fault.stall_after) if limit >= 0), default=-1)
        for piece in self._pieces(content, body, start, end):
            data = piece if stop < 0 else piece[: max(0, stop - done)]
            if fault.drip_seconds:
                for position in range(len(data)):
                    self._write(data[position : position + 1], fault)
                    if self.server.stopped.wait(fault.drip_seconds):
                        return
            elif data:
                self._write(data, fault)
            done += len(data)
            if 0 <= stop <= done:
                self.wfile.flush()
                if fault.stall_after >= 0:
                    self.server.stopped.wait(fault.stall_seconds)
                # Not a clean end: the connection is reset or closed without the rest.
                self.connection.close()
                return
        if fault.chunked:
            self.wfile.write(b"0\r\n\r\n")


@dataclass
class Repository:
    """A repository of the hub: its files, of which all but small texts are in large file storage."""

    files: dict[str, bytes] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    disabled: bool = False
    commit: str = COMMIT
    branches: tuple[str, ...] = ("main",)

    def is_large(self, path: str) -> bool:
        """Whether the hub keeps it as a pointer with a sha256."""
        return path.endswith((".gguf", ".safetensors", ".bin", ".model"))


class Hub:
    """The hub's own origin and its CDN; or, as pulp does it, one origin that serves the files itself."""

    def __init__(self, certificate: str = "", two_origins: bool = True, page_size: int = 1000) -> None:
        self.origin = Server(certificate)
        self.cdn = Server(certificate)
        self.origin.hub = self
        self.two_origins = two_origins
        self.page_size = page_size
        self.has_api = True
        self.repositories: dict[str, Repository] = {}
        self.manifests: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        # Sizes in bytes that lists give for paths, in place of the real ones.
        self.listed_sizes: dict[str, int] = {}
        self.challenge = False
        self.signature = "first"

    @property
    def url(self) -> str:
        """The hub's address."""
        return self.origin.url

    def add(self, repository: str, files: dict[str, bytes], **options: Any) -> Repository:
        """Publish a repository."""
        made = self.repositories[repository] = Repository(files, **options)
        for content in files.values():
            self.cdn.files["/blob/" + hashlib.sha256(content).hexdigest()] = content
        return made

    def publish(self, name: str, layers: list[tuple[str, bytes, str]], tag: str = "latest") -> str:
        """Publish a model in the registry: media type, content and file name of each layer; the manifest's digest."""
        described = []
        for media_type, content, title in layers:
            digest = "sha256:" + hashlib.sha256(content).hexdigest()
            self.blobs[digest] = content
            self.cdn.files["/blob/" + digest[7:]] = content
            layer: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": len(content)}
            if title:
                layer["annotations"] = {"org.cncf.model.filepath": title}
            described.append(layer)
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": "", "size": 2},
            "layers": described,
        }
        self.manifests[f"{name}/manifests/{tag}"] = manifest
        return "sha256:" + hashlib.sha256(json.dumps(manifest).encode()).hexdigest()

    def blob_path(self, content: bytes) -> str:
        """Where the CDN has a content."""
        return "/blob/" + hashlib.sha256(content).hexdigest()

    # Answers

    def answer(self, handler: Handler, path: str) -> bool:
        """Answer what is a question to the hub; False if it is none."""
        if path.startswith("/api/"):
            self._api(handler, path)
        elif "/resolve/" in path:
            self._resolve(handler, path)
        elif path == "/token":
            handler.json({"token": "registry-token", "expires_in": 300})
        elif path.startswith("/v2/"):
            self._registry(handler, path[4:])
        else:
            return False
        return True

    def _refused(self, handler: Handler, name: str, content: bool = False) -> bool:
        """Answer as the hub does if the repository is not to be seen (huggingface_hub, utils/_http.py)."""
        authorization = handler.headers.get("Authorization", "")
        if authorization and authorization != f"Bearer {TOKEN}":
            handler.small(401, b"", {"X-Error-Message": "Invalid credentials in Authorization header"})
            return True
        known = self.repositories.get(name)
        if known is None or (known.private and not authorization):
            # Without a token nobody is told whether a repository exists.
            if authorization:
                handler.small(404, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            else:
                handler.small(401, b"", {"X-Error-Message": "Invalid username or password."})
            return True
        if known.disabled:
            handler.small(403, b"", {"X-Error-Message": "Access to this resource is disabled."})
            return True
        # What a gated repository holds is listed to everybody.
        if content and known.gated and not authorization:
            message = f"Access to model {name} is restricted. You must have access to it and be authenticated."
            handler.small(401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": message})
            return True
        return False

    def _known_revision(self, handler: Handler, repository: Repository, revision: str) -> bool:
        if revision in (repository.commit, *repository.branches):
            return True
        handler.small(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"})
        return False

    def _entry(self, repository: Repository, path: str) -> dict[str, Any]:
        content = repository.files[path]
        size = self.listed_sizes.get(path, len(content))
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry: dict[str, Any] = {"type": "file", "oid": git, "size": size, "path": path}
        if repository.is_large(path):
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 135}
            entry["xetHash"] = hashlib.sha256(b"xet" + content).hexdigest()
        return entry

    def _api(self, handler: Handler, path: str) -> None:
        parts = path.split("/")
        if not self.has_api:
            return handler.small(404, b"<html>no api here</html>", {"Content-Type": "text/html"})
        if path.startswith("/api/resolve-cache/models/"):
            name, revision, file = "/".join(parts[4:6]), parts[6], "/".join(parts[7:])
            content = self.repositories[name].files[file]
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return handler.small(200, content, {"ETag": f'"{git}"', "X-Repo-Commit": revision})
        if path == "/api/models":
            query = urllib.parse.parse_qs(handler.path.partition("?")[2])
            return handler.json(self._search(query.get("search", [""])[0], int(query.get("limit", ["20"])[0])))
        name, question = "/".join(parts[3:5]), parts[5] if len(parts) > 5 else "revision"
        revision = parts[6] if len(parts) > 6 else "main"
        if self._refused(handler, name):
            return None
        repository = self.repositories[name]
        if not self._known_revision(handler, repository, revision):
            return None
        if question == "tree":
            return self._tree(handler, repository)
        if question == "paths-info":
            form = urllib.parse.parse_qs(handler.rfile.read(int(handler.headers.get("Content-Length", "0"))).decode())
            wanted = [file for file in form.get("paths", []) if file in repository.files]
            return handler.json([self._entry(repository, file) for file in wanted])
        siblings = [{"rfilename": file} for file in sorted(repository.files)]
        return handler.json({"id": name, "modelId": name, "sha": repository.commit, "siblings": siblings})

    def _tree(self, handler: Handler, repository: Repository) -> None:
        query = urllib.parse.parse_qs(handler.path.partition("?")[2])
        begin = int(query.get("cursor", ["0"])[0])
        files = sorted(repository.files)
        folders = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": name.rpartition("/")[0]} for name in files]
        shown = [self._entry(repository, file) for file in files[begin : begin + self.page_size]]
        headers = {}
        if begin + self.page_size < len(files):
            target = f"{self.url}{handler.path.partition('?')[0]}?recursive=true&cursor={begin + self.page_size}"
            headers["Link"] = f'<{target}>; rel="next"'
        handler.json([entry for entry in folders if entry["path"]] + shown if not begin else shown, headers)

    def _search(self, text: str, limit: int) -> list[dict[str, Any]]:
        return [
            {
                "id": name,
                "modelId": name,
                "downloads": 1000 - number,
                "likes": 1,
                "pipeline_tag": "text-generation",
                "tags": ["gguf", "license:apache-2.0"],
                "gated": "manual" if repository.gated else False,
                "lastModified": "2026-01-02T03:04:05.000Z",
                "siblings": [{"rfilename": file} for file in sorted(repository.files)],
            }
            for number, (name, repository) in enumerate(sorted(self.repositories.items()))
            if text.lower() in name.lower() and not repository.private
        ][:limit]

    def _resolve(self, handler: Handler, path: str) -> None:
        name, _resolve, rest = path.lstrip("/").partition("/resolve/")
        revision, _slash, file = rest.partition("/")
        if self._refused(handler, name, content=True):
            return None
        repository = self.repositories[name]
        if not self._known_revision(handler, repository, revision):
            return None
        if file not in repository.files:
            return handler.small(404, b"", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        content, entry = repository.files[file], self._entry(repository, file)
        headers = {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        if not repository.is_large(file):
            quoted = urllib.parse.quote(file)
            headers["Location"] = (
                f"/api/resolve-cache/models/{name}/{repository.commit}/{quoted}?etag=%22{entry['oid']}%22"
            )
            headers["ETag"] = f'"{entry["oid"]}"'
            return handler.small(307, b"Temporary Redirect", headers)
        digest = entry["lfs"]["oid"]
        headers.update({"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))})
        if not self.two_origins:
            self.origin.headers[path] = {**headers, "ETag": f'"{digest}"'}
            return handler.file(path, content, self.origin.take_fault(path, handler.command))
        query = urllib.parse.urlencode({"Expires": int(time.time()) + 3600, "X-Signature": self.signature})
        headers["Location"] = f"{self.cdn.url}/blob/{digest}?{query}"
        headers["X-Xet-Hash"] = entry["xetHash"]
        return handler.small(302, b"Found. Redirecting", headers)

    def _registry(self, handler: Handler, path: str) -> None:
        if self.challenge and handler.headers.get("Authorization") != "Bearer registry-token":
            scope = f"repository:{path.partition('/manifests/')[0].partition('/blobs/')[0]}:pull"
            challenge = f'Bearer realm="{self.url}/token",service="registry",scope="{scope}"'
            return handler.small(401, b'{"errors":[]}', {"WWW-Authenticate": challenge})
        manifest = self.manifests.get(path)
        if manifest is not None:
            body = json.dumps(manifest).encode()
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            return handler.small(200, body, {"Content-Type": manifest["mediaType"], "Docker-Content-Digest": digest})
        digest = path.rpartition("/")[2]
        if "/blobs/" in path and digest in self.blobs:
            return handler.small(307, b"", {"Location": f"{self.cdn.url}/blob/{digest[7:]}?signature={self.signature}"})
        return handler.small(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Serve until the block ends."""
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server in servers:
            server.stopped.set()
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serve a directory."""
    parser = argparse.ArgumentParser(description="Serve the files of a directory, with Range, over https or http.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--certificate", default="", help="a PEM file with the certificate and its key")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=argparse.FileType("w"), help="a file for the method and path of each request")
    options = parser.parse_args()
    server = Server(options.certificate, options.port, options.host)
    server.root = options.directory.resolve()
    server.log_file = options.log
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
