"""What a client sees through the gateway, asked with the real `openai` client from outside the host."""

from __future__ import annotations

import time

import openai
import pytest

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def test_a_chat_completion_is_generated(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=24, temperature=0)
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_the_prompt_is_tokenized_as_the_vocabulary_says(client: openai.OpenAI, model: str) -> None:
    # <bos> The capital of France is; the engine's own conversion of this GGUF makes 11 pieces of it.
    answer = client.completions.create(model=model, prompt="The capital of France is", max_tokens=1)
    assert answer.usage.prompt_tokens == 6


def test_the_answer_depends_on_the_question(client: openai.OpenAI, model: str) -> None:
    texts = {
        client.completions.create(model=model, prompt=prompt, max_tokens=8, temperature=0).choices[0].text
        for prompt in ("The capital of France is", "One, two, three, four,")
    }
    assert len(texts) == 2
    assert all(text.strip() for text in texts)


def test_streaming_arrives_piece_by_piece(client: openai.OpenAI, model: str) -> None:
    arrivals = []
    stream = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=32, temperature=0, stream=True)
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            arrivals.append(time.monotonic())
    assert len(arrivals) > 3
    assert arrivals[-1] - arrivals[0] > 0.1


def test_completions_stream_too(client: openai.OpenAI, model: str) -> None:
    stream = client.completions.create(model=model, prompt="Once upon a time", max_tokens=16, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices).strip()


def test_models_are_listed(client: openai.OpenAI) -> None:
    models = {entry.id: entry for entry in client.models.list()}
    assert models["gemma3-270m-q4_k_m"].owned_by == "mistral.rs"


def test_answers_say_that_an_evaluation_engine_made_them(client: openai.OpenAI, model: str) -> None:
    assert client.completions.create(model=model, prompt="One,", max_tokens=1).system_fingerprint == "evaluation"


@pytest.mark.parametrize("name", ["gemma3-270m-q4_k_m", "gemma3-270m-q4_k_m.gguf", "gemma3:270m"])
def test_every_name_of_the_model_works(client: openai.OpenAI, name: str) -> None:
    assert client.chat.completions.create(model=name, messages=QUESTION, max_tokens=2).choices


def test_an_unknown_model_is_not_answered(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)
    assert "gpt-4o" in caught.value.message
    assert "gemma3" in caught.value.message


def test_a_wrong_key_is_refused(url: str, client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-wrong").models.list()


def test_max_tokens_of_the_configuration_holds(client: openai.OpenAI, model: str) -> None:
    answer = client.completions.create(model=model, prompt="a a a a a a", temperature=0)
    assert answer.usage.completion_tokens <= 64
