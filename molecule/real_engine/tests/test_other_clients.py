"""The real mistral.rs 0.8.1 through the gateway, asked with the usual clients of all its APIs."""

from __future__ import annotations

import os
from typing import Any

import anthropic
import litellm
import ollama
import pytest
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI

TEXT = "What is the capital of France? Answer in one short sentence please, with its name."
QUESTION: list[Any] = [{"role": "user", "content": TEXT}]
FEW = 24


@pytest.fixture(autouse=True)
def authority(trust: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients read the authorities from the usual variable, as a user would set it."""
    monkeypatch.setenv("SSL_CERT_FILE", os.environ["GATEWAY_CA"])


# --- Anthropic's own.


@pytest.fixture
def claude(url: str, key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key=key, timeout=300, max_retries=0)


def test_anthropic(claude: anthropic.Anthropic, model: str) -> None:
    answer = claude.messages.create(model=model, messages=QUESTION, max_tokens=FEW)
    assert answer.type == "message"
    assert "Paris" in answer.content[0].text
    assert answer.stop_reason in ("end_turn", "max_tokens")
    assert answer.usage.input_tokens > 0
    assert 0 < answer.usage.output_tokens <= FEW


def test_anthropic_streams(claude: anthropic.Anthropic, model: str) -> None:
    with claude.messages.stream(model=model, messages=QUESTION, max_tokens=FEW) as stream:
        pieces = list(stream.text_stream)
        whole = stream.get_final_message()
    assert len(pieces) > 3
    assert "Paris" in "".join(pieces) == whole.content[0].text
    assert whole.usage.output_tokens > 3


def test_anthropic_is_told_what_is_wrong(url: str, claude: anthropic.Anthropic, model: str) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        claude.messages.create(model="claude-none", messages=QUESTION, max_tokens=FEW)
    assert missing.value.body["error"]["type"] == "not_found_error"
    assert "claude-none" in missing.value.message
    stranger = anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(model=model, messages=QUESTION, max_tokens=FEW)


# --- Ollama's own.


@pytest.fixture
def llama(url: str, key: str) -> ollama.Client:
    return ollama.Client(host=url, headers={"Authorization": f"Bearer {key}"}, timeout=300)


def test_ollama_says_what_there_is(llama: ollama.Client, model: str) -> None:
    (listed,) = llama.list().models
    assert listed.model == "smollm2-135m-q4_1:latest"
    assert listed.size > 50_000_000
    assert listed.digest == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert listed.details.quantization_level == "Q4_1"
    assert listed.details.family == "llama"
    shown = llama.show(model)
    assert "completion" in shown.capabilities
    assert shown.modelinfo["llama.context_length"] == 2048
    assert [running.model for running in llama.ps().models] == [listed.model]


def test_ollama_chats(llama: ollama.Client, model: str) -> None:
    options = {"temperature": 0, "num_predict": FEW}
    answer = llama.chat(model, QUESTION, options=options)
    assert "Paris" in answer.message.content
    assert answer.done
    assert answer.eval_count > 0
    pieces = list(llama.chat(model, QUESTION, stream=True, options=options))
    assert len(pieces) > 3
    assert "".join(piece.message.content for piece in pieces) == answer.message.content
    assert pieces[-1].done
    assert pieces[-1].prompt_eval_count == answer.prompt_eval_count > 0


def test_ollama_generates(llama: ollama.Client, model: str) -> None:
    options = {"temperature": 0, "num_predict": 6}
    answer = llama.generate(model, "Once upon a time", options=options)
    assert answer.response.strip()
    pieces = list(llama.generate(model, "Once upon a time", stream=True, options=options))
    assert "".join(piece.response for piece in pieces) == answer.response


def test_ollama_is_told_how_it_is_done_here(llama: ollama.Client, model: str) -> None:
    for call in (lambda: llama.pull("llama3"), lambda: llama.delete(model), lambda: llama.copy(model, "mine")):
        with pytest.raises(ollama.ResponseError, match="Models are not"):
            call()
    with pytest.raises(ollama.ResponseError, match="nothing") as missing:
        llama.chat("nothing", QUESTION)
    assert missing.value.status_code == 404


# --- LiteLLM, with both of its ways to such a server.


@pytest.mark.parametrize(("kind", "path"), [("openai", "/v1"), ("ollama_chat", "")])
def test_litellm(url: str, key: str, model: str, kind: str, path: str) -> None:
    asked: dict[str, Any] = {
        "model": f"{kind}/{model}",
        "api_base": f"{url}{path}",
        "api_key": key,
        "messages": QUESTION,
        "max_tokens": FEW,
        "temperature": 0,
        "num_retries": 0,
    }
    answer = litellm.completion(**asked)
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0
    pieces = [part.choices[0].delta.content or "" for part in litellm.completion(**asked, stream=True)]
    assert "".join(pieces) == answer.choices[0].message.content


# --- LangChain, with both.


def chats(url: str, key: str, model: str) -> list[Any]:
    headers = {"headers": {"Authorization": f"Bearer {key}"}}
    return [
        ChatOpenAI(base_url=f"{url}/v1", api_key=key, model=model, temperature=0, max_tokens=FEW, max_retries=0),
        ChatOllama(base_url=url, model=model, temperature=0, num_predict=FEW, client_kwargs=headers),
    ]


@pytest.mark.parametrize("number", [0, 1], ids=["openai", "ollama"])
def test_langchain(url: str, key: str, model: str, number: int) -> None:
    chat = chats(url, key, model)[number]
    answer = chat.invoke([("system", "Answer briefly."), ("human", TEXT)])
    assert "Paris" in answer.content
    assert answer.usage_metadata["output_tokens"] > 0
    pieces = [part.content for part in chat.stream(TEXT)]
    assert len(pieces) > 3
    assert "Paris" in "".join(pieces)
