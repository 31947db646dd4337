# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs generations: each in a thread of its own, as many at once as the engine has sequences."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable

from mistralrs_evaluation.engine import Chunk, EngineDead, Model
from mistralrs_evaluation.metrics import Metrics
from mistralrs_evaluation.requests import Generate


class Scheduler:
    """The turns of one model."""

    def __init__(self, model: Model, max_seqs: int, metrics: Metrics, on_dead: Callable[[EngineDead], None]) -> None:
        self.model = model
        self._turns = asyncio.Semaphore(max_seqs)
        self._metrics = metrics
        self._on_dead = on_dead

    async def generate(self, request: Generate) -> AsyncIterator[Chunk]:
        """The pieces of an answer. Closing or cancelling this stops the generation at its next token."""
        self._metrics.waiting.inc()
        try:
            await self._turns.acquire()
        finally:
            self._metrics.waiting.dec()
        self._metrics.running.inc()
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue()
        stop = threading.Event()

        def ended(reason: str) -> None:
            # The turn ends with the thread, not with the client: until then the engine is at work.
            self._metrics.running.dec()
            self._metrics.completed.labels(reason).inc()
            self._turns.release()
            pieces.put_nowait(None)

        def work() -> None:
            reason = "canceled"
            stream = self.model.stream(request)
            try:
                for chunk in stream:
                    if chunk.usage is not None:
                        self._metrics.tokens.inc(chunk.usage.prompt_tokens + chunk.usage.completion_tokens)
                    if chunk.finish_reason is not None:
                        reason = chunk.finish_reason
                    if stop.is_set():
                        break
                    loop.call_soon_threadsafe(pieces.put_nowait, chunk)
            except BaseException as error:
                reason = "error"
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(pieces.put_nowait, error)
            finally:
                # Closes the engine's channel; the engine drops the sequence.
                close = getattr(stream, "close", None)
                if close is not None:
                    close()
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(ended, reason)

        threading.Thread(target=work, name="generation", daemon=True).start()
        try:
            while True:
                piece = await pieces.get()
                if piece is None:
                    return
                if isinstance(piece, EngineDead):
                    self._on_dead(piece)
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            stop.set()
