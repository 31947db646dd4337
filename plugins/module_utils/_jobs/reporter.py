# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The progress of a job: how much is done, how fast, and how long it will take.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Callable

# How often progress is written, and over which time the rate is taken, in seconds.
_INTERVAL = 0.5
_WINDOW = 10.0


class Reporter:
    """How the work says how far it is; may be called often and from any thread."""

    def __init__(
        self,
        write: Callable[[dict[str, Any]], None],
        log: Callable[[str], None] = lambda _text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self.log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, int]] = deque()
        self._key: tuple[str, str, str] = ("", "", "")
        self._written = -_INTERVAL
        self._complete = False

    def update(self, name: str, done: int, total: int | None = None, phase: str = "", waiting_for: str = "") -> None:
        """C(done) of C(total) bytes of C(name) are there; C(waiting_for) says what holds the work up."""
        now = self._clock()
        with self._lock:
            key = (name, phase, waiting_for)
            if key[:2] != self._key[:2] or (self._samples and done < self._samples[-1][1]):
                self._samples.clear()
                self._complete = False
            complete = total is not None and done >= total and not self._complete
            due = now - self._written >= _INTERVAL or key != self._key or complete
            if not self._samples or due:
                self._samples.append((now, done))
                # The oldest sample is the youngest that is at least a window old.
                while len(self._samples) > 2 and now - self._samples[1][0] >= _WINDOW:
                    self._samples.popleft()
            if not due:
                return
            self._key = key
            self._written = now
            self._complete = self._complete or complete
            self._write(self._progress(now, name, done, total, phase, waiting_for))

    def _progress(
        self, now: float, name: str, done: int, total: int | None, phase: str, waiting_for: str
    ) -> dict[str, Any]:
        start, before = self._samples[0]
        rate = (done - before) / (now - start) if now - start >= _INTERVAL else 0.0
        eta = None
        if total is not None and done >= total:
            eta = 0
        elif total is not None and rate >= 1:
            eta = round((total - done) / rate)
        return {
            "name": name,
            "done": done,
            "total": total,
            "rate": round(rate),
            "eta": eta,
            "phase": phase,
            "waiting_for": waiting_for,
        }
