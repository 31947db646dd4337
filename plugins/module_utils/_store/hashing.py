# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hash many files on all cores, and say how far that is.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from ansible_collections.mistralrs.stack.plugins.module_utils._files.local import hash_file
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Report, Wanted


class Counter:
    """Says how much of C(total) bytes has been read, and ends the reading of all threads when it is stopped."""

    def __init__(self, report: Report | None = None, wanted: Sequence[Wanted] = (), total: int = 0) -> None:
        self._report = report
        self._name = wanted[0].name if len(wanted) == 1 else f"{len(wanted)} models"
        self._total = total
        self._done = 0
        self._is_stopped = False
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        if self._is_stopped:
            raise RuntimeError("nobody waits for it any more")
        with self._lock:
            self._done += count
            if self._report:
                self._report(self._name, self._done, self._total, "checking")

    def stop(self) -> None:
        """The next one who reports is stopped."""
        self._is_stopped = True


@contextmanager
def workers(seen: Counter) -> Iterator[ThreadPoolExecutor]:
    """Threads on all cores, which read no further if the one that waits for them is stopped."""
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        try:
            yield pool
        except BaseException:
            seen.stop()
            raise


def hash_files(paths: Iterable[str], seen: Counter | None = None) -> list[str]:
    """The sha256 of each file, on all cores."""
    seen = seen or Counter()
    with workers(seen) as pool:
        return list(pool.map(lambda path: hash_file(path, seen), paths))
