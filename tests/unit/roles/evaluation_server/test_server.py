"""The HTTP API, with an engine that hands out given pieces."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from mistralrs_evaluation.answers import sse
from mistralrs_evaluation.config import Configuration, ModelConfiguration
from mistralrs_evaluation.engine import Chunk, EngineDead, Usage, sentence
from mistralrs_evaluation.fields import RequestError
from mistralrs_evaluation.requests import Generate
from mistralrs_evaluation.server import MOST_BODY_BYTES, application
from starlette.testclient import TestClient

CONFIGURATION = Configuration(models=(ModelConfiguration("a", ("a.gguf",)),), default_model_id="a", max_seqs=2)
HELLO = [{"role": "user", "content": "hello"}]


class FakeModel:
    def __init__(self, model_id: str = "a", words: tuple[str, ...] = ("Hi", " there"), pause: float = 0) -> None:
        self.model_id = model_id
        self.chats = True
        self.words = words
        self.pause = pause
        self.asked: list[Generate] = []
        self.given = 0
        self.closed = threading.Event()
        self.error: BaseException | None = None
        self.most_at_once = 0
        self._at_once = 0

    def status(self) -> str:
        return "loaded"

    def stream(self, request: Generate) -> Iterator[Chunk]:
        self.asked.append(request)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            for index, word in enumerate(self.words):
                time.sleep(self.pause)
                self.given += 1
                last = index == len(self.words) - 1
                usage = Usage(3, len(self.words), {"avg_tok_per_sec": 1.0}) if last else None
                yield Chunk(word, finish_reason="stop" if last else None, usage=usage)
                if self.error is not None:
                    raise self.error
        finally:
            self._at_once -= 1
            self.closed.set()


def client(*models: FakeModel, dead: list[BaseException] | None = None, **changes: Any) -> TestClient:
    found = models or (FakeModel(),)
    by_id = {model.model_id: model for model in found}
    graves: list[BaseException] = [] if dead is None else dead
    return TestClient(
        application(replace(CONFIGURATION, **changes), by_id, graves.append), raise_server_exceptions=False
    )


def events(text: str) -> list[Any]:
    found = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(event) if event != "[DONE]" else event for event in found]


def metric(http: TestClient, name: str) -> float:
    return next(float(line.split()[-1]) for line in http.get("/metrics").text.splitlines() if line.startswith(name))


def test_health_and_label() -> None:
    answer = client().get("/health", headers={"x-request-id": "mine-1"})
    assert (answer.status_code, answer.text) == (200, "OK")
    assert answer.headers["x-mistral-engine"] == "evaluation"
    assert answer.headers["x-request-id"] == "mine-1"
    assert re.fullmatch("req_[0-9a-f]{32}", client().get("/health").headers["x-request-id"])
    assert "x-request-id" not in client(request_id_header=False).get("/health").headers


def test_models() -> None:
    data = client(FakeModel("a"), FakeModel("b")).get("/v1/models").json()["data"]
    assert [(entry["id"], entry.get("status")) for entry in data] == [
        ("default", None),
        ("a", "loaded"),
        ("b", "loaded"),
    ]
    assert {entry["owned_by"] for entry in data} == {"local"}
    assert [entry["root"] for entry in data] == ["default", "a", "b"]


def test_chat() -> None:
    document = client().post("/v1/chat/completions", json={"model": "a", "messages": HELLO}).json()
    assert document["object"] == "chat.completion"
    assert document["model"] == "a"
    assert document["choices"][0]["message"] == {"role": "assistant", "content": "Hi there", "tool_calls": None}
    assert document["system_fingerprint"] == "evaluation"
    assert document["choices"][0]["finish_reason"] == "stop"
    assert document["usage"]["total_tokens"] == 5


def test_the_list_of_models_waits_for_the_engine_and_nobody_else_does() -> None:
    model, free = FakeModel(), threading.Event()
    model.status = lambda: "loaded" if free.wait(10) else "stuck"  # type: ignore[method-assign]
    with client(model) as http:
        answers: list[Any] = []
        waiting = threading.Thread(target=lambda: answers.append(http.get("/v1/models").json()))
        waiting.start()
        began = time.monotonic()
        assert http.get("/health").text == "OK"
        assert time.monotonic() - began < 5
        free.set()
        waiting.join()
    assert answers[0]["data"][1]["status"] == "loaded"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"web_search_options": {}}, "[0-9a-f-]{36}"),
        ({"web_search_options": {"search_context_size": "low"}, "session_id": "mine"}, "mine"),
        ({"web_search_options": None}, None),
        ({"session_id": "mine"}, None),
    ],
)
def test_a_chat_that_may_search_has_a_session(fields: dict[str, Any], expected: str | None) -> None:
    # The recording chat_web_search: it is answered, and the gateway has to refuse it.
    http = client()
    body = {"model": "a", "messages": HELLO, **fields}
    whole = http.post("/v1/chat/completions", json=body).json()
    first, last, _done = events(http.post("/v1/chat/completions", json={**body, "stream": True}).text)
    assert "session_id" not in first
    for document in (whole, last):
        found = document.get("session_id")
        assert found is None if expected is None else re.fullmatch(expected, found)


def test_the_state_of_a_model() -> None:
    # The recordings models_status and models_status_unknown.
    http = client()
    for name, status in (("a", "loaded"), ("nope", "not_found")):
        answer = http.post("/v1/models/status", json={"model_id": name})
        assert (answer.status_code, answer.json()) == (200, {"model_id": name, "status": status})
    assert counted(http) == [
        ("POST", "a", "/v1/models/status", "200", "1"),
        ("POST", "unknown", "/v1/models/status", "200", "1"),
    ]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{}", 422, "missing field `model_id`"),
        (b'{"model_id": 7}', 422, "model_id: invalid type: integer `7`, expected a string"),
        (b"[1]", 422, "invalid length 1, expected struct ModelOperationRequest"),
        (b"{", 400, "Failed to parse the request body as JSON: "),
    ],
)
def test_no_model_to_tell_the_state_of(body: bytes, status: int, words: str) -> None:
    answer = client().post("/v1/models/status", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert words in answer.text


def test_default_model() -> None:
    model = FakeModel()
    assert (
        client(model).post("/v1/chat/completions", json={"model": "default", "messages": HELLO}).json()["model"] == "a"
    )


def test_chat_stream() -> None:
    answer = client().post("/v1/chat/completions", json={"model": "a", "messages": HELLO, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    first, second, done = events(answer.text)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "Hi", "tool_calls": None}
    assert first["choices"][0]["finish_reason"] is None
    assert first["usage"] is None
    assert second["choices"][0]["finish_reason"] == "stop"
    assert second["usage"]["completion_tokens"] == 2
    assert done == "[DONE]"


def test_completion_with_and_without_stream() -> None:
    model = FakeModel()
    http = client(model)
    body = {"model": "a", "prompt": "Well.", "echo": True}
    document = http.post("/v1/completions", json=body).json()
    assert document["object"] == "text_completion"
    assert document["choices"][0]["text"] == "Well.Hi there"
    *pieces, done = events(http.post("/v1/completions", json={**body, "stream": True}).text)
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == "Well.Hi there"
    # As the real engine has it.
    assert all("usage" not in piece for piece in pieces)
    assert done == "[DONE]"
    assert model.asked[0].prompt == "Well."


def test_a_suffix_ends_a_completion() -> None:
    document = client().post("/v1/completions", json={"prompt": "Well.", "suffix": "!"}).json()
    assert document["choices"][0]["text"] == "Hi there!"


PARIS = {"index": 0, "id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
TOKEN = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}


class ChunkModel(FakeModel):
    """Hands out given chunks."""

    def __init__(self, *chunks: Chunk) -> None:
        super().__init__()
        self.chunks = chunks

    def stream(self, request: Generate) -> Iterator[Chunk]:
        yield from self.chunks


def test_several_choices() -> None:
    end = Usage(3, 4, {})
    model = ChunkModel(
        Chunk("a", index=0), Chunk("b", index=1), Chunk("A", finish_reason="stop", index=0),
        Chunk("B", finish_reason="length", index=1, usage=end),
    )  # fmt: skip
    choices = client(model).post("/v1/chat/completions", json={"messages": HELLO, "n": 2}).json()["choices"]
    assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [(0, "aA"), (1, "bB")]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "length"]
    body = {"prompt": "Well.", "echo": True, "stream": True, "n": 2}
    *pieces, _done = events(client(model).post("/v1/completions", json=body).text)
    assert [piece["choices"][0]["text"] for piece in pieces] == ["Well.a", "Well.b", "A", "B"]


def test_log_probabilities() -> None:
    model = ChunkModel(Chunk("Hi", finish_reason="stop", usage=Usage(1, 1, {}), logprobs=TOKEN))
    body = {"messages": HELLO, "logprobs": True}
    document = client(model).post("/v1/chat/completions", json=body).json()
    assert document["choices"][0]["logprobs"] == {"content": [TOKEN]}


CALL = {
    "messages": HELLO,
    "tools": [{"type": "function", "function": {"name": "get_weather"}}],
    "tool_choice": "required",
}


def test_tool_calls() -> None:
    model = ChunkModel(Chunk("", finish_reason="tool_calls", usage=Usage(1, 1, {}), tool_calls=(PARIS,)))
    choice = client(model).post("/v1/chat/completions", json=CALL).json()["choices"][0]
    assert (choice["finish_reason"], choice["message"]["tool_calls"]) == ("tool_calls", [PARIS])
    first, done = events(client(model).post("/v1/chat/completions", json={**CALL, "stream": True}).text)
    assert (first["choices"][0]["delta"]["tool_calls"], done) == ([PARIS], "[DONE]")


def test_a_tool_that_must_be_called_and_is_not() -> None:
    # The recordings chat_tools_required and chat_tools_named_stream.
    answer = client().post("/v1/chat/completions", json=CALL)
    words = "Tool choice was required but no tools were called."
    assert (answer.status_code, answer.json()["message"]) == (500, words)
    (choice,) = answer.json()["partial_response"]["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("error", "Hi there")
    answer = client().post("/v1/chat/completions", json={**CALL, "stream": True})
    error = {"message": words, "type": "server_error", "param": None, "code": None}
    assert (answer.status_code, events(answer.text)) == (200, [{"error": error}, "[DONE]"])


def test_unknown_model() -> None:
    model = FakeModel()
    for path, body in (("chat/completions", {"messages": HELLO}), ("completions", {"prompt": "x"})):
        answer = client(model, FakeModel("b")).post(f"/v1/{path}", json={"model": "nope", **body})
        words = (
            "Requested model 'nope' is not available. Available models: a, b. Use 'default' to use the default model."
        )
        assert (answer.status_code, answer.json()) == (500, {"message": words})
    assert model.asked == []


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[]", 422), (b"{}", 422), (b'{"model": "a", "messages": 1}', 422)]
)
def test_bad_requests(body: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client().post("/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith("Failed to ")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_content_type(kind: str) -> None:
    answer = client().post("/v1/completions", content=b"{}", headers={"Content-Type": kind})
    assert (answer.status_code, answer.text) == (415, "Expected request with `Content-Type: application/json`")


def test_body_limit() -> None:
    answer = client().post("/v1/completions", content=b" " * (MOST_BODY_BYTES + 1))
    assert (answer.status_code, answer.text) == (413, "request body too large")


def test_a_refused_body_is_read_before_it_is_answered() -> None:
    """Closed with bytes unread, a connection is reset, and the client never sees why it was refused."""
    order: list[str] = []
    parts = [b"x" * 65536] * 20

    async def receive() -> dict[str, Any]:
        order.append("read")
        body = parts.pop() if parts else b""
        return {"type": "http.request", "body": body, "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        order.append(message["type"])

    headers = [(b"content-type", b"application/json"), (b"content-length", str(MOST_BODY_BYTES + 1).encode())]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/completions", "raw_path": b"/v1/completions", "headers": headers,
        "query_string": b"", "root_path": "", "scheme": "http", "server": ("localhost", 80), "client": None,
    }  # fmt: skip
    asyncio.run(application(CONFIGURATION, {"a": FakeModel()}, lambda error: None)(scope, receive, send))  # type: ignore[arg-type]
    assert order == ["read"] * 20 + ["http.response.start", "http.response.body"]


def test_paths_and_methods() -> None:
    for answer in (client().get("/v1/files"), client().post("/v1/models/unload", json={})):
        assert (answer.status_code, answer.text) == (404, "")
        assert "access-control-allow-origin" not in answer.headers
    answer = client().get("/v1/completions")
    assert (answer.status_code, answer.text, answer.headers["allow"]) == (405, "", "POST")
    assert client().get("/").text == "OK"


def test_browsers_may_ask() -> None:
    answer = client().options("/v1/completions", headers={"Origin": "https://example.org"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert "authorization" in answer.headers["access-control-allow-headers"]


def test_no_template_no_chat() -> None:
    model = FakeModel()
    model.chats = False
    answer = client(model).post("/v1/chat/completions", json={"model": "a", "messages": HELLO})
    assert answer.status_code == 422
    assert "does not have a chat template" in answer.json()["message"]
    assert client(model).post("/v1/completions", json={"model": "a", "prompt": "x"}).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_error_before_the_first_token(stream: bool) -> None:
    model = FakeModel(words=())
    model.stream = lambda request: iter_error(RequestError(422, "The prompt is too long."))  # type: ignore[method-assign]
    answer = client(model).post("/v1/chat/completions", json={"model": "a", "messages": HELLO, "stream": stream})
    if stream:
        # A stream has begun with its status, as in the recording chat_context_overflow_stream.
        assert answer.status_code == 200
        first, last = events(answer.text)
        assert (first["error"]["message"], last) == ("The prompt is too long.", "[DONE]")
    else:
        assert (answer.status_code, answer.json()) == (422, {"message": "The prompt is too long."})


def iter_error(error: BaseException) -> Iterator[Chunk]:
    yield from ()
    raise error


def test_error_in_a_stream_is_an_event() -> None:
    model = FakeModel()
    model.error = RequestError(500, "The engine failed.")
    answer = client(model).post("/v1/chat/completions", json={"model": "a", "messages": HELLO, "stream": True})
    *_pieces, error, last = events(answer.text)
    assert error["error"] == {"message": "The engine failed.", "type": "server_error", "param": None, "code": None}
    assert last == "[DONE]"


def test_unexpected_error_says_nothing_about_the_request(caplog: pytest.LogCaptureFixture) -> None:
    model = FakeModel()
    model.error = RuntimeError("secret prompt")
    answer = client(model).post("/v1/chat/completions", json={"model": "a", "messages": HELLO})
    assert answer.status_code == 500
    assert "secret" not in answer.text + caplog.text


def test_dead_engine_ends_the_process() -> None:
    dead: list[BaseException] = []
    model = FakeModel()
    model.error = EngineDead("channel closed")
    answer = client(model, dead=dead).post("/v1/chat/completions", json={"model": "a", "messages": HELLO})
    assert answer.status_code == 500
    assert [str(error) for error in dead] == ["channel closed"]


def test_metrics() -> None:
    http = client()
    http.post("/v1/chat/completions", json={"model": "a", "messages": HELLO, "stream": True})
    text = http.get("/metrics").text
    labels = 'method="POST",model="a",path="/v1/chat/completions"'
    assert f'http_requests_total{{{labels},status="200"}} 1.0' in text
    assert f'mistralrs_time_to_first_token_seconds_count{{{labels},status="200"}} 1.0' in text
    assert f'mistralrs_inter_token_latency_seconds_count{{{labels},status="200"}} 1.0' in text
    assert f"http_requests_in_flight{{{labels}}} 0.0" in text
    assert "mistralrs_sequences_capacity 2.0" in text
    assert "mistralrs_tokens_processed_total 5.0" in text
    assert "mistralrs_sequences_running 0.0" in text
    assert "mistralrs_sequences_waiting 0.0" in text
    assert 'mistralrs_sequences_completed_total{reason="stop"} 1.0' in text
    assert (client(metrics=False).get("/metrics").status_code, client(metrics=False).get("/metrics").text) == (
        503,
        "metrics disabled",
    )


def test_buckets_as_the_engine_writes_them() -> None:
    # To Prometheus le="5.0" is another series than le="5", which alerts ask for.
    http = client()
    http.post("/v1/chat/completions", json={"model": "a", "messages": HELLO, "stream": True})
    text = http.get("/metrics").text
    for name, some in (
        ("http_request_duration_seconds", ("0.001", "1", "1200", "+Inf")),
        ("http_request_body_bytes", ("128", "104857600")),
        ("mistralrs_time_to_first_token_seconds", ("0.02", "40", "2560")),
        ("mistralrs_inter_token_latency_seconds", ("0.075", "80")),
    ):
        bounds = re.findall(rf'^{name}_bucket{{.*le="([^"]+)"', text, re.MULTILINE)
        assert set(some) <= set(bounds), name
    assert '.0"} ' not in text


def counted(http: TestClient) -> list[tuple[str, ...]]:
    pattern = r'^http_requests_total{method="(.+?)",model="(.+?)",path="(.+?)",status="(.+?)"} (\d+)'
    return sorted(re.findall(pattern, http.get("/metrics").text, re.MULTILINE))


def test_requests_without_a_model_say_so() -> None:
    http = client()
    http.get("/v1/models")
    http.post("/v1/completions", json={"model": "nope", "prompt": "x"})
    http.get("/v1/completions")
    assert counted(http) == [
        ("GET", "none", "/v1/models", "200", "1"),
        ("GET", "unknown", "/v1/completions", "405", "1"),
        ("POST", "unknown", "/v1/completions", "500", "1"),
    ]


@pytest.mark.parametrize(
    ("body", "label", "status"),
    [
        ('{"model": "a", "prompt": "x", "max_tokens": "many"}', "a", "422"),
        ('{"prompt": 3}', "a", "422"),
        ('{"model": "default", "prompt": ""}', "a", "422"),
        ('{"model": 7, "prompt": "x"}', "a", "422"),
        ('{"model": "a", ', "unknown", "400"),
        ('["a"]', "unknown", "422"),
    ],
)
def test_what_is_refused_counts_for_the_model_that_it_names(body: str, label: str, status: str) -> None:
    http = client()
    http.post("/v1/completions", content=body, headers={"Content-Type": "application/json"})
    assert counted(http) == [("POST", label, "/v1/completions", status, "1")]
    labels = f'method="POST",model="{label}",path="/v1/completions"'
    assert f"http_request_body_bytes_sum{{{labels}}} {len(body)}.0" in http.get("/metrics").text


def test_housekeeping_is_not_counted() -> None:
    http = client()
    for path in ("/", "/health", "/metrics"):
        http.get(path)
    http.options("/v1/completions")
    http.options("/nowhere")
    assert counted(http) == []
    assert "http_requests_in_flight{" not in http.get("/metrics").text


def test_unknown_paths_share_one_label() -> None:
    http = client()
    for index in range(3):
        http.get(f"/x{index}")
    assert 'path="<unmatched>",status="404"} 3.0' in http.get("/metrics").text


def test_access_log_has_no_texts(caplog: pytest.LogCaptureFixture) -> None:
    # The client's own log has the address that it called.
    caplog.set_level(logging.WARNING, logger="httpx")
    caplog.set_level(logging.WARNING, logger="httpx2")
    caplog.set_level(logging.INFO, logger="mistralrs_evaluation")
    http = client(access_log_format="json")
    http.post("/v1/chat/completions?q=secret", json={"model": "a", "messages": [{"role": "user", "content": "secret"}]})
    for path in ("/health", "/metrics", "/"):
        http.get(path)
    lines = [json.loads(record.message) for record in caplog.records if record.name == "mistralrs_evaluation.access"]
    assert [(line["path"], line["status"], line["model"]) for line in lines] == [("/v1/chat/completions", 200, "a")]
    assert "secret" not in caplog.text
    assert "Hi there" not in caplog.text


def ask(app: Any, body: dict[str, Any], leave_after: float) -> Any:
    """One request whose client goes away; gives what it got till then."""
    sent: list[dict[str, Any]] = []
    payload = json.dumps(body).encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-length", str(len(payload)).encode()), (b"content-type", b"application/json")],
    }

    async def run() -> None:
        first = True
        left = asyncio.get_running_loop().time() + leave_after

        async def receive() -> dict[str, Any]:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": payload, "more_body": False}
            await asyncio.sleep(max(0, left - asyncio.get_running_loop().time()))
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await app(scope, receive, send)
        # The generation's thread reports its end to this loop.
        await asyncio.sleep(0.3)

    asyncio.run(run())
    return sent


@pytest.mark.parametrize("stream", [True, False])
def test_disconnect_stops_the_generation(stream: bool) -> None:
    model = FakeModel(words=("x",) * 400, pause=0.02)
    app = application(CONFIGURATION, {"a": model}, lambda error: None)
    ask(app, {"model": "a", "messages": HELLO, "stream": stream}, leave_after=0.2)
    assert model.closed.wait(2)
    given = model.given
    assert 0 < given < 60
    time.sleep(0.1)
    assert model.given == given
    http = TestClient(app)
    assert metric(http, "mistralrs_sequences_running ") == 0
    assert metric(http, 'mistralrs_sequences_completed_total{reason="canceled"}') == 1
    # As the engine has it: who leaves before the answer begins is not counted.
    assert counted(http) == ([("POST", "a", "/v1/chat/completions", "200", "1")] if stream else [])


def test_first_token_leaves_before_the_last_is_made() -> None:
    model = FakeModel(words=("x",) * 400, pause=0.02)
    app = application(CONFIGURATION, {"a": model}, lambda error: None)
    sent = ask(app, {"model": "a", "messages": HELLO, "stream": True}, leave_after=0.3)
    assert b'"content":"x"' in b"".join(message.get("body", b"") for message in sent)
    assert model.given < 400


def test_keep_alive_while_nothing_comes() -> None:
    model = FakeModel(pause=0.3)
    app = application(CONFIGURATION, {"a": model}, lambda error: None, keep_alive=0.05)
    answer = TestClient(app).post("/v1/chat/completions", json={"model": "a", "messages": HELLO, "stream": True})
    assert answer.text.startswith(":\n\n")
    assert events(answer.text)[-1] == "[DONE]"


def test_not_more_at_once_than_the_engine_has_sequences() -> None:
    model = FakeModel(pause=0.05)
    with client(model) as http:
        threads = [
            threading.Thread(
                target=http.post, args=("/v1/chat/completions",), kwargs={"json": {"model": "a", "messages": HELLO}}
            )
            for _index in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(model.asked) == 5
    assert model.most_at_once == 2


def test_sse() -> None:
    assert sse({"a": "ü\n"}) == 'data: {"a":"ü\\n"}\n\n'.encode()
    assert sse("[DONE]") == b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\n", "one"),
        ("path: x\n\ninvalid magic\n\nStack backtrace:\n   0: anyhow\n   1: main", "path: x invalid magic"),
        ("oops\n   0: std::panic", "oops"),
        ("", "ValueError"),
    ],
)
def test_engine_errors_lose_their_stack_trace(text: str, expected: str) -> None:
    assert sentence(ValueError(text)) == expected
