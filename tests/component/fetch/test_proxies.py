# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is reached through a proxy and what without it, and whose fault it is when nothing is."""

from __future__ import annotations

import hashlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import transport
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.connector import Connector
from ansible_collections.mistralrs.stack.plugins.module_utils._image.network import Network

from tests.fakes.hub.certificate import make as make_certificate
from tests.fakes.hub.hub import Server, running
from tests.fakes.hub.place import LABEL, Place

DEAD = "127.0.0.1:1"


class Proxy(socketserver.ThreadingTCPServer):
    """A proxy that does with each connection what its list says, the last of it again and again."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *answers: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.asked: list[str] = []
        self.stopped = threading.Event()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.request.recv(4096)
            if not data:
                return
            head += data
        self.server.asked.append(head.decode())
        answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        if answer == "silent":
            self.server.stopped.wait(30)
        elif answer == "tunnel":
            port = int(head.split(b" ")[1].rpartition(b":")[2])
            with socket.create_connection(("127.0.0.1", port)) as target:
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self.relay, args=(target, self.request))
                back.start()
                self.relay(self.request, target)
                back.join()
        elif answer:
            self.request.sendall(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

    @staticmethod
    def relay(source: socket.socket, target: socket.socket) -> None:
        # Either side may hang up first; the tests look at what the client got.
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy("tunnel") as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.stopped.set()
        made.shutdown()
        thread.join()


@pytest.fixture
def elsewhere(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every address leads to the plain server but those of this host; which ones were connected to."""
    seen: list[Any] = []
    connect = Connector.connect

    def routed(connector: Any, address: tuple[str, int], timeout: float, source: Any = None) -> socket.socket:
        seen.append(address)
        local = address[0] == "127.0.0.1"
        return connect(connector, address if local else ("127.0.0.1", place.plain.server_port), timeout, source)

    monkeypatch.setattr(Connector, "connect", routed)
    return seen


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("192.0.2.7", "192.0.2.0/24", True),
        ("192.0.2.7", "198.51.100.0/24", False),
        ("[2001:db8::7]", "2001:db8::/32", True),
        ("hub.example.org", ".example.org", True),
        ("hub.example.org:8080", "example.org:8080", True),
        ("hub.example.org:8081", "example.org:8080", False),
        ("hub.example.org", "*", True),
    ],
)
def test_the_downloader_follows_no_proxy(
    place: Place, elsewhere: list[Any], monkeypatch: pytest.MonkeyPatch, host: str, no_proxy: str, direct: bool
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{DEAD}")
    monkeypatch.setenv("no_proxy", no_proxy)
    source, digest = f"http://{host}/model.gguf", hashlib.sha256(place.content).hexdigest()
    if direct:
        assert place.fetch(source, sha256=digest).changed
        assert ("127.0.0.1", 1) not in elsewhere
    else:
        message = place.fails("proxy_unreachable", source, sha256=digest)
        assert f"the proxy {DEAD} on the way to {source} can't be reached" in message
        assert place.plain.log == []


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("where", "why"), [(DEAD, "Connection refused"), ("proxy.invalid:3128", "its name can't be resolved")]
)
def test_an_unreachable_proxy_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch, scheme: str, where: str, why: str
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", f"http://user:secret@{where}")
    message = place.fails("proxy_unreachable", f"{scheme}://hub.example.org/model.gguf", sha256="0" * 64)
    assert f"the proxy {where} on the way to {scheme}://hub.example.org/model.gguf can't be reached: {why}" in message
    assert "secret" not in message
    assert place.sleeps == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("answer", "error", "why", "tries"),
    [
        ("407 Proxy Authentication Required", "proxy_refused", "HTTP 407", 1),
        ("403 Forbidden by policy", "proxy_refused", "HTTP 403 Forbidden by policy", 1),
        ("503 No route to host", "proxy_refused", "HTTP 503", 4),
        ("", "proxy_unreachable", "can't be reached", 4),
        ("silent", "proxy_unreachable", "no answer in time", 4),
    ],
)
def test_a_proxy_that_does_not_connect(
    place: Place, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, answer: str, error: str, why: str, tries: int
) -> None:
    proxy.answers = [answer]
    monkeypatch.setenv("https_proxy", f"http://user:secret@{proxy.place}")
    message = place.fails(error, "https://hub.example.org/model.gguf")
    assert f"the proxy {proxy.place}" in message
    assert why in message
    assert "secret" not in message
    assert len(proxy.asked) == tries


