"""A gateway of one's own: this machine's Nginx with the role's Lua modules, on free ports, in a folder of its own."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.component.gateway.software import Software, find_or_skip
from tests.fakes.hub import certificate

ROOT = Path(__file__).resolve().parents[3]
LUA = ROOT / "roles" / "mistral_gateway" / "files" / "lua"
MODEL = "smollm2-q4_1"


def free_ports(number: int) -> list[int]:
    """Different ports on which nobody listens."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _each in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def wait_until(what: Any, seconds: float = 10, message: str = "it did not happen in time") -> Any:
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(message)
        time.sleep(0.02)


def key(name: str, **limits: Any) -> dict[str, Any]:
    """A key of the plan; its secret is `sk-NAME`."""
    return {"name": name, "sha256": hashlib.sha256(f"sk-{name}".encode()).hexdigest(), **limits}


def plan(upstreams: Sequence[str], keys: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "line": "0.9",
        "models": [{"id": MODEL, "names": [MODEL, f"{MODEL}.gguf"], "upstreams": list(upstreams), "images": False}],
        "default_model": MODEL,
        "keys": list(keys),
        "paths": ["chat/completions", "completions", "models", "embeddings", "messages", "responses", "ollama"],
        **more,
    }


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[str]:
        return [event for event in self.body.decode().split("\n\n") if event]


class Gateway:
    """A running gateway. `plan` can be changed and then `reload` called."""

    def __init__(self, folder: Path, document: dict[str, Any], workers: int = 1) -> None:
        self.folder = folder
        self.software: Software = find_or_skip()
        self.port, self.ollama_port, self.bare_port, self.tls_port = free_ports(4)
        self.plan = document
        self.workers = workers
        self.process: subprocess.Popen[bytes] | None = None
        for name in ("body", "proxy", "state"):
            (folder / name).mkdir()
        # The workers are another user if the test is run by root.
        for path in (folder, folder / "state"):
            path.chmod(0o777)
        certificate.make(folder / "both.pem", folder / "ca.pem")
        self.write()

    def write(self) -> None:
        self.plan.setdefault("state_path", str(self.folder / "state"))
        (self.folder / "plan.json").write_text(json.dumps(self.plan))
        (self.folder / "plan.json").chmod(0o644)
        upstreams = [address for model in self.plan["models"] for address in model["upstreams"]]
        single = f"server {upstreams[0]} max_fails=0;"
        balanced = "server 0.0.0.1; balancer_by_lua_block { gateway.balancer() }"
        text = (Path(__file__).parent / "nginx.conf").read_text()
        values = {
            "PREFIX": str(self.folder),
            "MODULES": "\n".join(f"load_module {path};" for path in self.software.modules),
            "LUA": ";".join((f"{LUA}/?.lua", *self.software.lua)),
            "PORT": str(self.port),
            "OLLAMA_PORT": str(self.ollama_port),
            "BARE_PORT": str(self.bare_port),
            "TLS_PORT": str(self.tls_port),
            "ENGINE": upstreams[0],
            "UPSTREAM": single if len(upstreams) == 1 else balanced,
            "WORKERS": str(self.workers),
        }
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        (self.folder / "nginx.conf").write_text(text)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.software.nginx, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-g", "daemon off;"],
            stderr=(self.folder / "stderr").open("ab"),
            env=self.software.environment,
        )
        wait_until(self.is_up, message=f"Nginx does not start: {self.log()}")
        wait_until(lambda: len(self.worker_pids()) == self.workers)

    def is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"Nginx has ended: {self.log()}")
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def log(self) -> str:
        return "".join(
            (self.folder / name).read_text(errors="replace")[-3000:]
            for name in ("stderr", "error.log")
            if (self.folder / name).exists()
        )

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        if self.process is None:
            return
        self.send(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def worker_pids(self) -> list[int]:
        """Of the processes that take requests; those that end after a reload do not."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if self.title(pid).rstrip("\0").endswith("worker process")]

    @staticmethod
    def title(pid: str) -> str:
        try:
            return (Path("/proc") / pid / "cmdline").read_text()
        except OSError:
            return ""

    def reload(self) -> None:
        """Reloads the configuration and waits for the new processes."""
        before = set(self.worker_pids())
        self.write()
        self.send(signal.SIGHUP)

        def is_new() -> bool:
            now = set(self.worker_pids())
            return len(now) == self.workers and not now & before

        wait_until(is_new, message=f"no new workers: {self.log()}")

    def kill_worker(self) -> int:
        """Kills the first worker with -9 and waits for the next one; returns the pid of the dead one."""
        before = self.worker_pids()
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(set(self.worker_pids()) - set(before)) == 1, message="no new worker")
        time.sleep(0.2)
        return before[0]

    def connect(self, port: int | None = None) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=30)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        name: str | None = "alice",
        port: int | None = None,
    ) -> Answer:
        """One request; `name`: whose key it has."""
        connection = self.connect(port)
        sent = dict(headers or {})
        if name is not None:
            sent.setdefault("Authorization", f"Bearer sk-{name}")
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, sent)
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return answer

    def chat(self, content: str = "hello", name: str | None = "alice", port: int | None = None, **more: Any) -> Answer:
        return self.ask("POST", "/v1/chat/completions", chat(content, **more), name=name, port=port)

    def admin(self, method: str, target: str) -> str:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(str(self.folder / "admin.sock"))
        sock.sendall(f"{method} {target} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        received = b""
        while piece := sock.recv(65536):
            received += piece
        sock.close()
        return received.partition(b"\r\n\r\n")[2].decode()

    def access_log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "access.log").read_text().splitlines()]

    def usage(self) -> dict[tuple[str, str], dict[str, int]]:
        """Today's counts by key and model."""
        header, *lines = self.admin("GET", "/usage").splitlines()
        names = header.split("\t")[2:]
        rows = [line.split("\t") for line in lines if line]
        return {(row[0], row[1]): dict(zip(names, map(int, row[2:]), strict=True)) for row in rows}

    def metric(self, line: str) -> float:
        """The value of a series, 0 if there is none."""
        for entry in self.admin("GET", "/metrics").splitlines():
            if entry.rpartition(" ")[0] == line:
                return float(entry.rpartition(" ")[2])
        return 0


def chat(content: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **more}


#: The fixture that starts one, see conftest.py.
Start = Callable[..., Gateway]


@contextmanager
def running(folder: Path, document: dict[str, Any], workers: int = 1) -> Iterator[Gateway]:
    gateway = Gateway(folder, document, workers)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop(signal.SIGTERM)
        shutil.rmtree(folder, ignore_errors=True)
