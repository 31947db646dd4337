"""The contract's check: it finds no difference between a server and its own recording, and each that is made."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from tests.component.contract import table
from tests.component.contract.compare import differences, outline
from tests.component.contract.differences import WANTED, Wanted, matches
from tests.component.contract.recorded import (
    NETWORK,
    ORDER,
    RECORDED_MODEL,
    RECORDINGS,
    Exchange,
    Response,
    load,
    versions,
)
from tests.component.contract.replay import judge, replay
from tests.component.contract.replay_server import serving

ROOT = Path(__file__).resolve().parents[3]


def test_every_recording_is_used() -> None:
    assert versions() == ["mistralrs-0.8.1", "mistralrs-0.9.2+7"]
    for version in versions():
        assert {path.stem for path in (RECORDINGS / version / "http").glob("*.json")} == set(ORDER)
    assert len(set(ORDER)) == len(ORDER)
    assert set(ORDER) >= NETWORK


@pytest.mark.parametrize("version", versions())
def test_bodies_are_the_recorded_bytes(version: str) -> None:
    for exchange in load(version).values():
        body = exchange.body(RECORDED_MODEL)
        assert str(len(body or b"")) == exchange.headers.get("Content-Length", "0"), exchange.name


def test_another_model_is_asked_for_by_its_id() -> None:
    exchanges = load("mistralrs-0.9.2+7")
    assert b'"model": "a/\\u00fc"' in (exchanges["chat"].body("a/ü") or b"")
    assert exchanges["model_by_id"].target("a/ü") == "/v1/models/a%2F%C3%BC"


@pytest.mark.parametrize("version", versions())
def test_a_server_that_gives_the_recorded_answers_is_the_same(version: str) -> None:
    exchanges = load(version)
    with serving(exchanges) as url:
        verdicts = list(replay(url, RECORDED_MODEL, exchanges, ()))
    assert [verdict.name for verdict in verdicts] == list(ORDER)
    assert [(verdict.name, verdict.lines) for verdict in verdicts if verdict.lines] == []


def changed(exchange: Exchange, **values: object) -> Exchange:
    return dataclasses.replace(exchange, response=dataclasses.replace(exchange.response, **values))


def replaced(exchange: Exchange, old: str, new: str) -> Exchange:
    """The exchange with one text replaced in its answer."""
    response = exchange.response
    if response.events is not None:
        events = tuple(piece.replace(old, new) for piece in response.events)
        assert events != response.events
        return changed(exchange, events=events)
    assert old in response.body
    return changed(exchange, body=response.body.replace(old, new))


CHANGES = [
    ("chat", '"role":"assistant",', "", "body choices[].message.role: missing"),
    ("chat", '"logprobs":null', '"logprobs":{}', "body choices[].logprobs: {}, is null"),
    ("chat", '"prompt_tokens":43', '"prompt_tokens":43.0', "body usage.prompt_tokens: number, is integer"),
    ("chat", '"object":"chat.completion"', '"object":"completion"', "body object: 'completion', is"),
    ("chat", '"finish_reason":"stop"', '"finish_reason":"error"', "body choices[].finish_reason: error"),
    ("chat", '"created"', '"extra":1,"created"', "body extra: added, integer"),
    ("chat_n2", '"message":"input', '"message":"Input', "body message: "),
    ("models", '"owned_by":"local"', '"owned_by":"us"', "body data[].owned_by: 'us', is 'local'"),
    ("chat_unknown_model", "not available", "unavailable", "body message: "),
    ("chat_max_tokens_text", "expected usize", "expected a number", "body text: "),
    ("chat_stream", "data: [DONE]\n\n", "", "event 2 data: missing, is [DONE]"),
    ("chat_stream", '"usage":null', '"usage":{}', "event 0 usage: {}, is null"),
    ("chat_stream", "[DONE]\n\n", "[DONE]\n", "end of the stream: added"),
    ("chat_context_overflow_stream", '"type":"server_error"', '"type":"error"', "event 0 error.type: 'error'"),
    ("responses_stream", "event: response.created", "event: created", "event 0 event: created, is"),
    ("metrics", "# TYPE http_requests_total counter", "# TYPE http_requests_total gauge", "body metric http_requests"),
    ("metrics", 'model="none"', 'name="none"', "body labels of http_requests_total: "),
    ("metrics", 'le="0.001"', 'le="0.002"', "body buckets of http_request_duration_seconds_bucket: "),
    ("metrics", 'le="1"', 'le="1.0"', "body buckets of http_request_duration_seconds_bucket: "),
]


@pytest.mark.parametrize(("name", "old", "new", "line"), CHANGES)
def test_a_change_is_found(name: str, old: str, new: str, line: str) -> None:
    exchange = load("mistralrs-0.9.2+7")[name]
    with serving({name: replaced(exchange, old, new)}) as url:
        (verdict,) = replay(url, RECORDED_MODEL, {name: exchange}, ())
    assert any(found.startswith(line) for found in verdict.unwanted), verdict.unwanted
    assert verdict.word == "UNWANTED"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"status": 201}, "status: 201, is 200"),
        ({"headers": (("content-type", "text/plain"),)}, "header content-type: text/plain, is application/json"),
        ({"headers": ()}, "header access-control-allow-origin: missing, is *"),
        ({"headers": (("X-Request-Id", "1"),)}, "header x-request-id: another form, is req_ and 32 digits"),
        ({"headers": (("x-extra", "1"),)}, "header x-extra: added, 1"),
    ],
)
def test_a_changed_status_or_header_is_found(values: dict[str, object], line: str) -> None:
    exchange = load("mistralrs-0.9.2+7")["chat"]
    lines = differences(outline(exchange.response), outline(changed(exchange, **values).response))
    assert line in lines


def test_what_a_model_says_is_no_difference() -> None:
    exchange = load("mistralrs-0.9.2+7")["chat"]
    other = replaced(replaced(exchange, "Paris", "Rome"), '"finish_reason":"stop"', '"finish_reason":"length"')
    assert differences(outline(exchange.response), outline(other.response)) == []


def test_a_server_that_is_gone_is_no_success() -> None:
    exchange = load("mistralrs-0.9.2+7")["health"]
    lines = differences(outline(exchange.response), outline(Response(0, (), "", None, "closed without an answer")))
    assert "status: 0, is 200" in lines


ENTRY = Wanted(("chat*",), ("header x-*", "body a[].*"), "a reason")


def test_wanted_differences_and_those_that_are_none_any_more() -> None:
    assert judge("chat", ["header x-a: added, 1"], (ENTRY,)).word == "wanted"
    assert judge("chat", ["header x-a: added, 1", "status: 1, is 2"], (ENTRY,)).word == "UNWANTED"
    assert judge("chat", [], (ENTRY,)).word == "UNWANTED"
    assert judge("chat", [], (dataclasses.replace(ENTRY, sometimes=True),)).word == "same"
    assert judge("health", [], (ENTRY,)).word == "same"
    everywhere = dataclasses.replace(ENTRY, everywhere=True)
    assert judge("chat", ["header x-a: added, 1"], (everywhere,)).word == "same"
    assert judge("chat", ["header x-a: added, 1", "status: 1, is 2"], (everywhere,)).word == "UNWANTED"
    assert ENTRY.covers("body a[].b: added, c")
    assert not ENTRY.covers("body a.b: added, c")


def test_the_command_fails_when_something_differs() -> None:
    exchange = load("mistralrs-0.9.2+7")["health"]
    for answer, code, word in ((exchange, 0, "1 same"), (changed(exchange, status=503), 1, "1 UNWANTED")):
        with serving({"health": answer}) as url:
            command = [sys.executable, "-m", "tests.component.contract.replay", "--url", url, "--model", RECORDED_MODEL]
            command += ["--against", "mistralrs-0.9.2+7", "--only", "health"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (code, word), done.stdout + done.stderr


def test_every_listed_difference_names_requests_and_says_why() -> None:
    for subject, entries in WANTED.items():
        for entry in entries:
            assert entry.reason.endswith("."), (subject, entry)
            assert entry.what, (subject, entry)
            for pattern in entry.requests:
                assert any(matches(pattern, name) for name in ORDER), (subject, pattern)


def test_the_table_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.component.contract.table", "--check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr


def test_a_stale_table_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(table, "PAGE", tmp_path / "README.md")
    monkeypatch.setattr(sys, "argv", ["table.py", "--check"])
    assert table.main() == 1
    (tmp_path / "README.md").write_text(table.page().replace("same, 200", "same, 201", 1))
    assert table.main() == 1
    assert "is stale" in capsys.readouterr().err
    (tmp_path / "README.md").write_text(table.page())
    assert table.main() == 0
