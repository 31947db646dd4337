"""Several clients use the wheel's runner at the same time.

The runner of these tests behaves as PyO3 does at commit 9e922623f24b of mistral.rs: `mistralrs-pyo3/src/lib.rs` has
`fn send_chat_completion_request(&mut self, ...)`, which stays borrowed while it waits for the engine without the lock
of the interpreter. A second thread that calls a method meanwhile gets `RuntimeError: Already borrowed`, as the wheel
0.9.5 was seen to say.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mistralrs_evaluation.config import Configuration, ModelConfiguration
from mistralrs_evaluation.engine import Chunk, EngineDead, GgufModel
from mistralrs_evaluation.fields import RequestError
from mistralrs_evaluation.requests import Generate


class Runner:
    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        self.borrowed = threading.Lock()
        self.error: BaseException | None = None
        self.dead = False

    def _borrow(self) -> None:
        if not self.borrowed.acquire(blocking=False):
            raise RuntimeError("Already borrowed")
        time.sleep(0.02)
        self.borrowed.release()

    def send_chat_completion_request(self, request: dict[str, Any]) -> Iterator[Any]:
        self._borrow()
        if self.error is not None:
            raise self.error

        def pieces() -> Iterator[Any]:
            text = request["messages"][0]["content"]
            for finish in (None, "stop"):
                time.sleep(0.02)
                delta = SimpleNamespace(content=text, reasoning_content=None, tool_calls=None)
                choice = SimpleNamespace(delta=delta, index=0, logprobs=None, finish_reason=finish)
                yield SimpleNamespace(choices=[choice], usage=None)

        return pieces()

    def list_models_with_status(self) -> list[tuple[str, str]]:
        self._borrow()
        return [("tiny", "loaded")]

    def tokenize_text(self, *_arguments: Any) -> list[int]:
        self._borrow()
        if self.dead:
            raise ValueError("channel closed")
        return [1]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GgufModel:
    wheel = SimpleNamespace(
        Runner=Runner,
        Which=SimpleNamespace(GGUF=lambda *_arguments, **_options: None),
        ModelDType=SimpleNamespace(Auto=0, F16=1, BF16=2, F32=3),
        ChatCompletionRequest=lambda **fields: fields,
    )
    monkeypatch.setitem(sys.modules, "mistralrs", wheel)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "tiny.gguf").write_bytes(b"")
    (tmp_path / "template.jinja").write_text("{{ messages[0].content }}")
    described = ModelConfiguration("tiny", ("tiny.gguf",), jinja_explicit=str(tmp_path / "template.jinja"))
    return GgufModel(Configuration((described,), "tiny"), described, tmp_path)


def test_clients_that_ask_at_the_same_time_wait_for_the_runner(model: GgufModel) -> None:
    def ask(name: str) -> list[Chunk]:
        return list(model.stream(Generate("tiny", ({"role": "user", "content": name},))))

    names = [f"client {number}" for number in range(12)]
    with ThreadPoolExecutor(len(names)) as clients:
        answers = list(clients.map(ask, names))
    assert [[chunk.text for chunk in answer] for answer in answers] == [[name, name] for name in names]


def test_the_status_can_be_asked_meanwhile(model: GgufModel) -> None:
    with ThreadPoolExecutor(8) as clients:
        states = [clients.submit(model.status) for _number in range(4)]
        answers = [
            clients.submit(lambda: list(model.stream(Generate("tiny", ({"role": "user", "content": "x"},)))))
            for _number in range(4)
        ]
        assert [state.result() for state in states] == ["loaded"] * 4
        assert [len(answer.result()) for answer in answers] == [2] * 4


def fail(model: GgufModel, error: BaseException) -> None:
    model._runner.error = error
    list(model.stream(Generate("tiny", ({"role": "user", "content": "x"},))))


class Panic(BaseException):
    """What PyO3 makes of a panic is not an Exception."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        # The recording chat_n2: a defect of the engine.
        (ValueError("input tensor is not contiguous Layout { shape: [2, 1, 576] }\n   0: candle_core"), 500),
        (ValueError("Received none in ChatCompletionStreamer"), 500),
        (RuntimeError("Already borrowed"), 500),
        (Panic("index out of bounds"), 500),
        # The recordings chat_n0 and chat_context_overflow.
        (ValueError("Number of choices must be greater than 0."), 422),
        (ValueError("Prompt sequence length is greater than 8192, perhaps consider using `truncate_sequence`?"), 422),
    ],
)
def test_a_fault_of_the_engine_is_not_the_clients(model: GgufModel, error: BaseException, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        fail(model, error)
    assert caught.value.status == status
    assert "candle_core" not in caught.value.message


def test_only_an_engine_that_does_not_answer_is_dead(model: GgufModel) -> None:
    # Meanwhile others are at work, and the engine is asked whether it lives.
    with ThreadPoolExecutor(6) as clients:
        failed = [clients.submit(fail, model, RuntimeError("Already borrowed")) for _number in range(3)]
        states = [clients.submit(model.status) for _number in range(3)]
        assert [type(one.exception()) for one in failed] == [RequestError] * 3
        assert [state.result() for state in states] == ["loaded"] * 3
    model._runner.dead = True
    with pytest.raises(EngineDead, match="x"):
        fail(model, RuntimeError("x"))
