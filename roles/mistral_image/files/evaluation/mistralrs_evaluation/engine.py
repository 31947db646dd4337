# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real engine: loads the models with the wheel and streams what they generate."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mistralrs_evaluation import StartError, templates
from mistralrs_evaluation.config import Configuration, ModelConfiguration
from mistralrs_evaluation.fields import RequestError
from mistralrs_evaluation.requests import Generate


@dataclass(frozen=True)
class Usage:
    """What a generation has cost, as the engine counts it."""

    prompt_tokens: int
    completion_tokens: int
    measured: dict[str, float]

    def document(self) -> dict[str, Any]:
        """The C(usage) of an answer."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            **self.measured,
        }


@dataclass(frozen=True)
class Chunk:
    """A piece of one choice of an answer; the last one says why it ended and what it cost."""

    text: str
    reasoning: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    index: int = 0
    logprobs: dict[str, Any] | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()


class EngineDead(Exception):
    """The engine can't answer any more; the process must end so that it is started again."""


class Model(Protocol):
    """A loaded model; the tests have one that needs no wheel."""

    model_id: str
    chats: bool

    def status(self) -> str:
        """C(loaded), C(unloaded) or C(reloading)."""

    def stream(self, request: Generate) -> Iterator[Chunk]:
        """Generates; blocks between the pieces, and stops when the iterator is closed."""


_MEASURES = (
    "avg_tok_per_sec",
    "avg_prompt_tok_per_sec",
    "avg_compl_tok_per_sec",
    "total_time_sec",
    "total_prompt_time_sec",
    "total_completion_time_sec",
)


def _usage(usage: Any) -> Usage | None:
    if usage is None:
        return None
    measured = {name: float(getattr(usage, name)) for name in _MEASURES if hasattr(usage, name)}
    return Usage(int(usage.prompt_tokens), int(usage.completion_tokens), measured)


def _first_text(content: str, logprobs: Any) -> str:
    """The first piece with its leading white space, which the engine takes off a chat's answer."""
    token = getattr(logprobs, "token", None)
    if isinstance(token, str) and token.lstrip() == content:
        return token
    return content


def _logprobs(given: Any) -> dict[str, Any] | None:
    """Of one token; the engine has the number of an alternative as its C(token) and the text as its C(bytes)."""
    if given is None:
        return None
    return {
        "token": given.token,
        "logprob": given.logprob,
        "bytes": None if given.bytes is None else list(given.bytes),
        "top_logprobs": [
            {"token": other.token, "logprob": other.logprob, "bytes": other.bytes} for other in given.top_logprobs
        ],
    }


def _tool_calls(given: Any) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "index": call.index,
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": call.function.arguments},
        }
        for call in given or ()
    )


# What the engine calls a fault of the request (mistralrs-core/src/engine/add_request.rs at 9e922623, ValidationError,
# and the recordings chat_n0, chat_json_schema_bad, chat_context_overflow); the wheel says no more than the sentence.
_FAULTS_OF_THE_REQUEST = (
    "Invalid grammar.",
    "Number of choices must be greater than 0.",
    "Prompt sequence length is greater than",
    "Received a",
    "Stop token ",
    "invalid reasoning effort",
    "request.files is set",
)


def _failure(error: BaseException) -> RequestError:
    words = sentence(error)
    return RequestError(422 if words.startswith(_FAULTS_OF_THE_REQUEST) else 500, words)