def test_a_login_is_asked_for_on_the_way_to_plain_http_too(
    place: Place, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.answers = ["407 Proxy Authentication Required"]
    monkeypatch.setenv("http_proxy", f"http://{proxy.place}")
    message = place.fails("proxy_refused", "http://hub.example.org/model.gguf", sha256="0" * 64)
    assert f"the proxy {proxy.place} refuses to connect to http://hub.example.org/model.gguf: HTTP 407" in message


@pytest.mark.parametrize("where", ["https://user:secret@proxy:8080", "socks5://proxy:1080", "http://proxy:port"])
def test_a_proxy_that_can_not_be_used(place: Place, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setenv("all_proxy", where)
    message = place.fails("proxy_unusable", "https://hub.example.org/model.gguf")
    assert "secret" not in message


@pytest.fixture
def secure(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with TLS, which is not taken for this host."""
    certificate = tmp_path / "tls.pem"
    make_certificate(certificate)
    server = Server(str(certificate))
    server.files["/model.gguf"] = place.content
    place.settings["ca_certificates"] = certificate.read_text()
    monkeypatch.setattr(transport, "is_loopback", lambda _host: False)
    with running(server):
        yield server


def test_through_a_proxy_with_a_login(
    place: Place, proxy: Proxy, secure: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy's failure goes away; what is for the proxy does not reach the server."""
    proxy.answers = ["503 Not yet", "tunnel"]
    monkeypatch.setenv("https_proxy", f"http://us%40er:secret@{proxy.place}")
    assert place.fetch(f"{secure.url}/model.gguf").changed
    place.check(there=True)
    target = f"127.0.0.1:{secure.server_port}"
    assert all(asked.startswith(f"CONNECT {target} HTTP/1.") for asked in proxy.asked)
    assert all("Proxy-Authorization: Basic dXNAZXI6c2VjcmV0" in asked for asked in proxy.asked)
    assert {each.headers["Host"] for each in secure.log} == {target}
    assert not secure.secrets("dXNAZXI6c2VjcmV0")


def test_an_untrusted_server_behind_a_proxy_is_not_the_proxys_fault(
    place: Place, proxy: Proxy, secure: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://{proxy.place}")
    place.settings["ca_certificates"] = ""
    place.fails("source_untrusted", f"{secure.url}/model.gguf")


def test_a_file_put_there_by_hand_because_the_proxy_is_dead(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://{DEAD}")
    monkeypatch.setattr(transport, "is_loopback", lambda _host: False)
    place.store.mkdir()
    (place.store / f"m-{LABEL}.gguf").write_bytes(place.content)
    assert place.fetch(retries=0).changed


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
@pytest.mark.parametrize("where", ["build", "host"])
def test_the_checks_of_an_images_build_read_the_same_variables(
    place: Place, monkeypatch: pytest.MonkeyPatch, variable: str, where: str
) -> None:
    environment = {variable: f"http://user:secret@{DEAD}"}
    if where == "host":
        monkeypatch.setenv(variable, environment[variable])
        environment = {}
    url = f"{place.plain.url}/model.gguf"
    with pytest.raises(OSError, match=rf"Connection refused \(through the proxy {DEAD}\)"):
        Network(environment, "").get(url)
    assert Network({**environment, "no_proxy": "127.0.0.0/8"}, "").get(url, most=4) == b"GGUF"
    monkeypatch.setenv("NO_PROXY", f"127.0.0.1:{place.plain.server_port}")
    assert Network(environment, "").get(url, most=4) == b"GGUF"


def test_the_checks_of_an_images_build_name_a_proxy_that_wants_a_login(place: Place, proxy: Proxy) -> None:
    proxy.answers = ["407 Proxy Authentication Required"]
    with pytest.raises(OSError, match=f"the proxy {proxy.place} answers 407"):
        Network({"http_proxy": proxy.place}, "").get("http://hub.example.org/x")
    with pytest.raises(OSError, match="can't be used: it is a proxy of the kind socks5"):
        Network({"http_proxy": f"socks5://{proxy.place}"}, "").get("http://hub.example.org/x")
