"""Real servers out of the distribution's packages, without installing them, on free ports of this machine."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fakes.hub import certificate
from tests.fakes.hub.hub import free_port

ROOT = Path(__file__).resolve().parents[3]
CACHE = ROOT / ".cache" / "packages"


class Served(NamedTuple):
    """Where a server is: without TLS, with TLS, and the file of the authority."""

    plain: str
    tls: str
    authority: str


def unpacked(package: str) -> Path:
    """The files of one of the distribution's packages. Tests that run side by side fetch it once."""
    tree = CACHE / package
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as folder:
                subprocess.run(["apt-get", "download", "--quiet", package], cwd=folder, check=True, capture_output=True)
                (archive,) = Path(folder).glob(f"{package}_*.deb")
                subprocess.run(["dpkg-deb", "--extract", archive, Path(folder) / "tree"], check=True)
                (Path(folder) / "tree").rename(tree)
    return tree


def program(name: str, package: str) -> str:
    """A program's path; out of its package if it is not installed. '' where that can't be had."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found or not shutil.which("apt-get"):
        return found or ""
    return next(str(path) for path in unpacked(package).rglob(name) if path.parent.name in ("bin", "sbin"))


def needed(name: str, package: str) -> str:
    """A program's path; a test that needs it is skipped where it can't be had, which is a failure in CI."""
    found = program(name, package)
    if not found:
        why = f"there is no {name}, and no apt-get to fetch its package with"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return found


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens on a port. Raises RuntimeError if that will not happen."""
    for _attempt in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens on port {port}: {process.args!r} ended with {process.poll()}")


@contextmanager
def serving(command: list[str], port: int) -> Iterator[None]:
    """A server, until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def nginx(root: Path) -> Iterator[Served]:
    """Nginx on the files of a directory."""
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        place, plain, tls = Path(folder), free_port(), free_port()
        certificate.make(place / "both.pem", place / "ca.pem")
        user = "user root;" if os.geteuid() == 0 else ""
        (place / "nginx.conf").write_text(f"""
            daemon off; pid {place}/pid; error_log {place}/error.log; worker_processes 1; {user}
            events {{ worker_connections 64; }}
            http {{
              access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
              client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;
              uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;
              server {{
                listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl;
                ssl_certificate {place}/both.pem; ssl_certificate_key {place}/both.pem;
                root {root};
              }}
            }}""")
        command = [program("nginx", "nginx"), "-c", str(place / "nginx.conf"), "-p", folder]
        with serving(command, plain):
            yield Served(f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}", str(place / "ca.pem"))


@contextmanager
def registry(root: Path) -> Iterator[str]:
    """Debian's docker-registry (the reference implementation of the OCI distribution specification); host and port."""
    port = free_port()
    configuration = root / "registry.yml"
    configuration.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    command = [program("docker-registry", "docker-registry"), "serve", str(configuration)]
    with serving(command, port):
        yield f"127.0.0.1:{port}"
