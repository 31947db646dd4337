"""The wait ends as soon as the engine is ready, and as soon as it never will be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.ready import (
    Answer,
    ContainerState,
    LastExit,
    Watch,
    parse_events,
    parse_inspect,
    served_models,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError

REFUSED = Answer(0, "[Errno 111] Connection refused")
RUNNING = ContainerState("running", 0, 0, False)


def models(**status: str | None) -> Answer:
    data = [
        {"id": "default"},
        *({"id": name, **({"status": value} if value else {})} for name, value in status.items()),
    ]
    return Answer(200, json.dumps({"object": "list", "data": data}))


RECORDINGS = Path(__file__).resolve().parents[4] / "recordings"
CHATTED = Answer(200, json.loads((RECORDINGS / "mistralrs-0.8.1/http/chat.json").read_text())["response"]["body"])
# What mistralrs 0.8.1 (crates.io) answers with the templates of starts/bad-template.json and
# starts/raising-template.json, whose starts look like good ones.
BAD_TEMPLATE = Answer(
    500, r'{"message":"syntax error: unexpected `}`, expected end of variable block (in chat_template:1)"}'
)
RAISING_TEMPLATE = Answer(500, r'{"message":"invalid operation: roles must alternate (in chat_template:1)"}')
DONE = Answer(200, json.dumps({"choices": [{"text": "x"}], "usage": {"prompt_tokens": 2}}))
BROKEN = Answer(500, json.dumps({"message": "DriverError(CUDA_ERROR_OUT_OF_MEMORY, ...)"}))


class Engine:
    """An engine whose answers are a script: each list's last item stays."""

    def __init__(
        self, gets: list[Answer], posts: list[Answer], states: list[ContainerState | None], log: str = ""
    ) -> None:
        self.gets, self.posts, self.states, self.text = gets, posts, states, log
        self.chats: list[Answer] = []
        self.time = 0.0
        self.ended = LastExit()

    def _next(self, script: list[Any]) -> Any:
        return script.pop(0) if len(script) > 1 else script[0]

    def get(self, path: str, timeout: float) -> Answer:
        assert path == "/v1/models"
        answer: Answer = self._next(self.gets)
        return answer

    def post(self, path: str, body: str, timeout: float) -> Answer:
        if path == "/v1/chat/completions":
            assert json.loads(body)["messages"][0]["role"] == "user"
            answer = self._next(self.chats)
            assert isinstance(answer, Answer)
            return answer
        assert path == "/v1/completions"
        assert json.loads(body)["max_tokens"] == 1
        answer = self._next(self.posts)
        assert isinstance(answer, Answer)
        return answer

    def state(self) -> ContainerState | None:
        state: ContainerState | None = self._next(self.states)
        return state

    def log(self) -> str:
        return self.text

    def last_exit(self) -> LastExit:
        return self.ended

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def watch(engine: Engine, container: bool = True) -> Watch:
    return Watch(engine, engine if container else None, engine, "http://e", "m", "mistral-engine")


def test_ready_at_once() -> None:
    engine = Engine([models(m="loaded")], [DONE], [RUNNING])
    waiting = watch(engine)
    look = waiting.wait(10, 1)
    assert (look.ready, look.prompt_tokens, waiting.attempts, engine.time) == (True, 2, 1, 0)


def test_waits_while_it_loads() -> None:
    engine = Engine([REFUSED, REFUSED, models(m="reloading"), models(m="loaded")], [DONE], [RUNNING])
    waiting = watch(engine)
    assert waiting.wait(10, 1).ready
    assert waiting.attempts == 4


def test_old_engines_have_no_status() -> None:
    assert watch(Engine([models(m=None)], [DONE], [RUNNING])).wait(1, 1).ready


def test_without_a_container_to_watch() -> None:
    assert watch(Engine([models(m="loaded")], [DONE], [None]), container=False).wait(1, 1).ready


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (REFUSED, "the container is running, its port does not answer yet"),
        (models(m="unloaded"), "the model is unloaded"),
    ],
)
def test_time_over(last: Answer, expected: str) -> None:
    engine = Engine([last], [DONE], [RUNNING])
    with pytest.raises(StackError, match=r"within 5 seconds.*server.not_ready") as caught:
        watch(engine).wait(5, 1)
    assert expected in str(caught.value)
    assert engine.time <= 5


