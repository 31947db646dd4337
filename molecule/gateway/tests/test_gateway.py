"""What the gateway refuses and how it says so; true with every engine behind it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import socket
import ssl
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

HostCommand = Callable[..., str]
COMPLETIONS = ("/v1/chat/completions", "/v1/completions")


def error_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error in OpenAI's shape, which every refusal has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].partition(";")[0] == "application/json"
    assert answer.headers["X-Request-Id"]
    assert set(answer.json()) <= {"error", "request_id"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert len(error["message"]) > 10
    return error


@pytest.mark.parametrize(("method", "path"), [*(("POST", path) for path in COMPLETIONS), ("GET", "/v1/models")])
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer", "Basic QTpC", "Bearer a b"])
def test_no_valid_key(stranger: httpx.Client, method: str, path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = stranger.request(method, path, headers=headers, content=b"{}" if method == "POST" else None)
    error_of(answer, 401, "invalid_api_key")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_digest_is_no_key(stranger: httpx.Client, key: str) -> None:
    digest = hashlib.sha256(key.encode()).hexdigest()
    error_of(stranger.get("/v1/models", headers={"Authorization": f"Bearer {digest}"}), 401, "invalid_api_key")


def test_a_large_request_without_a_key_is_not_read(stranger: httpx.Client) -> None:
    error_of(stranger.post("/v1/completions", content=b"x" * 2_000_000), 401, "invalid_api_key")


@pytest.mark.parametrize(
    "path",
    [
        "/v1", "/v1/", "/v1/files", "/v1/skills", "/v1/sessions/x", "/v1/lora_adapters",
        "/v1/system/info", "/re_isq", "/calibration/apply", "/metrics", "/docs", "/ui/", "/stub_status",
        "/_mistral/health", "/_mistral/error", "/v1/chat/completions/", "/V1/models",
        "/v1/x/%2e%2e/files", "/v1//files",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_else_is_reachable(client: httpx.Client, method: str, path: str) -> None:
    error_of(client.request(method, path), 404, "unknown_url")


@pytest.mark.parametrize("path", ["/v1/models%00", "/%2e%2e/metrics"])
def test_an_address_that_makes_no_sense(client: httpx.Client, path: str) -> None:
    error_of(client.get(path), 400, "bad_request")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        *((method, path, "POST") for path in COMPLETIONS for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH")),
        *(
            (method, path, "GET, HEAD")
            for path in ("/v1/models", "/health")
            for method in ("POST", "DELETE", "OPTIONS")
        ),
    ],
)
def test_wrong_method(client: httpx.Client, method: str, path: str, allow: str) -> None:
    answer = client.request(method, path)
    error_of(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == allow


@pytest.mark.parametrize("path", COMPLETIONS)
@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b"{'a': 1}", b"{} x"])
def test_not_a_json_object(client: httpx.Client, path: str, body: bytes) -> None:
    error_of(client.post(path, content=body), 400, "invalid_json")


@pytest.mark.parametrize("path", COMPLETIONS)
@pytest.mark.parametrize("name", ["gpt-4o", "../models", "__proto__", "constructor", 'a"b\\c\n', "é" * 100])
def test_an_unknown_model_is_named_with_those_there_are(client: httpx.Client, path: str, name: str) -> None:
    error = error_of(client.post(path, json={"model": name, "prompt": "x", "messages": []}), 404, "model_not_found")
    assert error["param"] == "model"
    assert json.dumps(name[:20], ensure_ascii=False)[1:-1] in error["message"]
    known = client.get("/v1/models").json()["data"]
    assert all(entry["id"] in error["message"] for entry in known)


@pytest.mark.parametrize("value", [0, -1, 1.5, "many", True, []])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_is_a_number(client: httpx.Client, name: str, value: Any) -> None:
    error = error_of(client.post("/v1/completions", json={"prompt": "x", name: value}), 400, "invalid_value")
    assert error["param"] == name


def test_too_large(url: str, trust: ssl.SSLContext, key: str) -> None:
    # Nginx answers as soon as it knows the length, so no more than that is sent.
    address = urlsplit(url)
    connection = http.client.HTTPSConnection(address.hostname or "", address.port, context=trust, timeout=30)
    connection.putrequest("POST", "/v1/completions")
    connection.putheader("Authorization", f"Bearer {key}")
    connection.putheader("Content-Length", str(10**10))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]["code"]) == (413, "request_too_large")
    connection.close()


def test_headers_too_large(client: httpx.Client) -> None:
    error_of(client.get("/health", headers={"X-Large": "x" * 40_000}), 400, "bad_request")


def test_plain_http_on_the_tls_port(url: str) -> None:
    address = urlsplit(url)
    answer = httpx.get(f"http://{address.hostname}:{address.port or 443}/v1/models", trust_env=False)
    assert "HTTPS" in error_of(answer, 400, "bad_request")["message"]


def test_health_needs_no_key_and_tells_nothing(stranger: httpx.Client) -> None:
    answer = stranger.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_models_are_those_that_clients_may_name(client: httpx.Client) -> None:
    answer = client.get("/v1/models")
    assert answer.status_code == 200
    models = {entry["id"]: entry["aliases"] for entry in answer.json()["data"]}
    assert models
    assert "default" not in models
    for names in models.values():
        assert isinstance(names, list)


def test_no_program_is_named(client: httpx.Client) -> None:
    headers = client.get("/v1/models").headers
    assert headers["Server"] == "nginx"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not [name for name in headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_versions_spoken(url: str, trust: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    assert handshake(url, version) == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(url: str, version: ssl.TLSVersion) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(url, version)


def own_trust() -> ssl.SSLContext:
    """What a client has to trust, for a test that changes how it is looked at."""
    return ssl.create_default_context(cafile=os.environ["GATEWAY_CA"])


def handshake(url: str, version: ssl.TLSVersion) -> str | None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Otherwise the client's own policy would refuse the old versions.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    address = urlsplit(url)
    with (
        socket.create_connection((address.hostname, address.port or 443), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname=address.hostname) as secured,
    ):
        return secured.version()


def test_the_certificate_stands_strict_verification(url: str) -> None:
    trust = own_trust()
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    address = urlsplit(url)
    with (
        socket.create_connection((address.hostname, address.port or 443), timeout=10) as connection,
        trust.wrap_socket(connection, server_hostname=address.hostname) as secured,
    ):
        assert secured.getpeercert()


@pytest.mark.parametrize("path", COMPLETIONS)
def test_the_first_piece_arrives_before_the_last(client: httpx.Client, path: str) -> None:
    body = {"prompt": "slow", "messages": [{"role": "user", "content": "slow"}], "max_tokens": 24, "stream": True}
    del body["messages" if path == "/v1/completions" else "prompt"]
    arrivals = []
    with client.stream("POST", path, json=body) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                arrivals.append(time.monotonic())
    assert line == "" or line == "data: [DONE]"
    assert len(arrivals) > 3
    assert arrivals[-1] - arrivals[0] > 0.1


def test_neither_key_nor_prompt_is_in_a_log(client: httpx.Client, key: str, on_host: HostCommand) -> None:
    word = uuid.uuid4().hex
    client.post(f"/v1/completions?note={word}", json={"prompt": word, "max_tokens": 1})
    client.post("/v1/completions", content=f'{{"prompt": "{word}" broken')
    client.post("/v1/completions", json={"model": "gpt-4o", "prompt": word})
    client.get(f"/v1/models?key={word}", headers={"X-Word": word})
    logs = on_host("sh", "-c", "journalctl --no-pager -o cat; cat /var/log/nginx/*")
    assert '"path":"/v1/completions"' in logs
    assert key not in logs
    assert word not in logs
    assert not on_host("sh", "-c", f"grep -rl {word} /var/log /var/lib/nginx /tmp || [ $? -eq 1 ]").strip()
    # The key itself is nowhere on the host.
    assert not on_host("sh", "-c", f"grep -rlF -e {key} /etc /var/log /var/lib/nginx /root || [ $? -eq 1 ]").strip()


def test_the_access_log_is_json_and_names_the_client(client: httpx.Client, key: str, on_host: HostCommand) -> None:
    request_id = client.get("/v1/models?secret=1").headers["X-Request-Id"]
    lines = on_host("tail", "-n", "50", "/var/log/nginx/mistral-access.json").splitlines()
    entry = next(entry for entry in map(json.loads, lines) if entry["id"] == request_id)
    assert (entry["key"], entry["tenant"]) == ("default", "default")
    assert key not in json.dumps(entry)
    assert "secret" not in json.dumps(entry)
    assert (entry["method"], entry["path"], entry["status"]) == ("GET", "/v1/models", 200)
    assert entry["bytes"] > 0
    assert entry["seconds"] >= 0


def test_only_root_reads_the_digests(on_host: HostCommand) -> None:
    assert on_host("stat", "-c", "%a %U", "/etc/nginx/mistral/plan.json").strip() == "600 root"
    keys = json.loads(on_host("cat", "/etc/nginx/mistral/plan.json"))["keys"]
    digests = [key.get("sha256") or key["hmac"] for key in keys]
    journal = on_host("journalctl", "--no-pager", "-o", "cat")
    assert digests
    assert not [digest for digest in digests if digest in journal]
    assert "PRIVATE KEY" not in journal


def test_counters_are_for_this_host_only(client: httpx.Client, on_host: HostCommand) -> None:
    listening = [line.split()[3] for line in on_host("ss", "-Hltn").splitlines()]
    assert "127.0.0.1:8081" in listening
    assert not [address for address in listening if address.endswith(":80")]


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/"])
def test_a_foreign_host_is_refused(client: httpx.Client, path: str) -> None:
    error_of(client.get(path, headers={"Host": "evil.example"}), 421, "unknown_host")


def test_the_name_of_the_handshake_may_be_missing(url: str, key: str) -> None:
    """Who calls an address sends none, and is known by the header."""
    address, trust = urlsplit(url), own_trust()
    trust.check_hostname = False
    with (
        socket.create_connection((address.hostname, address.port or 443), timeout=10) as connection,
        trust.wrap_socket(connection) as secured,
    ):
        headers = f"Host: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        secured.sendall(f"GET /v1/models HTTP/1.1\r\n{headers}".encode())
        assert secured.recv(15) == b"HTTP/1.1 200 OK"


def test_http2_is_offered(url: str) -> None:
    trust = own_trust()
    trust.set_alpn_protocols(["h2", "http/1.1"])
    address = urlsplit(url)
    with (
        socket.create_connection((address.hostname, address.port or 443), timeout=10) as connection,
        trust.wrap_socket(connection, server_hostname=address.hostname) as secured,
    ):
        assert secured.selected_alpn_protocol() == "h2"


def test_nginx_has_room_for_thousands_of_clients(on_host: HostCommand) -> None:
    main = on_host("cat", "/run/nginx.pid").strip()
    worker = on_host("pgrep", "-P", main).split()[0]
    assert int(re.findall(r"Max open files +(\d+)", on_host("cat", f"/proc/{worker}/limits"))[0]) >= 8192
    assert "worker_connections 8192;" in on_host("cat", "/etc/nginx/nginx.conf")


def test_a_stop_waits_for_answers(on_host: HostCommand) -> None:
    said = on_host("systemctl", "show", "nginx", "--property=ExecStop,TimeoutStopUSec,NeedDaemonReload")
    assert "QUIT/30" in said
    assert "QUIT/5" not in said
    assert "TimeoutStopUSec=35s" in said
    assert "NeedDaemonReload=no" in said


def test_the_access_log_is_rotated_and_not_for_everybody(client: httpx.Client, on_host: HostCommand) -> None:
    log = "/var/log/nginx/mistral-access.json"
    assert on_host("stat", "-c", "%a %U %G", log).strip() == "640 www-data adm"
    client.get("/v1/models")
    on_host(
        "sh",
        "-c",
        f"rm -f {log}-*; logrotate -f /etc/logrotate.d/mistral-gateway",
    )
    rotated = on_host("sh", "-c", f"ls {log}-*").split()
    assert len(rotated) == 1
    assert on_host("stat", "-c", "%a", rotated[0]).strip() == "640"
    request_id = client.get("/v1/models").headers["X-Request-Id"]
    assert request_id in on_host("cat", log)
    on_host("rm", rotated[0])


@pytest.mark.parametrize(
    ("path", "rights"),
    [
        ("/var/lib/mistral", "755 root"),
        ("/var/lib/mistral/gateway", "750 www-data"),
        ("/var/lib/mistral/gateway-admin", "700 root"),
    ],
)
def test_who_may_enter_the_gateways_folders(on_host: HostCommand, path: str, rights: str) -> None:
    assert on_host("stat", "-c", "%a %U", path).strip() == rights
