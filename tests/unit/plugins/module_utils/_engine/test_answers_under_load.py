"""Which answers of several clients count as wrong.

The form of an answer is that of tests/recordings/mistralrs-0.8.1/http/completions.json, the failure is the body of
tests/recordings/mistralrs-0.9.2+7/http/chat_n2.json. The mixed-up answers are those that mistralrs 0.8.1 (crates.io)
with SmolLM2-135M Q4_1 on a CPU gave to these prompts.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.answers_under_load import (
    ANSWER_TOKENS,
    INCONCLUSIVE,
    MAX_PROMPTS,
    PASSED,
    LoadCheck,
    error_message,
    prompts,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.ready import Answer
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError

RECORDINGS = Path(__file__).resolve().parents[4] / "recordings"


def recorded(name: str) -> dict[str, Any]:
    response = json.loads((RECORDINGS / name).read_text())["response"]
    assert isinstance(response, dict)
    return response


COMPLETION = json.loads(recorded("mistralrs-0.8.1/http/completions.json")["body"])
NOT_CONTIGUOUS = recorded("mistralrs-0.9.2+7/http/chat_n2.json")


def completion(text: str) -> Answer:
    return Answer(200, json.dumps({**COMPLETION, "choices": [{**COMPLETION["choices"][0], "text": text}]}))


def repeated(word: str) -> str:
    return f" {word}, {word}, {word}, {word},"


class Engine:
    """Answers what C(together) says while several requests run, and what C(alone) says otherwise."""

    def __init__(
        self, together: Callable[[str], str | Answer] = repeated, alone: Callable[[str], str | Answer] = repeated
    ) -> None:
        self.together, self.alone = together, alone
        self.running = self.most = 0
        self.lock = threading.Lock()
        self.bodies: list[dict[str, object]] = []
        self.order: list[str] = []

    def post(self, path: str, body: str, timeout: float) -> Answer:
        assert (path, timeout) == ("/v1/completions", 60.0)
        document = json.loads(body)
        with self.lock:
            self.bodies.append(document)
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.05)
        word = document["prompt"].split(",")[0]
        with self.lock:
            answer = (self.together if self.most > 1 else self.alone)(word)
            self.running -= 1
            self.order.append("together" if self.most > 1 else "alone")
            if not self.running:
                self.most = 0
        return completion(answer) if isinstance(answer, str) else answer


def check(engine: Engine, count: int = 6) -> str:
    return LoadCheck(engine, "m", count, 60.0).run()


def refusal(engine: Engine) -> str:
    with pytest.raises(StackError) as caught:
        check(engine)
    assert caught.value.id == "server.answers_change_under_load"
    return str(caught.value)


@pytest.mark.parametrize("count", [2, 3, 6, MAX_PROMPTS])
def test_right_answers(count: int) -> None:
    engine = Engine()
    assert check(engine, count) == PASSED
    assert len(engine.bodies) == 3 * count
    assert engine.order == ["together"] * count + ["alone"] * count + ["together"] * count


def test_all_are_greedy_and_short() -> None:
    engine = Engine()
    check(engine)
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in engine.bodies} == {
        ("m", 0, ANSWER_TOKENS)
    }


@pytest.mark.parametrize(("count", "equal"), [(2, 2), (3, 2), (6, 4), (12, 8)])
def test_prompts_of_equal_length_and_of_others(count: int, equal: int) -> None:
    lengths = [prompt.text.count(",") for prompt in prompts(count)]
    assert lengths.count(lengths[0]) == equal
    assert len(set(lengths[equal:])) == count - equal
    assert len({prompt.word for prompt in prompts(count)}) == count


def test_the_answer_to_another_prompt() -> None:
    # What 0.8.1 does.
    text = refusal(Engine(lambda word: word if word == "water" else f"{word}, water, water, water,"))
    assert "5 of 6 answers are wrong" in text or "6 of 6 answers are wrong" in text
    assert '"house, water, water, water," instead of "house, house, house, house,"' in text or '"water" gets' in text


@pytest.mark.parametrize(
    "answer",
    [
        lambda word: repeated("water"),
        lambda word: " water, water, water, water," if word == "house" else repeated(word),
        # Right for three words, then another client's.
        lambda word: f" {word}, {word}, {word}, {'table' if word == 'river' else word},",
        lambda word: ".\n\n\n-style.\n",
        lambda word: "",
        lambda word: f" {word}",
        lambda word: "the the the the",
    ],
)
def test_wrong_answers(answer: Callable[[str], str]) -> None:
    assert "answers are wrong" in refusal(Engine(answer))


@pytest.mark.parametrize(
    "answer",
    [
        # Numerical differences of a batch, and an answer that the limit of tokens cuts within a word.
        lambda word: f" {word}, {word}, {word}. The",
        lambda word: f"{word.title()}, {word}, {word}, {word[:2]}",
        lambda word: f"\n{word}\n{word}\n{word}",
    ],
)
def test_late_divergence_is_no_defect(answer: Callable[[str], str]) -> None:
    assert check(Engine(answer)) == PASSED


def test_the_defect_of_0_9_2() -> None:
    text = refusal(Engine(lambda word: Answer(NOT_CONTIGUOUS["status"], NOT_CONTIGUOUS["body"])))
    assert "6 of 6 requests end with HTTP status 500 (input tensor is not contiguous Layout" in text
    assert "<unknown>" not in text


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(0, "timed out"), "1 of 6 requests end without an answer (timed out)"),
        (Answer(503, '{"error": {"message": "full"}}'), "1 of 6 requests end with HTTP status 503 (full)"),
        (Answer(200, "<html>"), "1 of 6 requests end with HTTP status 200 (the answer does not have the form"),
        (Answer(200, '{"choices": []}'), "1 of 6 requests"),
        (Answer(200, '{"choices": [{"text": null}]}'), "1 of 6 requests"),
    ],
)
def test_one_request_that_fails(answer: Answer, expected: str) -> None:
    assert expected in refusal(Engine(lambda word: answer if word == "table" else repeated(word)))


def test_an_engine_that_the_load_has_broken() -> None:
    text = refusal(Engine(alone=lambda word: Answer(0, "Connection refused")))
    assert "6 of 6 single requests after that end without an answer (Connection refused)" in text


@pytest.mark.parametrize(
    "answer",
    [
        lambda word: ".\n\nThe key to a successful",
        lambda word: f" {word} is a",
        lambda word: "",
        # One answer that is known can't be taken for another one.
        lambda word: repeated(word) if word == "green" else "-in-the-style.\n",
    ],
)
def test_a_model_that_does_not_repeat(answer: Callable[[str], str]) -> None:
    assert check(Engine(answer, answer)) == INCONCLUSIVE


def test_answers_that_are_not_known_do_not_count_but_others_do() -> None:
    def alone(word: str) -> str:
        return repeated(word) if word in ("water", "house", "green") else "-in-the-style.\n"

    assert check(Engine(alone, alone)) == PASSED
    assert "1 of 6 answers are wrong" in refusal(
        Engine(lambda word: repeated("water") if word == "green" else alone(word), alone)
    )


def test_a_defect_that_shows_in_the_second_round_only() -> None:
    engine = Engine()

    def together(word: str) -> str:
        return repeated("water" if "alone" in engine.order else word)

    engine.together = together
    assert "5 of 6 answers are wrong" in refusal(engine)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"message": "a"}', "a"),
        ('{"error": {"message": "a\\n b"}}', "a b"),
        ('{"error": "a"}', "a"),
        ('{"message": "a\\n   0: <unknown>\\n   1: main"}', "a"),
        ("plain", "plain"),
        ("", "no message"),
        ("[1]", "[1]"),
    ],
)
def test_error_message(body: str, expected: str) -> None:
    assert error_message(body) == expected
