# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's role, run whole on this machine under the distribution's Nginx."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.component.gateway.software import find_or_skip
from tests.component.real_servers.gateway import Gateway
from tests.component.real_servers.packages import free_port
from tests.fakes.engine import stand_in_engine

ROOT = Path(__file__).resolve().parents[3]

MIB = 1 << 20


@pytest.fixture(scope="module")
def engine() -> Iterator[int]:
    server = stand_in_engine.server(0, ROOT / "tests" / "recordings", ("tiny-q4_k_m", "other-q4_k_m"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, engine: int) -> Iterator[Gateway]:
    find_or_skip()
    found = Gateway(tmp_path_factory.mktemp("gateway"), engine)
    found.apply(checks=True)
    assert found.calls() == ["start nginx"]
    yield found
    found.stop()


def error_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].partition(";")[0] == "application/json"
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == code
    return error


# --- What a key holder may ask of the engine.


def chat(gateway: Gateway, **body: Any) -> httpx.Response:
    with gateway.client() as client:
        return client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}], **body})


def echo(gateway: Gateway, **body: Any) -> dict[str, Any]:
    """What of a chat's body reaches the engine."""
    answer = chat(gateway, **body)
    assert answer.status_code == 200, answer.text
    arrived: dict[str, Any] = json.loads(answer.json()["choices"][0]["message"]["content"])["body"]
    return arrived


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("web_search_options", {}),
        ("web_search_options", {"search_context_size": "low"}),
        ("enable_shell", True),
        ("enable_code_execution", True),
        ("agent_permission", "auto"),
        ("code_execution_permission", "auto"),
        ("session_id", "another client's"),
        ("files", [{"name": "a.csv"}]),
        ("max_tool_rounds", 5),
        ("shell_skill_references", ["skill"]),
    ],
)
def test_what_makes_the_engine_act_is_refused(gateway: Gateway, path: str, name: str, value: object) -> None:
    body = {"prompt": "x", "messages": [{"role": "user", "content": "x"}], name: value}
    with gateway.client() as client:
        error = error_of(client.post(path, json=body), 400, "parameter_not_allowed")
    assert error["param"] == name
    assert name in error["message"]


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "web_search"}],
        [{"type": "function", "function": {"name": "f"}}, {"type": "code_interpreter", "container": {"type": "auto"}}],
        [{"type": "shell"}],
        [{"type": "namespace", "name": "n", "tools": []}],
        [{"type": "Function", "function": {"name": "f"}}],
        [{"function": {"name": "f"}}],
        [None],
        {"type": "function"},
        "web_search",
    ],
)
def test_tools_that_the_client_does_not_run_are_refused(gateway: Gateway, tools: object) -> None:
    assert error_of(chat(gateway, tools=tools), 400, "tool_not_allowed")["param"] == "tools"


@pytest.mark.parametrize(
    "part",
    [{"type": "file", "file": {"file_id": "file-1"}}, {"file": {"file_data": "data:,x"}}, {"type": "input_file"}],
)
def test_the_engines_files_are_out_of_reach(gateway: Gateway, part: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "x"}, part]}]
    error_of(chat(gateway, messages=messages), 400, "file_not_allowed")


def test_what_asks_for_nothing_is_let_through_and_left_out(gateway: Gateway) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"url": "http://example.org"}}}]
    arrived = echo(
        gateway,
        tools=tools,
        seed=3,
        web_search_options=None,
        enable_shell=False,
        shell_skill_references=[],
        unknown=1,
        **{"__proto__": {"files": 1}},
    )
    assert set(arrived) == {"messages", "model", "temperature", "top_p", "max_tokens", "tools", "seed"}
    assert arrived["tools"] == tools


def test_null_is_no_list_of_tools(gateway: Gateway) -> None:
    assert echo(gateway, tools=None)["tools"] is None
    assert echo(gateway, tools=[])["tools"] == []


# --- What a stranger can make the gateway do.

