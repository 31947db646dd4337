"""The real mistral.rs 0.8.1 through the gateway, asked with the real `openai` client from outside the host."""

from __future__ import annotations

import concurrent.futures
import time

import openai
import pytest

QUESTION = [
    {"role": "user", "content": "What is the capital of France? Answer in one short sentence please, with its name."}
]
WORDS = ("ocean", "tiger", "bread", "piano", "winter", "silver")


def test_a_chat_completion_is_generated(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=24, temperature=0)
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_streaming_arrives_piece_by_piece(client: openai.OpenAI, model: str) -> None:
    arrivals = []
    stream = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=24, temperature=0, stream=True)
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            arrivals.append(time.monotonic())
    assert len(arrivals) > 3
    assert arrivals[-1] - arrivals[0] > 0.1


def test_completions_work_too(client: openai.OpenAI, model: str) -> None:
    answer = client.completions.create(model=model, prompt="Once upon a time", max_tokens=8)
    assert answer.choices[0].text.strip()
    # The engine says no more than this of what the gateway filled in: the configuration's limit holds.
    assert client.completions.create(model=model, prompt="One, two,").usage.completion_tokens <= 64


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert "smollm2-135m-q4_1" in {entry.id for entry in client.models.list()}


@pytest.mark.parametrize("name", ["smollm2-135m-q4_1", "smollm2-135m-q4_1.gguf", "smollm2:135m"])
def test_every_name_of_the_model_works(client: openai.OpenAI, name: str) -> None:
    assert client.chat.completions.create(model=name, messages=QUESTION, max_tokens=2).choices


def test_an_unknown_model_is_not_answered(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)
    assert "gpt-4o" in caught.value.message


def test_six_clients_at_once_get_the_answers_that_each_gets_alone(client: openai.OpenAI, model: str) -> None:
    # Asked directly, 0.8.1 gives them each other's answers: see test_server.py.
    def ask(word: str) -> str:
        content = f"Say a sentence about the {word}."
        messages = [{"role": "user", "content": content}]
        done = client.chat.completions.create(model=model, messages=messages, max_tokens=10, temperature=0)
        return str(done.choices[0].message.content)

    alone = {word: ask(word) for word in WORDS}
    assert len(set(alone.values())) == len(WORDS), f"the answers do not tell the prompts apart: {alone}"
    with concurrent.futures.ThreadPoolExecutor(len(WORDS)) as pool:
        together = dict(zip(WORDS, pool.map(ask, WORDS), strict=True))
    assert together == alone


def test_six_streams_at_once_too(client: openai.OpenAI, model: str) -> None:
    def ask(word: str) -> str:
        messages = [{"role": "user", "content": f"Say a sentence about the {word}."}]
        stream = client.chat.completions.create(
            model=model, messages=messages, max_tokens=10, temperature=0, stream=True
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)

    alone = {word: ask(word) for word in WORDS[:3]}
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        together = dict(zip(WORDS[:3], pool.map(ask, WORDS[:3]), strict=True))
    assert together == alone
