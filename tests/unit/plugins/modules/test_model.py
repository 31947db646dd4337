# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as it runs on a host, against a real https server."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.modules import model as subject

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "tests" / "hub"))
import certificate as certificates  # noqa: E402

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


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    certificates.make(path)
    return path


@pytest.fixture
def server(gguf: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(gguf.sentencepiece(), certificate) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running
        running.stopped.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "models"


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


@pytest.fixture
def run(store: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(file: str = "", check: bool = False, **options: Any) -> dict[str, Any]:
        if file:
            options["source"] = server.url(file)
        with patch_module_args(arguments(store, server, check, **options)), pytest.raises(SystemExit):
            subject.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


def start(store: Path, server: Server, **options: Any) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(ROOT / "tests" / "conftest.py")],
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


# What may stay of an interrupted download, so that the next run can go on.
PART = {f".store/incoming/{FILE}.part", f".store/incoming/{FILE}.part.json"}
COMPLETE = {FILE, "tiny.tokenizer.json", "tiny.tokenizer_config.json", f".store/{FILE}.json"}


@pytest.mark.parametrize("path", ["/good", "/relative", "/get-only", "/chunked", "/until-close"])
def test_download(path: str, run: Run, server: Server, store: Path) -> None:
    predicted = run(path, check=True)
    assert predicted["changed"]
    assert predicted["model"]["verified_by"] == "none"
    assert not store.exists()
    first = run(path)
    assert first["changed"]
    assert (store / FILE).read_bytes() == server.content
    assert files(store) == COMPLETE
    assert first["model"]["sha256"] == hashlib.sha256(server.content).hexdigest()
    assert first["diff"]["before"] == {}
    assert first["diff"]["after"]["size"] == len(server.content)
    asked = len(server.requests)
    again = run(path)
    assert not again["changed"]
    assert again["model"]["verified_by"] == "sidecar"
    assert again["diff"] == []
    assert len(server.requests) == asked
    assert not run(path, check=True)["changed"]


def test_metadata_alone_in_check_mode(run: Run, server: Server) -> None:
    assert run("/good", check=True)["model"]["size"] == len(server.content)
    assert [method for method, _path, _headers in server.requests] == ["HEAD"]


def test_no_credentials_are_sent_and_queries_stay_secret(run: Run, server: Server, store: Path) -> None:
    outcome = run("/relative")
    assert outcome["model"]["source"] == server.url("/relative")
    for _method, _path, headers in server.requests:
        assert not {"authorization", "cookie"} & {name.lower() for name in headers}
    assert "secret" not in (store / ".store" / f"{FILE}.json").read_text()


@pytest.mark.parametrize("source", ["/good?token=hidden", "https://user:hidden@h/x.gguf", "https://h/x?hidden\t"])
def test_secrets_of_the_source_are_neither_logged_nor_returned(
    source: str, run: Run, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[Any] = []
    monkeypatch.setattr(subject.AnsibleModule, "log", lambda *arguments, **options: logged.append((arguments, options)))
    given = server.url(source) if source.startswith("/") else source
    # Controllers always say whether the task has no_log.
    outcome = run(source=given, _ansible_no_log=False, _ansible_inject_invocation=True)
    assert logged
    assert "hidden" not in repr(logged)
    assert "hidden" not in repr(outcome)
    shown = outcome["invocation"]["module_args"]["source"]
    assert shown.rstrip("?.") == given.partition("?")[0].replace("user:hidden@", "")


def test_a_source_without_secrets_is_shown(run: Run, server: Server) -> None:
    outcome = run("/good", _ansible_inject_invocation=True)
    assert outcome["invocation"]["module_args"]["source"] == outcome["model"]["source"] == server.url("/good")


@pytest.mark.parametrize(
    ("path", "error", "early"),
    [
        ("/missing", "model.http_status", True),
        ("/html", "model.not_a_model", True),
        ("/text", "model.not_gguf", False),
        ("/pointer", "model.not_gguf", False),
        ("/short", "model.interrupted", False),
        ("/chunked-cut", "model.interrupted", False),
        ("/huge", "model.no_space", True),
        ("/gzip", "model.http_answer", True),
        ("/loop", "model.redirect_refused", True),
        ("/to-http", "model.redirect_refused", True),
        ("/to-file", "model.redirect_refused", True),
        ("/to-nowhere", "model.redirect_refused", True),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    path: str, error: str, early: bool, run: Run, server: Server, store: Path
) -> None:
    """What the metadata shows is said in check mode already; the old file always stays."""
    if early:
        assert run(path, check=True)["error_id"] == error
    failed = run(path)
    assert failed["failed"]
    assert failed["error_id"] == error
    assert failed["msg"].endswith(f"[{error}]")
    assert "\n" not in failed["msg"]
    assert "secret" not in failed["msg"]
    assert files(store) <= PART
    assert run("/good")["changed"]
    assert files(store) == COMPLETE
    assert run(path)["error_id"] == error
    assert (store / FILE).read_bytes() == server.content
    assert COMPLETE <= files(store) <= COMPLETE | PART
    assert not run("/good")["changed"]
    assert files(store) == COMPLETE


def test_wrong_checksum(run: Run, server: Server, store: Path) -> None:
    failed = run("/good", sha256="0" * 64)
    assert failed["error_id"] == "model.checksum_mismatch"
    assert hashlib.sha256(server.content).hexdigest() in failed["msg"]
    assert files(store) == set()


@pytest.mark.parametrize("known", [True, False])
def test_stalled_server(known: bool, run: Run, server: Server, store: Path) -> None:
    """Without a sha256, and a server that says nothing of its content, the part is of no use later."""
    digest = hashlib.sha256(server.content).hexdigest() if known else ""
    failed = run("/stalls", timeout=1, sha256=digest)
    assert failed["error_id"] == "model.stalled"
    assert f"at byte {len(server.content) // 2}" in failed["msg"]
    assert files(store) == (PART if known else set())


def test_untrusted_certificate(run: Run, store: Path, tmp_path: Path, certificate: Path) -> None:
    assert run("/good", ca_certificates="")["error_id"] == "model.source_untrusted"
    assert run("/good", ca_certificates="nonsense")["error_id"] == "model.ca_unreadable"
    assert run("/good", ca_path=str(tmp_path / "missing.pem"))["error_id"] == "model.ca_unreadable"
    assert not (store / FILE).exists()
    assert run("/good", ca_certificates="", ca_path=str(certificate))["changed"]


@pytest.mark.parametrize(("days", "hint"), [(-0.02, "expired"), (1.0, "not yet valid")])
def test_a_certificate_of_another_time(days: float, hint: str, run: Run, store: Path, tmp_path: Path) -> None:
    """As when the clock of the host or of the server is wrong."""
    path = tmp_path / "other.pem"
    certificates.make(path, days=days, begins=days - 0.5)
    with Server(b"", path) as other:
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        failed = run(source=other.url("/good"), ca_certificates=other.ca)
        other.shutdown()
        thread.join()
    assert failed["error_id"] == "model.source_untrusted"
    assert hint in failed["msg"]
    assert "or set the clock" in failed["msg"]


def test_comments_beside_certificates(run: Run, server: Server) -> None:
    commented = f"\ufeff# Autorit\xe9 de test\n{server.ca}# \u2026\n"
    assert run("/good", ca_certificates=commented)["changed"]
    for text in ("# Autorit\xe9", "\xe9", server.ca[: server.ca.index("-----END CERT")]):
        failed = run("/again", ca_certificates=text)
        assert failed["error_id"] == "model.ca_unreadable"
        assert "\n" not in failed["msg"]


def test_unreachable(run: Run, server: Server) -> None:
    assert run(source="https://127.0.0.1:1/x.gguf")["error_id"] == "model.source_unreachable"


def test_arguments(run: Run) -> None:
    assert run("/good", name="../x")["error_id"] == "model.unsafe_name"
    assert run("/good", name="x", quantization="a/b")["error_id"] == "model.unsafe_name"
    assert run("/good", sha256="1234")["error_id"] == "model.invalid_sha256"
    assert run("/good", revision="main")["error_id"] == "model.revision_unsupported"
    assert run()["error_id"] == "model.source_unsupported"
    assert run("/good", path="relative/store")["error_id"] == "model.store_unusable"
    assert run("/good", name=None)["error_id"] == "model.name_missing"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "model.token_unreadable"),
        (b"", "model.token_unreadable"),
        (b"\xff\xfe", "model.token_unreadable"),
        (b"hf_hidden\n# hidden as well\n", "model.token_malformed"),
        (b"hf_hidden\xe2\x80\xa6", "model.token_malformed"),
    ],
)
def test_a_token_that_is_none(
    content: bytes | None, error: str, run: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before anybody is asked, and not shown."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    failed = run("/good", token_file=str(file))
    assert failed["error_id"] == error
    assert str(file) in failed["msg"]
    assert "hidden" not in repr(failed)
    if error == "model.token_malformed" and content:
        assert run("/good", token=content.decode())["error_id"] == error
        monkeypatch.setenv("HF_TOKEN", content.decode())
        said = run("/good")["msg"]
        assert "in HF_TOKEN" in said
        assert "hidden" not in said
    assert not store.exists()


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"retries": -1},
        {"connections": 0},
        {"connections": 17},
        {"rate_limit": -1},
        {"fit": {"gpu_memory": [0]}},
        {"fit": {"batch_size": 0}},
        {"fit": {"context_length": -1}},
        {"endpoint": "huggingface.co"},
        {"endpoint": "http://mirror.example.com"},
        {"endpoint": "https://user:secret@mirror.example.com"},
        {"mirror_url": "http://mirror.example.com"},
        {"mirror_url": "https://user:secret@mirror.example.com"},
    ],
)
def test_values_that_can_not_be_meant(options: dict[str, Any], run: Run, store: Path) -> None:
    (option,) = options
    failed = run("/good", check=True, **options)
    assert failed["error_id"] == "model.option_invalid"
    assert next(iter(options["fit"])) in failed["msg"] if option == "fit" else option in failed["msg"]
    assert "secret" not in failed["msg"]
    assert not store.exists()