STRANGERS = [
    ("POST", "/v1/chat/completions", "", "401"),
    ("POST", "/v1/completions", "Authorization: Bearer wrong\r\n", "401"),
    ("POST", "/v1/completions", "Expect: 100-continue\r\n", "401"),
    ("GET", "/v1/models", "", "401"),
    ("POST", "/nothing", "", "404"),
    ("POST", "/health", "", "413"),
    ("GET", "/health", "", "413"),
]


@pytest.mark.parametrize(
    ("method", "path", "header", "status", "chunked"),
    # How long a body in pieces is shows only when it has come, and /health needs none of it.
    [(*STRANGERS[0], False), (*STRANGERS[1], True), (*STRANGERS[4], False), ("GET", "/health", "", "200", True)],
)
def test_a_request_without_a_key_is_answered_before_its_body(
    gateway: Gateway, method: str, path: str, header: str, status: str, chunked: bool
) -> None:
    before = gateway.memory()
    connections = [gateway.connect() for _number in range(20)]
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {19 * MIB}"
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n" if chunked else b"x" * 0x10000
    try:
        for connection in connections:
            connection.settimeout(20)
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{header}{length}\r\n\r\n".encode())
        # All but the last MiB: who reads the body first has it in memory now, and has not answered.
        for connection in connections:
            try:
                for _number in range(18 * 16):
                    connection.sendall(piece)
            except OSError:
                # It has answered and hung up.
                continue
        most = gateway.memory()
        for connection in connections:
            answer = b""
            try:
                answer = connection.recv(4096)
            except OSError:
                # A reset after the answer may take it away.
                continue
            assert answer[:12] == b"HTTP/1.1 " + status.encode()
    finally:
        for connection in connections:
            connection.close()
    assert most - before < 20


