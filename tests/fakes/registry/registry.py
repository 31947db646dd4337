"""Imitates GitHub's container registry with upstream's images of mistral.rs; their engine is the stand-in beside this.

Usage: registry.py CERTIFICATE KEY. Serves HTTPS on port 443. Whatever tag is asked for, the image is the same one:
Python, a shell and a few programs of this host, and the engine. It wants no tokens, and takes nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PROGRAMS = ("bash", "cat", "env", "grep", "id", "ldd", "ls", "sed", "python3")
FOLDERS = ("dev", "etc", "models", "proc", "run", "sys", "tmp", "usr/local/bin")
LINKS = {"bin": "usr/bin", "sbin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "usr/bin/sh": "bash"}
KINDS = {
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
}


def files() -> dict[str, Path]:
    """Path in the image -> file here: the programs with their libraries, and Python's own modules."""
    found = {}
    for name in PROGRAMS:
        program = os.path.realpath(shutil.which(name) or "")
        found[f"usr/bin/{name}"] = Path(program)
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(0x", said):
            # The host's /lib is a link to /usr/lib, as it is in the image.
            inside = library if library.startswith("/usr/") else f"/usr{library}"
            found[inside.lstrip("/")] = Path(os.path.realpath(library))
    modules = Path(os.__file__).parent
    for path in modules.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            found[str(path).lstrip("/")] = path.resolve()
    found["etc/os-release"] = Path("/etc/os-release").resolve()
    found["usr/local/bin/mistralrs"] = Path(__file__).resolve().with_name("mistralrs")
    return found


def layer() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for folder in FOLDERS:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, target in LINKS.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
        for name, path in sorted(files().items()):
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def image() -> tuple[bytes, dict[str, bytes]]:
    """The manifest, and everything by digest."""
    plain = layer()
    packed = gzip.compress(plain, compresslevel=1, mtime=0)
    config = json.dumps(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
            "os": "linux",
            "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Entrypoint": ["mistralrs"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(plain)]},
        }
    ).encode()

    def entry(kind: str, data: bytes) -> dict[str, object]:
        return {"mediaType": KINDS[kind], "size": len(data), "digest": digest(data)}

    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": KINDS["manifest"],
            "config": entry("config", config),
            "layers": [entry("layer", packed)],
        }
    ).encode()
    return manifest, {digest(data): data for data in (manifest, config, packed)}


class Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    manifest, blobs = b"", {}  # type: tuple[bytes, dict[str, bytes]]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        found = re.fullmatch(r"/v2/(?:ericlbuehler/mistral\.rs/(manifests|blobs)/([^/?]+))?(?:\?.*)?", self.path)
        data, kind = b"{}", "application/json"
        if found and found[2]:
            is_tag = found[1] == "manifests" and not found[2].startswith("sha256:")
            data = self.manifest if is_tag else self.blobs.get(found[2], b"")
            kind = KINDS["manifest"] if found[1] == "manifests" else "application/octet-stream"
        known = found is not None and bool(data)
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if found and found[2]:
            self.send_header("Docker-Content-Digest", digest(data))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


def main() -> None:
    Registry.manifest, Registry.blobs = image()
    server = ThreadingHTTPServer(("", 443), Registry)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