def test_states(run: Run, store: Path) -> None:
    assert run(state="verified")["error_id"] == "model.not_stored"
    run("/good")
    assert not run(state="verified")["changed"]
    assert run(state="absent", check=True)["changed"]
    assert (store / FILE).exists()
    removed = run(state="absent")
    assert removed["changed"]
    assert removed["diff"]["after"] == {}
    assert files(store) == set()
    assert not run(state="absent")["changed"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"name": "a:b"}, {"name": "a-b"}),
        ({"name": "a-b"}, {"name": "A:B"}),
        ({"name": "a", "quantization": "q4_0"}, {"name": "a-q4_0"}),
        ({"name": "a.gguf"}, {"name": "a"}),
        ({"name": "a"}, {"name": "a"}),
    ],
)
@pytest.mark.parametrize("state", ["present", "verified", "absent"])
@pytest.mark.parametrize("check", [True, False])
def test_two_names_of_one_file(
    first: dict[str, str], second: dict[str, str], state: str, check: bool, run: Run, server: Server, store: Path
) -> None:
    """Both would be reported, and each run would put the other one's content there."""
    models = [{**first, "source": server.url("/good")}, {**second, "source": server.url("/again")}]
    failed = run(name="", models=models, state=state, check=check)
    assert failed["error_id"] == "model.duplicate"
    assert all(repr(model["name"]) in failed["msg"] for model in models)
    assert server.requests == []
    assert not store.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("state", ["present", "verified", "absent"])
