"""Who gets in, seen from outside."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any

import pytest

from tests.component.gateway.counting_engine import Engine
from tests.component.gateway.nginx_host import MODEL, Gateway, Start, chat, key


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def ask(gateway: Gateway, headers: dict[str, str], path: str = "/v1/chat/completions") -> Any:
    return gateway.ask("POST", path, chat("hello tokens=1"), headers, name=None)


def test_a_key_is_taken_in_each_form_and_nothing_else_is(start: Start, engine: Engine) -> None:
    secret = "digest-secret"
    chosen = hmac.new(secret.encode(), b"my own words", hashlib.sha256).hexdigest()
    gateway = start(
        [
            key("alice"),
            {"name": "bob", "hmac": chosen},
            key("old", expires=1000),
            key("soon", expires=time.time() + 3600),
            key("far", addresses=["192.0.2.0/24", "2001:db8::/32"]),
            key("near", addresses=["127.0.0.0/8"]),
        ],
        digest_secret=secret,
    )
    good = [
        {"Authorization": "Bearer sk-alice"},
        {"Authorization": "bearer  sk-alice"},
        {"x-api-key": "sk-alice"},
        basic("anybody:sk-alice"),
        basic("sk-alice:"),
        {"Authorization": "Bearer sk-soon"},
        {"Authorization": "Bearer sk-near"},
    ]
    for headers in good:
        assert ask(gateway, headers).status == 200, headers
    before = len(engine.requests)
    assert before == len(good)
    bad = [
        ({}, 401, "missing"),
        ({"Authorization": "Bearer sk-alicE"}, 401, "wrong"),
        ({"Authorization": "sk-alice"}, 401, "wrong"),
        ({"Authorization": "Bearer sk-alice", "x-api-key": "sk-alice"}, 401, "two keys"),
        ({"Authorization": "Bearer __index"}, 401, "wrong"),
        ({"Authorization": "Bearer " + "x" * 5000}, 401, "wrong"),
        ({"Authorization": "Bearer sk-old"}, 401, "expired"),
        ({"Authorization": "Bearer sk-far"}, 403, "address"),
        (basic("alice:sk-bob"), 401, "wrong"),
    ]
    for headers, status, word in bad:
        answer = ask(gateway, headers)
        assert answer.status == status, headers
        assert word in answer.json()["error"]["message"]
        assert (answer.headers.get("www-authenticate") == "Bearer") == (status == 401)
    assert len(engine.requests) == before
    assert ask(gateway, {"Authorization": "Bearer my own words"}).status == 200
    assert ask(gateway, basic("x:my own words")).status == 200


def test_each_api_gets_its_own_form(start: Start) -> None:
    gateway = start([key("alice")])
    assert ask(gateway, {}).json()["error"]["code"] == "invalid_api_key"
    anthropic = ask(gateway, {}, "/v1/messages").json()
    assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "authentication_error")
    ollama = ask(gateway, {}, "/api/chat")
    assert ollama.status == 403
    assert "key is missing" in ollama.json()["error"]


def test_a_body_without_a_key_is_not_read(start: Start) -> None:
    gateway = start([key("alice")])
    connection = gateway.connect()
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("Content-Length", str(20_000_000))
    connection.endheaders(b"{")
    assert connection.getresponse().status == 401
    connection.close()


def test_many_wrong_keys_from_one_address_are_told_to_wait(start: Start) -> None:
    gateway = start([key("alice")], unauthorized_per_minute=3)
    if time.time() % 60 > 57:
        time.sleep(4)
    answers = [ask(gateway, {"Authorization": "Bearer wrong"}) for _ in range(5)]
    assert [answer.status for answer in answers] == [401, 401, 401, 429, 429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    # Whoever has a key at the same address is served.
    assert gateway.chat("x").status == 200


def test_a_key_has_its_models(start: Start) -> None:
    gateway = start([key("alice"), key("none", models=["other"]), key("one", models=[MODEL])])
    assert gateway.chat("x", name="one").status == 200
    refused = gateway.chat("x", name="none")
    assert (refused.status, refused.json()["error"]["code"]) == (404, "model_not_found")
    assert gateway.ask("GET", "/v1/models", name="none").json()["data"] == []
    assert [model["id"] for model in gateway.ask("GET", "/v1/models", name="one").json()["data"]] == [MODEL]


def test_networks_without_a_key_on_ollamas_port_only(start: Start) -> None:
    gateway = start([key("alice")], ollama_open=["127.0.0.0/8"])
    assert gateway.chat("x", name=None, port=gateway.ollama_port).status == 200
    assert gateway.chat("x", name="anything", port=gateway.ollama_port).status == 200
    assert gateway.chat("x", name="alice", port=gateway.ollama_port).status == 200
    assert gateway.chat("x", name=None).status == 401
    assert {row[0] for row in gateway.usage()} == {"open", "alice"}


@pytest.mark.parametrize(
    "line", ["GET /v1/models HTTP/3.0", "GET /%00 HTTP/1.1", "nonsense", "GET / HTTP/1.1\r\nHost: a\r\nHost: b"]
)
def test_what_is_no_http_is_refused_in_json(start: Start, line: str) -> None:
    gateway = start([key("alice")])
    connection = gateway.connect()
    connection.connect()
    connection.sock.sendall(f"{line}\r\nConnection: close\r\n\r\n".encode())
    received = b""
    while piece := connection.sock.recv(65536):
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert received, gateway.log()
    assert head.split()[1] in (b"400", b"505"), received + gateway.log().encode()
    assert body.startswith(b"{") or b'{"error"' in body, received