DEATHS: list[tuple[list[ContainerState | None], LastExit, str]] = [
    ([ContainerState("exited", 0, 101, False)], LastExit(), "ended with code 101 instead"),
    ([ContainerState("restarting", 3, 1, False)], LastExit(), "ended with code 1 and was restarted"),
    ([RUNNING, ContainerState("running", 1, 0, False)], LastExit(1), "ended with code 1 and was restarted"),
    ([RUNNING, ContainerState("running", 1, 0, False)], LastExit(137, True), "more memory than its limit"),
]


@pytest.mark.parametrize(("states", "ended", "expected"), DEATHS)
def test_a_dead_engine_is_told_at_once(states: list[ContainerState | None], ended: LastExit, expected: str) -> None:
    engine = Engine([REFUSED], [DONE], states, "INFO loading\nError: invalid GGUF magic [3c]\n  0: frame\n")
    engine.ended = ended
    with pytest.raises(StackError) as caught:
        watch(engine).wait(600, 1)
    assert caught.value.id == "server.engine_died"
    text = str(caught.value)
    assert expected in text
    assert "INFO loading | Error: invalid GGUF magic [3c]" in text
    assert ("[engine.not_a_gguf]" in text) or ended.oom_killed
    assert engine.time <= 1


def test_a_container_that_was_restarted_long_ago_is_fine() -> None:
    assert watch(Engine([models(m="loaded")], [DONE], [ContainerState("running", 7, 0, False)])).wait(1, 1).ready


@pytest.mark.parametrize(
    ("gets", "posts", "states", "identity"),
    [
        ([REFUSED], [DONE], [None], "server.container_missing"),
        ([models(other="loaded")], [DONE], [RUNNING], "server.model_not_served"),
        ([Answer(200, "<html>")], [DONE], [RUNNING], "server.not_an_engine"),
        ([Answer(404, "no")], [DONE], [RUNNING], "server.not_an_engine"),
        ([models(m="loaded")], [BROKEN], [RUNNING], "server.completion_failed"),
        ([models(m="loaded")], [Answer(200, "nonsense")], [RUNNING], "server.not_an_engine"),
    ],
)
def test_hopeless(gets: list[Answer], posts: list[Answer], states: list[Any], identity: str) -> None:
    engine = Engine(gets, posts, states)
    with pytest.raises(StackError) as caught:
        watch(engine).wait(600, 1)
    assert caught.value.id == identity
    assert engine.time <= 1


def test_an_error_of_the_completion_is_explained() -> None:
    with pytest.raises(StackError, match=r"status 500.*engine.gpu_out_of_memory"):
        watch(Engine([models(m="loaded")], [BROKEN], [RUNNING])).wait(600, 1)


def test_one_failed_completion_is_forgiven() -> None:
    assert watch(Engine([models(m="loaded")], [BROKEN, DONE], [RUNNING])).wait(600, 1).ready


def test_parse_inspect() -> None:
    # From Docker 26.1.5.
    text = '[{"State":{"Status":"restarting","OOMKilled":false,"ExitCode":1},"RestartCount":4,"Name":"/x"}]'
    assert parse_inspect(text) == ContainerState("restarting", 4, 1, False)


def test_parse_events() -> None:
    # From Docker 26.1.5.
    die = '{"status":"die","Type":"container","Action":"die","Actor":{"ID":"1","Attributes":{"exitCode":"137"}}}'
    oom = '{"status":"oom","Type":"container","Action":"oom","Actor":{"ID":"1","Attributes":{}}}'
    assert parse_events("") == LastExit()
    assert parse_events(f"{oom}\n{die}\n") == LastExit(137, True)


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"data": 1}', '{"data": [1]}', '{"data": [{}]}'])
def test_not_a_list_of_models(body: str) -> None:
    assert served_models(body) is None