def test_the_answer_to_a_stranger_comes_at_once(gateway: Gateway) -> None:
    # Nothing of the body is sent.
    for method, path, header, status in STRANGERS:
        with gateway.connect() as connection:
            connection.settimeout(5)
            request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{header}Content-Length: 9000000\r\n\r\n"
            connection.sendall(request.encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert answer.status == int(status), (method, path)
            assert set(json.loads(answer.read())["error"]) == {"message", "type", "param", "code"}


def test_a_part_of_http_that_nginx_does_not_know(gateway: Gateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 501
        assert json.loads(answer.read())["error"]["code"] == "not_implemented"


def test_the_errors_of_nginx_itself(gateway: Gateway) -> None:
    with gateway.client("") as stranger:
        answer = stranger.get("/v1/models")
        error_of(answer, 401, "invalid_api_key")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["X-Request-Id"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Retry-After" not in answer.headers
        answer = stranger.delete("/health")
        error_of(answer, 405, "method_not_allowed")
        assert answer.headers["Allow"] == "GET, HEAD"
        error_of(stranger.get("/x.html"), 404, "unknown_url")
        error_of(stranger.get("/health", headers={"X-Large": "x" * 40_000}), 400, "bad_request")
        error_of(stranger.get("/" + "x" * 40_000), 414, "request_too_large")
        head = stranger.head("/nothing")
        assert (head.status_code, head.text) == (404, "")
    with gateway.client() as client:
        assert client.get("/v1/completions").headers["Allow"] == "POST"
    plain = httpx.get(f"http://127.0.0.1:{gateway.port}/", trust_env=False)
    assert "HTTPS" in error_of(plain, 400, "bad_request")["message"]


# --- What runs is what lies there.

KEYS = [{"name": "default"}, {"name": "other", "key": "Wq7Rz2mXk9LpTf4VbN8s"}]


def status(gateway: Gateway, key: str) -> int:
    with gateway.client(key) as client:
        return client.get("/v1/models").status_code


def load(gateway: Gateway, *changed: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Run the module by itself on the files that lie there; what it returns."""
    paths = [path for path in gateway.owned() if path not in [one["path"] for one in changed]]
    files = [
        {"path": path, "state": "as_is", "mode": f"{(gateway.etc / path).stat().st_mode & 0o777:04o}"} for path in paths
    ]
    arguments = {
        "root": str(gateway.etc),
        "files": [*files, *changed],
        "trial": "mistral/trial.conf",
        "service": "nginx",
        "loaded_file": "mistral/loaded.conf",
        "loaded_url": f"http://127.0.0.1:{gateway.status_port}/loaded",
        "error_log": f"{gateway.folder}/log/error.log",
    }
    return gateway.module("nginx_config", arguments, check)


@pytest.fixture
def settled(gateway: Gateway) -> Gateway:
    """The gateway as a run without a change leaves it."""
    load(gateway)
    assert not load(gateway)["changed"]
    gateway.calls()
    return gateway


def test_a_second_run_changes_nothing(gateway: Gateway) -> None:
    gateway.apply()
    gateway.calls()
    assert "changed=0" in gateway.apply(checks=True)
    assert gateway.calls() == []


def test_a_run_that_was_killed_before_the_reload_is_made_up_for(gateway: Gateway) -> None:
    gateway.apply(api_keys=KEYS)
    revoked = KEYS[1]["key"]
    assert status(gateway, revoked) == 200
    (gateway.folder / "kill-at-reload").touch()
    assert gateway.run().returncode != 0
    # The hole: the file says that there is no such key, and Nginx takes it.
    names = [entry["name"] for entry in json.loads((gateway.etc / "mistral" / "plan.json").read_text())["keys"]]
    assert names == ["default"]
    assert status(gateway, revoked) == 200
    gateway.calls()
    said = gateway.apply()
    assert gateway.calls() == ["reload nginx"]
    assert "changed=1" in said
    assert status(gateway, revoked) == 401
    assert status(gateway, gateway.key) == 200
    left = [path.name for path in gateway.etc.rglob(".*")]
    assert left == []


@pytest.mark.parametrize(
    "path",
    ["mistral/plan.json", "mistral/lua/gateway/keys.lua", "conf.d/mistral.conf", "mistral/tls/self-signed.pem"],
)
def test_a_file_that_was_written_again_by_hand_is_loaded(settled: Gateway, path: str) -> None:
    # Who knows what Nginx has read in the meantime: only that it was not this.
    file = settled.etc / path
    content, times = file.read_bytes(), file.stat()
    file.write_bytes(b"something else")
    file.write_bytes(content)

    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert load(settled, check=True)["changed"]
    assert settled.calls() == []
    found = load(settled)
    assert (found["changed"], found["changed_files"], found["loaded"]) == (True, [], False)
    assert settled.calls() == ["reload nginx"]
    assert not load(settled)["changed"]


@pytest.mark.parametrize("kind", ["gone", "changed"])
def test_the_name_of_the_files_is_looked_at_too(settled: Gateway, kind: str) -> None:
    file = settled.etc / "mistral" / "loaded.conf"
    if kind == "gone":
        file.unlink()
    else:
        file.write_text(file.read_text().replace("200", "404"))
    assert load(settled)["changed"]
    assert settled.calls() == ["reload nginx"]
    assert not load(settled)["changed"]


def test_a_file_that_goes_is_unloaded_by_the_next_run(settled: Gateway) -> None:
    path = "modules-enabled/90-mistral.conf"
    content = (settled.etc / path).read_text()
    (settled.folder / "kill-at-reload").touch()
    with pytest.raises(AssertionError, match="ended with -9"):
        load(settled, {"path": path, "state": "absent"})
    assert not (settled.etc / path).exists()
    settled.calls()
    assert load(settled, {"path": path, "state": "absent"})["changed"]
    assert settled.calls() == ["reload nginx"]
    assert not load(settled, {"path": path, "state": "absent"})["changed"]
    load(settled, {"path": path, "content": content})


def test_a_stopped_nginx_is_started(settled: Gateway) -> None:
    settled.stop()
    found = load(settled)
    assert (found["changed"], found["service_action"]) == (True, "start")
    assert not load(settled)["changed"]


def test_a_replaced_program_is_restarted(settled: Gateway) -> None:
    # As an upgrade does whose restart was forbidden, or did not come.
    program_file = settled.folder / "sbin" / "nginx"
    before, data = settled.pid(), program_file.read_bytes()
    program_file.unlink()
    program_file.write_bytes(data)
    program_file.chmod(0o755)
    assert load(settled)["service_action"] == "restart"
    assert settled.pid() != before
    assert not load(settled)["changed"]


def test_an_nginx_that_does_not_take_the_files_gets_the_old_ones_back(settled: Gateway) -> None:
    path = settled.etc / "conf.d" / "mistral.conf"
    before = path.read_text()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        content = before.replace(f"listen 127.0.0.1:{settled.port} ssl", f"listen 127.0.0.1:{port} ssl")
        assert content != before
        # nginx -t takes an address that is in use.
        found = load(settled, {"path": "conf.d/mistral.conf", "content": content})
        assert found["error_id"] == "gateway.configuration_not_loaded"
        assert f"bind() to 127.0.0.1:{port} failed (98: Address already in use)" in found["msg"]
        assert path.read_text() == before
    (settled.folder / "deaf").touch()
    try:
        found = load(settled, {"path": "conf.d/mistral.conf", "content": before.replace("1m", "2m", 1) + "# new\n"})
    finally:
        (settled.folder / "deaf").unlink()
    assert found["error_id"] == "gateway.configuration_not_loaded"
    assert path.read_text() == before
    assert status(settled, settled.key) == 200
    assert load(settled)["changed"]
    assert not load(settled)["changed"]


def test_what_only_the_running_nginx_refuses(settled: Gateway) -> None:
    # A zone of shared memory can't change its kind; nginx -t, which has no old one, takes it.
    zone = {"path": "conf.d/zone.conf", "content": "limit_req_zone $binary_remote_addr zone=tried:1m rate=1r/s;\n"}
    load(settled, zone)
    found = load(settled, {**zone, "content": "limit_req_zone $server_name zone=tried:1m rate=1r/s;\n"})
    assert found["error_id"] == "gateway.configuration_not_loaded"
    assert 'limit_req "tried" uses the "$server_name" key' in found["msg"]
    assert "binary_remote_addr" in (settled.etc / "conf.d" / "zone.conf").read_text()
    load(settled, {**zone, "state": "absent"})


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("mistral/lua/gateway/keys.lua", "local M = {}\nlocal function (\n", "keys.lua:2:"),
        ("mistral/lua/gateway/keys.lua", "error 'broken'\n", "keys.lua:1: broken"),
        ("mistral/plan.json", '{"version": 1, "paths": [], "default_model": "x", "new": 1}', "unknown field: new"),
        ("mistral/plan.json", '{"version": 1', "mistral/plan.json: "),
    ],
)
def test_a_program_or_a_plan_that_cannot_be_loaded_is_refused(
    settled: Gateway, path: str, content: str, said: str
) -> None:
    file = settled.etc / path
    before, workers = file.read_bytes(), settled.workers()
    # nginx -t looks at neither.
    found = load(settled, {"path": path, "content": content, "mode": f"{file.stat().st_mode & 0o777:04o}"})
    assert found["error_id"] == "gateway.configuration_rejected"
    assert said in found["msg"]
    assert file.read_bytes() == before
    assert settled.calls() == []
    assert settled.workers() == workers
    assert status(settled, settled.key) == 200


def test_a_host_with_the_gateway_before_lua_is_moved(gateway: Gateway) -> None:
    """Its programs go, and nothing of Nginx's configuration names them any more."""
    former = [gateway.etc / "mistral" / name for name in ("gateway.js", "plan.js", "keys.js", "queue.lua")]
    for file in former:
        file.write_text("// of an earlier version\n")
    gateway.apply()
    assert [file.name for file in former if file.exists()] == []
    assert status(gateway, gateway.key) == 200
    assert "changed=0" in gateway.apply()


# --- What the role owns is looked at whole.


@pytest.mark.parametrize("name", ["self-signed.key", "self-signed.pem"])
def test_a_certificate_without_its_key_is_made_anew(gateway: Gateway, name: str) -> None:
    (gateway.etc / "mistral" / "tls" / name).unlink()
    before = (gateway.credentials / "ca.pem").read_text()
    gateway.apply()
    assert (gateway.credentials / "ca.pem").read_text() != before
    assert status(gateway, gateway.key) == 200
    assert (gateway.etc / "mistral" / "tls" / "self-signed.key").stat().st_mode & 0o777 == 0o600
    assert not load(gateway)["changed"]


def test_the_certificate_and_its_key_are_looked_at_together(gateway: Gateway, tmp_path: Path) -> None:
    tls = gateway.etc / "mistral" / "tls"
    pem, key = (tls / "self-signed.pem").read_text(), (tls / "self-signed.key").read_text()

    def problem(certificate: str | None, private_key: str | None) -> str:
        for name, text in (("c.pem", certificate), ("c.key", private_key)):
            (tmp_path / name).unlink(missing_ok=True)
            if text is not None:
                (tmp_path / name).write_text(text)
        arguments = {"certificate": str(tmp_path / "c.pem"), "private_key": str(tmp_path / "c.key")}
        return str(gateway.module("certificate_info", arguments)["problem"])

    assert problem(pem, key) == ""
    assert "certificate_file_missing" in problem(pem, None)
    assert "certificate_file_missing" in problem(None, key)
    assert "certificate_file_missing" in problem(pem, "")
    assert "private_key_mismatch" in problem(pem, gateway.new_key())
    assert "private_key_invalid" in problem(pem, key[:60])
    assert "certificate_invalid" in problem(pem[:200], key)


@pytest.mark.parametrize("name", ["nginx.conf", "mistral/lua/gateway/gateway.lua"])
def test_what_nginx_could_not_be_started_with_is_found(settled: Gateway, name: str) -> None:
    file = settled.etc / name
    content = file.read_text()
    file.unlink()
    try:
        if name == "nginx.conf":
            found = load(settled)
            assert found["error_id"] == "gateway.configuration_broken"
            assert "nginx.conf" in found["msg"]
        else:
            found = load(settled, {"path": name, "content": content})
            assert found["changed_files"] == [str(file)]
    finally:
        if not file.exists():
            file.write_text(content)
    load(settled)


@pytest.mark.parametrize("path", ["mistral/plan.json", "mistral/tls/self-signed.key"])
def test_a_secret_of_another_user_is_taken_back(settled: Gateway, path: str) -> None:

    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(settled.etc / path, 65534, 65534)
    assert load(settled)["changed_files"] == [str(settled.etc / path)]
    assert (settled.etc / path).stat().st_uid == 0


# --- Clients trust what the gateway shows.


def test_clients_are_told_of_a_certificate_only_when_nginx_shows_it(gateway: Gateway, tmp_path: Path) -> None:
    trusted = (gateway.credentials / "ca.pem").read_text()
    gateway.authority(tmp_path)
    leaf, issuer = (tmp_path / "leaf.pem").read_text(), (tmp_path / "issuer.pem").read_text()
    chain = {"certificate": str(tmp_path / "chain.pem"), "private_key": str(tmp_path / "leaf.key")}
    # The report: the blocks are glued, which OpenSSL refuses.
    (tmp_path / "chain.pem").write_text(leaf.strip() + issuer)
    done = gateway.run(**chain)
    assert "[gateway.certificate_invalid]" in done.stdout
    assert (gateway.credentials / "ca.pem").read_text() == trusted
    # Right, but Nginx does not take it up.
    (tmp_path / "chain.pem").write_text(leaf + issuer)
    (gateway.folder / "deaf").touch()
    try:
        done = gateway.run(**chain)
    finally:
        (gateway.folder / "deaf").unlink()
    assert "gateway.configuration_not_loaded" in done.stdout
    assert (gateway.credentials / "ca.pem").read_text() == trusted
    assert not (gateway.etc / "mistral" / "tls" / "own.pem").exists()
    gateway.apply(**chain)
    assert issuer.strip() in (gateway.credentials / "ca.pem").read_text()
    assert status(gateway, gateway.key) == 200
    gateway.apply()
    assert (gateway.credentials / "ca.pem").read_text() == trusted


# --- A key is rotated.


def test_both_keys_are_valid_while_one_is_rotated(gateway: Gateway) -> None:
    gateway.apply()
    old, workers = gateway.key, gateway.workers()
    body = {"prompt": "slow", "stream": True}
    with gateway.client() as client, client.stream("POST", "/v1/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert gateway.rotate("default").returncode == 0
        assert set(gateway.workers()) != set(workers)
        assert list(lines)[-2] == "data: [DONE]"
    new = gateway.key
    assert new != old
    assert (status(gateway, old), status(gateway, new)) == (200, 200)
    assert "changed=0" in gateway.apply()
    assert "[gateway.rotation_under_way]" in gateway.rotate("default").stdout
    assert gateway.rotate("default", ends=True).returncode == 0
    assert (status(gateway, old), status(gateway, new)) == (401, 200)
    assert gateway.key == new
    done = gateway.rotate("default", ends=True)
    assert "[gateway.rotation_not_begun]" in done.stdout
    assert "[gateway.rotate_unknown_key]" in gateway.rotate("nobody").stdout
    assert new not in done.stdout


def test_a_rotation_that_was_killed_between_its_files_begins_anew(gateway: Gateway) -> None:
    gateway.apply()
    old = gateway.key
    (gateway.credentials / "api-key-default.before").write_text(f"{old}\n")
    assert gateway.rotate("default").returncode == 0
    assert gateway.key != old
    assert status(gateway, old) == 200
    assert gateway.rotate("default", ends=True).returncode == 0


def test_a_key_that_can_be_guessed_is_refused(gateway: Gateway) -> None:
    done = gateway.run(api_keys=[{"name": "default", "key": "changeme-changeme-changeme"}])
    assert "[gateway.api_key_weak]" in done.stdout
    assert "changeme-changeme" not in done.stdout
    assert "changed=0" in done.stdout


# --- Addresses of IPv6, and paths in the home folder.


def test_an_address_of_ipv6_has_one_form(gateway: Gateway) -> None:
    long = "a" * 50 + ".example.org"
    names = ["2001:0db8::0001", "LOCALHOST", "localhost", "127.0.0.1", long, f"*.{long}"]
    gateway.apply(listen_address="::1", server_names=names)
    text = (gateway.etc / "conf.d" / "mistral.conf").read_text()
    assert f"listen [::1]:{gateway.port} ssl http2;" in text
    assert "server_name [2001:db8::1] localhost 127.0.0.1 " in text
    assert "changed=0" in gateway.apply(listen_address="[::1]", server_names=names)
    assert not load(gateway)["changed"]
    with socket.create_connection(("::1", gateway.port), timeout=20) as connection:
        secured = gateway.trust().wrap_socket(connection, server_hostname="2001:db8::1")
        assert secured.getpeercert()
    gateway.apply()


def token_of(private: ec.EllipticCurvePrivateKey, **claims: Any) -> str:
    """A signed token (ES256)."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    head = part(json.dumps({"alg": "ES256", "kid": "one"}).encode()) + "." + part(json.dumps(claims).encode())
    first, second = decode_dss_signature(private.sign(head.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{head}.{part(first.to_bytes(32, 'big') + second.to_bytes(32, 'big'))}"


def test_who_signs_tokens_is_read_below_the_home_folder(gateway: Gateway) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    numbers = private.public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(value.to_bytes(32, "big")).decode() for value in (numbers.x, numbers.y))
    entry = {"kid": "one", "kty": "EC", "crv": "P-256", "x": x.rstrip("="), "y": y.rstrip("=")}
    (gateway.folder / "home" / "jwks.json").write_text(json.dumps({"keys": [entry]}))
    jwt = {"issuer": "https://login.example", "audience": "gateway", "jwks": "~/jwks.json"}
    gateway.apply(jwt=jwt)
    claims = {"iss": "https://login.example", "aud": "gateway", "sub": "alice", "exp": int(time.time()) + 300}
    assert status(gateway, token_of(private, **claims)) == 200
    assert status(gateway, token_of(private, **{**claims, "iss": "https://evil.example"})) == 401
    assert status(gateway, token_of(ec.generate_private_key(ec.SECP256R1()), **claims)) == 401
    assert "changed=0" in gateway.apply(jwt=jwt)
    done = gateway.run(jwt={**jwt, "jwks": "~/none.json"})
    assert "[gateway.file_missing]" in done.stdout
    assert "changed=0" in done.stdout
    gateway.apply()
    assert status(gateway, token_of(private, **claims)) == 401


def test_a_client_may_have_a_certificate_instead_of_a_key(gateway: Gateway, tmp_path: Path) -> None:
    def ask(certificate: tuple[str, str] | None) -> httpx.Response:
        trust = gateway.trust()
        if certificate:
            trust.load_cert_chain(*certificate)
        url = f"https://localhost:{gateway.port}/v1/models"
        return httpx.get(url, verify=trust, timeout=30, trust_env=False)

    known, unknown = (gateway.client_certificate(tmp_path, name) for name in ("nightly", "somebody"))
    foreign = gateway.client_certificate(tmp_path, "foreign", issuer="other")
    gateway.apply(client_ca=str(tmp_path / "issuer.pem"), client_names=["nightly"])
    assert ask(known).status_code == 200
    error_of(ask(unknown), 401, "invalid_api_key")
    error_of(ask(None), 401, "invalid_api_key")
    error_of(ask(foreign), 400, "bad_request")
    gateway.apply()
    error_of(ask(known), 401, "invalid_api_key")


def test_ollamas_clients_have_an_address_of_their_own(gateway: Gateway) -> None:
    port = free_port()
    tags = f"http://127.0.0.1:{port}/api/tags"
    gateway.apply(ollama_listen=[f"127.0.0.1:{port}"])
    assert httpx.get(tags, trust_env=False).status_code == 403
    assert httpx.get(tags, headers={"Authorization": f"Bearer {gateway.key}"}, trust_env=False).status_code == 200
    gateway.apply(ollama_listen=[f"127.0.0.1:{port}"], ollama_open_networks=["127.0.0.0/8"])
    answer = httpx.get(tags, trust_env=False)
    assert {entry["name"] for entry in answer.json()["models"]} >= {"tiny-q4_k_m:latest"}
    # The other door is as closed as before.
    assert status(gateway, "") == 401
    done = gateway.run(ollama_listen=["localhost:11434"])
    assert "[gateway.ollama_listen_invalid]" in done.stdout
    assert "changed=0" in done.stdout
    gateway.apply()
    end = time.monotonic() + 10
    while True:
        try:
            httpx.get(tags, trust_env=False)
        except httpx.ConnectError:
            break
        assert time.monotonic() < end, "it is still served there"
        time.sleep(0.1)


def test_a_path_below_the_home_folder(gateway: Gateway) -> None:
    home = gateway.folder / "home" / "keys"
    gateway.apply(credentials_path="~/keys")
    key = (home / "api-key-default").read_text().strip()
    assert status(gateway, key) == 200
    assert "changed=0" in gateway.apply(credentials_path="~/keys")
    gateway.apply()


def test_bad_values_are_told_before_anything_is_changed(gateway: Gateway) -> None:
    gateway.calls()
    names = ['a;\n return 200 "x"; #']
    done = gateway.run(
        https_port=70000, listen_address="256.1.1.1", read_timeout=-5, client_max_body_size="huge", server_names=names
    )
    assert done.returncode != 0
    for word in (
        "https_port' is 70000",
        "'256.1.1.1'",
        "read_timeout' is -5",
        "'huge'",
        "mistral_gateway_server_names' holds",
    ):
        assert word in done.stdout
    assert "changed=0" in done.stdout
    assert gateway.calls() == []


@pytest.mark.parametrize("given", [{"max_concurrent_requests": "1"}, {"plan": {"max_concurrent_requests": 1}}])
def test_a_second_gateway_beside_a_queue_is_told_of_first(gateway: Gateway, given: dict[str, Any]) -> None:
    (gateway.folder / "two").write_text("[gateways]\na\nb\n")
    variables = dict(gateway.variables)
    if "plan" in given:
        given = {"plan": {**gateway.variables["mistral_gateway_plan"], **given["plan"]}}
        del gateway.variables["mistral_gateway_max_concurrent_requests"]
    try:
        done = gateway.run("-i", str(gateway.folder / "two"), **given)
    finally:
        gateway.variables = variables
    assert "[gateway.queue_needs_one_gateway]" in done.stdout
    assert "changed=0" in done.stdout
