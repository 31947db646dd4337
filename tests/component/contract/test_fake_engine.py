"""The stand-in engine of the gateway's tests against the recordings of the real one, and its own means."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.component.contract.differences import WANTED, matches
from tests.component.contract.recorded import NETWORK, load
from tests.component.contract.replay import replay
from tests.fakes.engine import stand_in_engine

TESTS = Path(__file__).resolve().parents[2]

MODELS = ("tiny-q4_k_m", "other-q4_k_m")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = stand_in_engine.server(0, TESTS / "recordings", MODELS)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def ask(port: int, **body: Any) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer, answer.read().decode()


def test_it_answers_as_the_recorded_engine() -> None:
    # One model, as the recorded server had.
    server = stand_in_engine.server(0, TESTS / "recordings", MODELS[:1])
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    exchanges, wanted = load(stand_in_engine.VERSION), WANTED["fake"]
    verdicts = {verdict.name: verdict for verdict in replay(url, MODELS[0], exchanges, wanted, NETWORK)}
    server.shutdown()
    server.server_close()
    thread.join()
    assert set(verdicts) == set(exchanges) - NETWORK
    assert {name: (v.unwanted, v.stale) for name, v in verdicts.items() if v.word == "UNWANTED"} == {}
    lines = [(name, line) for name, verdict in verdicts.items() for line in verdict.lines]
    for entry in wanted:
        for pattern in entry.what:
            assert any(entry.concerns(name) and matches(pattern, line) for name, line in lines), pattern


def test_an_answer_tells_what_arrived(port: int) -> None:
    _answer, text = ask(port, messages=[{"role": "user", "content": "x"}], seed=3)
    asked = json.loads(json.loads(text)["choices"][0]["message"]["content"])
    assert (asked["path"], asked["body"]["seed"]) == ("/v1/chat/completions", 3)
    _answer, text = ask(port, prompt="x")
    assert json.loads(json.loads(text)["choices"][0]["text"])["body"] == {"prompt": "x"}


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("chat_tools_named", 500, '"partial_response"'),
        ("mistralrs-0.8.1/chat_context_overflow_stream", 200, "data: Prompt sequence length is greater than 8192"),
        ("mistralrs-0.8.1/chat_json_object", 422, "unknown variant `json_object`"),
        ("mistralrs-0.9.2+7/chat_context_overflow_stream", 200, 'data: {"error":{"message":"Prompt sequence'),
    ],
)
def test_any_recorded_answer_can_be_asked_for(port: int, name: str, status: int, words: str) -> None:
    answer, text = ask(port, prompt=f"recorded:{name}")
    assert answer.status == status
    assert words in text


def test_an_unknown_model_is_named_with_all_that_there_are(port: int) -> None:
    answer, text = ask(port, prompt="x", model="nope")
    words = "Requested model 'nope' is not available. Available models: tiny-q4_k_m, other-q4_k_m. "
    assert (answer.status, json.loads(text)["message"]) == (500, words + "Use 'default' to use the default model.")


def test_a_stream_has_twenty_pieces(port: int) -> None:
    _answer, text = ask(port, prompt="x", stream=True)
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert events.pop() == "[DONE]"
    pieces = [json.loads(event)["choices"][0] for event in events]
    assert [piece["text"] for piece in pieces] == [f"{number} " for number in range(20)]
    assert [piece["finish_reason"] for piece in pieces] == [None] * 19 + ["length"]
    # Its thread says so after the client has read the end.
    deadline = time.monotonic() + 5
    while stand_in_engine.LAST["stream"] == "running" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stand_in_engine.LAST["stream"] == "complete"


def test_it_counts_what_runs_at_the_same_time(port: int) -> None:
    stand_in_engine.LOAD.report()
    threads = [threading.Thread(target=ask, args=(port,), kwargs={"prompt": f"work {name}"}) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ask(port, prompt="work d")
    load = stand_in_engine.LOAD.report()
    assert load["most"] == 3
    assert sorted(load["names"]) == ["a", "b", "c", "d"]
