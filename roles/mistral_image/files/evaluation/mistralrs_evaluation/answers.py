# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents and events of an answer; pure.

Shapes: the recordings chat, chat_n2, chat_logprobs, chat_stream, chat_tools_named, completions, completions_stream and
completions_echo_suffix of 0.9.2+7.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable
from typing import Any

from mistralrs_evaluation import LABEL
from mistralrs_evaluation.engine import Chunk
from mistralrs_evaluation.fields import RequestError
from mistralrs_evaluation.requests import Generate


def sse(document: Any) -> bytes:
    """One server-sent event."""
    text = document if isinstance(document, str) else json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode("utf-8") + b"\n\n"


class Answer:
    """How one request is answered."""

    def __init__(self, request: Generate, model_id: str, chat: bool) -> None:
        self._request = request
        self._chat = chat
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model_id,
            "system_fingerprint": LABEL,
        }

    def whole(self, chunks: Iterable[Chunk]) -> dict[str, Any]:
        """The document of a complete answer; an error if a tool had to be called and was not."""
        chunks = list(chunks)
        missed = self._request.must_call and not any(chunk.tool_calls for chunk in chunks)
        choices: dict[int, list[Chunk]] = {}
        for chunk in chunks:
            choices.setdefault(chunk.index, []).append(chunk)
        usage = next((chunk.usage for chunk in reversed(chunks) if chunk.usage is not None), None)
        document = {
            **self._head,
            "object": "chat.completion" if self._chat else "text_completion",
            "choices": [self._choice(index, choices[index], missed) for index in sorted(choices)],
            "usage": None if usage is None else usage.document(),
        }
        if self._request.session_id is not None:
            document["session_id"] = self._request.session_id
        if missed:
            raise RequestError(500, "Tool choice was required but no tools were called.", partial=document)
        return document

    def _choice(self, index: int, chunks: list[Chunk], missed: bool) -> dict[str, Any]:
        text = "".join(chunk.text for chunk in chunks)
        logprobs = [chunk.logprobs for chunk in chunks if chunk.logprobs is not None]
        choice: dict[str, Any] = {
            "finish_reason": "error" if missed else chunks[-1].finish_reason,
            "index": index,
            "logprobs": {"content": logprobs} if logprobs else None,
        }
        if not self._chat:
            choice["text"] = (self._request.prompt or "" if self._request.echo else "") + text + self._request.suffix
            return choice
        calls = [call for chunk in chunks for call in chunk.tool_calls]
        choice["message"] = {"content": text, "role": "assistant", "tool_calls": calls or None}
        reasoning = "".join(chunk.reasoning or "" for chunk in chunks)
        if reasoning:
            choice["message"]["reasoning_content"] = reasoning
        return choice

    def event(self, chunk: Chunk, first: bool) -> bytes:
        """The event of one piece."""
        choice: dict[str, Any] = {
            "finish_reason": chunk.finish_reason,
            "index": chunk.index,
            "logprobs": chunk.logprobs,
        }
        document = {**self._head, "choices": [choice]}
        if self._chat:
            document["object"] = "chat.completion.chunk"
            choice["delta"] = {"content": chunk.text, "role": "assistant", "tool_calls": chunk.tool_calls or None}
            if chunk.reasoning:
                choice["delta"]["reasoning_content"] = chunk.reasoning
            # As the engine has it: the last chunk of a chat carries the usage, a completion's none.
            document["usage"] = None if chunk.usage is None else chunk.usage.document()
            if chunk.usage is not None and self._request.session_id is not None:
                document["session_id"] = self._request.session_id
        else:
            document["object"] = "text_completion"
            echo = first and self._request.echo
            choice["text"] = (self._request.prompt or "" if echo else "") + chunk.text
        return sse(document)