class GgufModel:
    """One GGUF model in an engine of its own (the wheel loads one model per engine)."""

    def __init__(self, configuration: Configuration, model: ModelConfiguration, scratch: Path) -> None:
        import mistralrs

        folder = Path(model.model_id)
        # A directory that isn't there would be looked up on the Hugging Face Hub.
        if not folder.is_dir():
            raise StartError(f"Model '{model.model_id}': there is no directory {Path.cwd() / folder}.")
        for name in model.files:
            if not (folder / name).is_file():
                raise StartError(
                    f"File `{name}` was not found in local model directory `{model.model_id}` (in {Path.cwd()})."
                )
        template = templates.find(model)
        path = scratch / f"{model.model_id.replace('/', '-')}.jinja"
        path.write_text(templates.with_raw_branch(template), encoding="utf-8")
        self.model_id = model.model_id
        self.chats = template is not None
        self._wheel = mistralrs
        # The wheel's methods borrow the runner; a second thread that calls one meanwhile gets "Already borrowed".
        self._calls = threading.Lock()
        dtypes = mistralrs.ModelDType
        self._runner = mistralrs.Runner(
            mistralrs.Which.GGUF(
                model.model_id,
                list(model.files) if len(model.files) > 1 else model.files[0],
                tok_model_id=model.tok_model_id,
                tokenizer_json=model.tokenizer,
                dtype={"auto": dtypes.Auto, "f16": dtypes.F16, "bf16": dtypes.BF16, "f32": dtypes.F32}[model.dtype],
            ),
            max_seqs=configuration.max_seqs,
            no_kv_cache=configuration.no_kv_cache,
            prefix_cache_n=configuration.prefix_cache_n,
            token_source=configuration.token_source,
            jinja_explicit=str(path),
            seed=configuration.seed,
            no_paged_attn=True,
        )

    def status(self) -> str:
        """As the engine has it."""
        with self._calls:
            states: dict[str, str] = dict(self._runner.list_models_with_status())
        return states.get(self.model_id, "unloaded")

    def _ensure_alive(self, error: BaseException) -> None:
        try:
            with self._calls:
                self._runner.tokenize_text("alive", False, None)
        except BaseException:
            raise EngineDead(str(error)) from error

    def stream(self, request: Generate) -> Iterator[Chunk]:
        """Generates with the wheel; closing the iterator closes the engine's channel, and with it the sequence."""
        raw = request.prompt is not None
        messages = (
            [{"role": templates.RAW_ROLE, "content": request.prompt or ""}]
            if raw
            else [dict(message) for message in request.messages]
        )
        given = dict(request.sampling)
        if "tool_choice" in given:
            choices = self._wheel.ToolChoice
            given["tool_choice"] = choices.NoTools if given["tool_choice"] == "none" else choices.Auto
        asked_for_logprobs = given.pop("logprobs", False)
        begun: set[int] = set()
        try:
            asked = self._wheel.ChatCompletionRequest(
                messages=messages,
                model=self.model_id,
                stream=True,
                logprobs=raw or asked_for_logprobs,
                **given,
            )
            with self._calls:
                chunks = self._runner.send_chat_completion_request(asked)
            for chunk in chunks:
                for number, choice in enumerate(chunk.choices):
                    text = choice.delta.content or ""
                    if raw and choice.index not in begun:
                        text = _first_text(text, choice.logprobs)
                    begun.add(choice.index)
                    yield Chunk(
                        text,
                        choice.delta.reasoning_content or None,
                        choice.finish_reason,
                        # One count for all choices.
                        _usage(chunk.usage) if number == len(chunk.choices) - 1 else None,
                        choice.index,
                        _logprobs(choice.logprobs) if asked_for_logprobs else None,
                        _tool_calls(choice.delta.tool_calls),
                    )
        except (ValueError, TypeError) as error:
            self._ensure_alive(error)
            raise _failure(error) from None
        except GeneratorExit:
            raise
        except BaseException as error:  # a panic in the wheel isn't an Exception
            self._ensure_alive(error)
            raise RequestError(500, sentence(error)) from None


def sentence(error: BaseException) -> str:
    """An engine's error without the stack trace that may follow it."""
    lines = []
    for line in str(error).splitlines():
        if line.strip().lower() in ("stack backtrace:", "stack trace:") or line.strip().startswith("0: "):
            break
        if line.strip():
            lines.append(line.strip())
    return " ".join(lines) or type(error).__name__


def load(configuration: Configuration, scratch: Path) -> dict[str, Model]:
    """All models of a configuration, in its order."""
    # Never the network: what isn't on the disk isn't there.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    models: dict[str, Model] = {}
    for model in configuration.models:
        try:
            models[model.model_id] = GgufModel(configuration, model, scratch)
        except StartError:
            raise
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise StartError(f"Model '{model.model_id}' can't be loaded: {sentence(error)}") from None
    return models
