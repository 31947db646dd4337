# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashing in a thread of its own while the next bytes arrive.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import hashlib
import queue
import threading

_BUFFERS = 6


class Hasher:
    """Hashes in a thread of its own while the next bytes arrive."""

    def __init__(self, git_size: int | None, buffer_bytes: int) -> None:
        self.sha256 = hashlib.sha256()
        self.git_sha1 = hashlib.sha1(usedforsecurity=False)
        # A hub names small files by git's digest of them: of a header with the size, and the content.
        self.is_git = git_size is not None
        self.git_sha1.update(b"blob %d\0" % (git_size or 0))
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[memoryview, int] | None] = queue.SimpleQueue()
        for _index in range(_BUFFERS):
            self._free.put(memoryview(bytearray(buffer_bytes)))
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while True:
            item = self._full.get()
            if item is None:
                return
            buffer, count = item
            self.sha256.update(buffer[:count])
            if self.is_git:
                self.git_sha1.update(buffer[:count])
            self._free.put(buffer)

    def buffer(self) -> memoryview:
        """A buffer that is not in use."""
        return self._free.get()

    def put(self, buffer: memoryview, count: int) -> None:
        """Hash the first bytes of a buffer, which is given back by that."""
        self._full.put((buffer, count))

    def finish(self) -> None:
        """Wait until all is hashed."""
        self._full.put(None)
        self._thread.join()
