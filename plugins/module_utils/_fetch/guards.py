# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends a transfer early: a connection that brings too little, a disk that is almost full.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import time

from ansible_collections.mistralrs.stack.plugins.module_utils._files.local import reserve


class Pace:
    """Tells when a connection brings too little."""

    def __init__(self, seconds: float, least_bytes: int) -> None:
        self.seconds = seconds
        self.least_bytes = least_bytes
        self.begun = time.monotonic()
        self.count = 0

    def is_too_slow(self, count: int) -> bool:
        """Whether the last C(seconds) brought too little, with these bytes, which have just come."""
        self.count += count
        now = time.monotonic()
        if now - self.begun < self.seconds:
            return False
        slow = self.count < self.least_bytes
        self.begun, self.count = now, 0
        return slow


class Room:
    """Sees to it that a download leaves something free on its disk."""

    def __init__(self, descriptor: int, interval: int) -> None:
        self._descriptor = descriptor
        # So many bytes are written at most before the free space is looked at again.
        self._interval = interval
        self._left = 0

    def spare(self, count: int) -> int:
        """The bytes that stay free, if so many more would take from them; else 0."""
        self._left -= count
        if self._left >= 0:
            return 0
        status = os.fstatvfs(self._descriptor)
        spare = reserve(status)
        free = status.f_bavail * status.f_frsize - spare
        self._left = min(self._interval, free) - count
        return spare if free < count else 0