@pytest.mark.parametrize("check", [True, False])
def test_a_store_of_somebody_else_is_refused(state: str, check: bool, run: Run, store: Path) -> None:
    """Its record would have root change what lies outside of it."""
    secret = store.parent / "rootsecret"
    secret.write_bytes(b"secret")
    secret.chmod(0o600)
    status = secret.stat()
    identity = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}
    known = {**identity, "sha256": hashlib.sha256(b"secret").hexdigest()}
    (store / ".store").mkdir(parents=True)
    (store / "tiny").mkdir()
    record = {"format": 1, "sha256": "0" * 64, "size": 6, "gguf": {}, "files": {"../../rootsecret": known}}
    (store / ".store" / f"{FILE}.json").write_text(json.dumps(record))
    os.chown(store, 12345, 12345)
    before = sorted(store.rglob("*"))
    failed = run("/good" if state == "present" else "", check=check, state=state, prune=state == "present")
    assert failed["error_id"] == "model.store_untrusted"
    assert "belongs to the user 12345" in failed["msg"]
    assert (secret.read_bytes(), secret.stat().st_mode & 0o777) == (b"secret", 0o600)
    assert sorted(store.rglob("*")) == before


def test_what_takes_long_to_read_is_a_job(run: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were put there by hand, and whatever is verified."""
    jobs: list[str] = []
    begin = subject.detached.Job.start_or_attach

    def start_or_attach(job: Any, work: Any) -> None:
        jobs.append(job.id)
        begin(job, work)

    monkeypatch.setattr(subject.detached.Job, "start_or_attach", start_or_attach)
    monkeypatch.setattr(subject, "_LONG", 100)
    run("/good")
    (store / "other.gguf").write_bytes((store / FILE).read_bytes())
    jobs.clear()
    there = {"name": "other", "source": f"file://{store / FILE}"}
    assert run(**there)["changed"]
    assert len(jobs) == 1
    assert not run(**there)["changed"]
    assert len(jobs) == 1
    assert not run(name="other", state="verified")["changed"]
    assert len(jobs) == 2
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_arguments: False)
        assert not run(name="other", state="verified")["changed"]
    assert len(jobs) == 2
    content = (store / "other.gguf").read_bytes()
    (store / "other.gguf").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert run(name="other", state="verified")["error_id"] == "model.corrupt"
    assert len(jobs) == 3


def test_states_of_what_auto_chose(run: Run, store: Path) -> None:
    """The name of the file was made from the choice; whoever asks for auto means that."""
    run("/good", quantization="q4_0")
    record = store / ".store" / "tiny-q4_0.gguf.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "asked": "auto"}))
    assert run(state="verified", quantization="auto")["model"]["file"] == "tiny-q4_0.gguf"
    assert run(state="absent", quantization="Auto")["changed"]
    assert files(store) == set()
    assert run(state="verified", quantization="auto")["error_id"] == "model.not_stored"
    assert not run(state="absent", quantization="auto")["changed"]


@pytest.mark.parametrize("digest", ["", "sha256:00"])
def test_what_should_be_sealed(digest: str, run: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked for it is told each time where it can't be had."""
    monkeypatch.setattr(local, "seal", lambda _path: digest)
    warned: list[str] = []
    monkeypatch.setattr(subject.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    for changed in (True, False):
        outcome = run("/good", seal=True)
        assert (outcome["changed"], outcome["model"]["sealed"]) == (changed, digest)
    run("/good")
    assert len(warned) == (0 if digest else 2)
    assert all(f"the kernel has no fs-verity, so that these are not sealed: {FILE}" in text for text in warned)


@pytest.mark.parametrize("check", [False, True])
def test_a_stored_model_that_will_not_load_any_more(
    check: bool, run: Run, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host has lost a GPU, or got an older engine; nothing is changed, but it is said before the engine says it."""
    warned: list[str] = []
    monkeypatch.setattr(subject.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    fitting = {"gpu_memory": [24_000], "engine_version": "0.9.5"}
    assert run("/good", fit=fitting)["changed"]
    assert not run("/good", fit=fitting, check=check)["changed"]
    assert warned == []
    assert not run("/good", fit={**fitting, "gpu_memory": [1]}, check=check)["changed"]
    (text,) = warned
    assert "[model.does_not_fit]" in text
    assert "It is in the store and stays there" in text
    assert (store / FILE).exists()


def test_prune(run: Run, store: Path, server: Server) -> None:
    """Only what the store fetched goes, by the name that it has there."""
    run("/good", name="first")
    run("/good", name="second")
    (store / "somebody-elses.gguf").write_bytes(b"x")
    folder = store.parent / "split"
    folder.mkdir()
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    run(name="several", source=folder.as_uri())
    told = run("/good", name="first")["prunable"]
    assert [entry["file"] for entry in told] == ["second.gguf", "several"]
    predicted = run("/good", check=True, name="first", prune=True)
    assert (predicted["changed"], predicted["prunable"]) == (True, told)
    assert (store / "several" / "config.json").exists()
    pruned = run("/good", name="first", prune=True)
    assert (pruned["changed"], pruned["prunable"]) == (True, told)
    assert files(store) == {
        "first.gguf",
        "first.tokenizer.json",
        "first.tokenizer_config.json",
        ".store/first.gguf.json",
        "somebody-elses.gguf",
    }
    assert not (store / "several").exists()
    assert not run("/good", name="first", prune=True)["changed"]


def test_two_processes_fetch_once(store: Path, server: Server) -> None:
    processes = [start(store, server, source=server.url("/slow")) for _index in range(2)]
    outcomes = [result(process) for process in processes]
    assert sorted(outcome["changed"] for outcome in outcomes) == [False, True]
    assert [method for method, _path, _headers in server.requests].count("GET") == 1
    assert files(store) == COMPLETE


@pytest.mark.parametrize(("path", "error"), [("/slow-and-short", "model.interrupted"), ("/slow", "")])
def test_each_of_five_equal_runs_is_told_what_came_out(path: str, error: str, store: Path, server: Server) -> None:
    """Without the action plugin, as with async: one takes the job's result, and all need it."""
    outcomes = [result(process) for process in [start(store, server, source=server.url(path)) for _index in range(5)]]
    if error:
        assert [outcome.get("error_id") for outcome in outcomes] == [error] * 5
        assert all(outcome["failed"] for outcome in outcomes)
    else:
        digest = hashlib.sha256(server.content).hexdigest()
        assert [outcome["model"]["sha256"] for outcome in outcomes] == [digest] * 5
        assert any(outcome["changed"] for outcome in outcomes)
    assert (store / FILE).exists() != bool(error)


def test_a_header_that_says_too_much_is_named_as_that(run: Run, store: Path, gguf: Any) -> None:
    """Its summary would be larger than what is read of a job's result."""
    source = store.parent / "hostile.gguf"
    source.write_bytes(many_types(gguf))
    failed = run(source=source.as_uri())
    assert failed["error_id"] == "model.gguf_malformed"
    assert "of more than 64 types" in failed["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_the_same_from_a_server(check: bool, run: Run, server: Server, store: Path, gguf: Any) -> None:
    server.content = many_types(gguf)
    outcome = run("/good", check=check)
    assert outcome["changed"] if check else outcome["error_id"] == "model.gguf_malformed"
    assert files(store) == set()


def many_types(gguf: Any) -> bytes:
    return bytes(gguf.build(tensors={f"t{number}": ([1], 1000 + number, 0) for number in range(262_144)}))


def test_addresses_that_differ_in_their_query_are_different_jobs(run: Run) -> None:
    jobs = {run(f"/slow?content={content}", job="start")["job"]["id"] for content in (1, 2, 1)}
    assert len(jobs) == 2
    for content in (1, 2):
        run(f"/slow?content={content}", job="cancel")


def test_a_killed_module_leaves_its_job(store: Path, server: Server, run: Run) -> None:
    """As when the connection is lost: the job goes on, the next run tells what became of it."""
    options = {"timeout": 2, "retries": 1}
    process = start(store, server, source=server.url("/stalls-once"), **options)
    assert server.stalled.wait(20)
    part = store / ".store" / "incoming" / f"{FILE}.part"
    deadline = time.monotonic() + 10
    while not part.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()
    assert not (store / FILE).exists()
    assert run("/stalls-once", **options)["changed"]
    assert [method for method, _path, _headers in server.requests].count("GET") == 2
    assert (store / FILE).read_bytes() == server.content
    assert files(store) == COMPLETE


def test_killed_anywhere(tmp_path: Path, store: Path, server: Server, gguf: Any) -> None:
    """Whatever the moment, the final file is absent or right, and one more run makes all right."""
    pieces = gguf.pieces + [(f"piece{number}", float(-20 - number), 1) for number in range(60_000)]
    source = tmp_path / "source.gguf"
    source.write_bytes(gguf.sentencepiece(pieces))
    options = {"source": source.as_uri()}
    started = time.monotonic()
    assert result(start(store, server, **options))["changed"]
    duration = time.monotonic() - started
    for step in range(1, 9):
        for name in files(store):
            os.unlink(store / name)
        process = start(store, server, **options)
        time.sleep(duration * step / 9)
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
        assert not (store / FILE).exists() or (store / FILE).read_bytes() == source.read_bytes()
        result(start(store, server, **options))
        assert files(store) == COMPLETE
        assert (store / FILE).read_bytes() == source.read_bytes()
        assert len(json.loads((store / "tiny.tokenizer.json").read_text())["model"]["vocab"]) == len(pieces)
        assert not result(start(store, server, **options))["changed"]