@pytest.mark.parametrize(("expected", "error"), [(0, ""), (2, ""), (3, "server.tokenizer_wrong")])
def test_the_engine_reads_the_vocabulary_right(expected: int, error: str) -> None:
    engine = Engine([models(m="loaded")], [DONE], [RUNNING])
    waiting = Watch(engine, None, engine, "http://e", "m", "mistral-engine", expected)
    if not error:
        assert waiting.wait(10, 0.5).prompt_tokens == 2
        return
    with pytest.raises(StackError, match=f"2 tokens, the vocabulary of the model m gives 3.*{error}"):
        waiting.wait(10, 0.5)


def chatting(*chats: Answer) -> Watch:
    engine = Engine([models(m="loaded")], [DONE], [RUNNING])
    engine.chats = list(chats)
    return Watch(engine, engine, engine, "http://e", "m", "mistral-engine", chat=True)


def test_a_model_with_a_template_answers_a_chat() -> None:
    look = chatting(CHATTED).wait(10, 1)
    assert (look.ready, look.status, look.prompt_tokens) == (True, "loaded", 2)


@pytest.mark.parametrize(
    ("chat", "message"),
    [(BAD_TEMPLATE, "unexpected `}`, expected end of variable block"), (RAISING_TEMPLATE, "roles must alternate")],
)
def test_a_template_that_breaks_every_chat(chat: Answer, message: str) -> None:
    with pytest.raises(StackError) as caught:
        chatting(chat).wait(600, 1)
    assert caught.value.id == "server.chat_failed"
    assert "HTTP status 500: " in str(caught.value)
    assert message in str(caught.value)
    assert "chat_template in mistral_models" in caught.value.remedy


def test_a_chat_without_an_answer_is_waited_for() -> None:
    waiting = chatting(Answer(0, "timed out"), CHATTED)
    assert waiting.wait(10, 1).ready
    assert waiting.attempts == 2
    with pytest.raises(StackError, match=r"a chat got no answer \(timed out\).*server\.not_ready"):
        chatting(Answer(0, "timed out")).wait(3, 1)


@pytest.mark.parametrize("body", ["nonsense", "{}", '{"choices": []}', '{"choices": [{"message": null}]}'])
def test_a_chat_in_another_form(body: str) -> None:
    with pytest.raises(StackError, match=r"server\.not_an_engine"):
        chatting(Answer(200, body)).wait(10, 1)


def test_the_run_of_the_container() -> None:
    # From Docker 26.1.5.
    text = '[{"Id":"7f8e","State":{"Status":"running","StartedAt":"2026-11-27T01:12:15.66Z"},"RestartCount":0}]'
    state = parse_inspect(text)
    assert (state.identity, state.started_at) == ("7f8e", "2026-11-27T01:12:15.66Z")


FIT = {"sentence": "What would fit these GPUs: q4_k_m.", "table": ["quantization  fits", "q4_k_m  yes"]}


@pytest.mark.parametrize(
    ("last_words", "told"),
    [
        ("Error: DriverError(CUDA_ERROR_OUT_OF_MEMORY, out of memory)", True),
        ("Error: Num GPU blocks is 0. This means there is not enough memory.", True),
        ("Error: invalid GGUF magic [3c]", False),
    ],
)
def test_an_engine_without_memory_is_told_what_would_fit(last_words: str, told: bool) -> None:
    engine = Engine([REFUSED], [DONE], [ContainerState("exited", 0, 101, False)], last_words)
    with pytest.raises(StackError) as caught:
        Watch(engine, engine, engine, "http://e", "m", "mistral-engine", fit=FIT).wait(600, 1)
    assert (FIT["sentence"] in str(caught.value)) is told
    assert caught.value.details == ({"fit_table": FIT["table"]} if told else {})


def test_a_completion_without_memory_is_told_what_would_fit() -> None:
    engine = Engine([models(m="loaded")], [BROKEN], [RUNNING])
    with pytest.raises(StackError) as caught:
        Watch(engine, engine, engine, "http://e", "m", "mistral-engine", fit=FIT).wait(600, 1)
    assert FIT["sentence"] in caught.value.remedy
    assert caught.value.details == {"fit_table": FIT["table"]}
