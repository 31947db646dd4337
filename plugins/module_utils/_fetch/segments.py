# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file over several connections: segments arrive side by side and are put one behind the other.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import errno
import os
import threading
import time

from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.answer import Answer
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.ranges import CONTENT_RANGE, is_of
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.resumable_transfer import Transfer
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.transport import TransportError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.local import write_all


class NoRanges(Exception):
    """The server does not give out parts of this file, or not now."""


class Segment(threading.Thread):
    """Fetches a part of the file that is further on, into a file without a name."""

    def __init__(self, transfer: Transfer, stopped: threading.Event, start: int, end: int) -> None:
        super().__init__(daemon=True)
        self.transfer = transfer
        self.stopped = stopped
        self.position = self.begin = start
        self.end = end
        self.problem: BaseException | None = None
        self.descriptor = -1

    def run(self) -> None:
        """Fetch it; what goes wrong is in C(problem)."""
        try:
            folder = os.path.dirname(self.transfer.part.path)
            try:
                self.descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except OSError as error:
                # Network file systems have no files without a name.
                if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                    raise NoRanges from None
                raise
            attempt, settings = 0, self.transfer.client.settings
            while self.position < self.end and not self.stopped.is_set():
                before = self.position
                try:
                    self._request()
                except TransportError as error:
                    attempt = 1 if self.position - before >= settings.limits.least else attempt + 1
                    if attempt > settings.retries:
                        raise error.fault from None
                    self.transfer.client.back_off(attempt - 1)
        except BaseException as problem:  # noqa: BLE001 - fetch() raises it again
            self.problem = problem
        if self.stopped.is_set():
            self.close()

    def close(self) -> None:
        """Give the file back."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _request(self) -> None:
        transfer = self.transfer
        headers = {"Range": f"bytes={self.position}-{self.end - 1}"}
        if transfer.etag:
            headers["If-Range"] = transfer.etag
        with transfer.client.attempt("GET", transfer.remote.url, headers) as answer:
            match = CONTENT_RANGE.match(answer.headers.get("Content-Range") or "")
            encoding = (answer.headers.get("Content-Encoding") or "identity").lower()
            whole = match is not None and match[3] in ("*", str(transfer.total)) and match[1] == str(self.position)
            if answer.status != 206 or encoding != "identity" or not whole or not is_of(answer.headers, transfer.etag):
                raise NoRanges
            self._take(answer)

    def _take(self, answer: Answer) -> None:
        transfer, settings = self.transfer, self.transfer.client.settings
        limit = settings.rate_limit // settings.connections
        buffer = memoryview(bytearray(1 << 18))
        begun, first, pace = time.monotonic(), self.position, transfer.new_pace()
        room = transfer.new_room(self.descriptor)
        while self.position < self.end and not self.stopped.is_set():
            count, problem = transfer.fill(answer, buffer, min(len(buffer), self.end - self.position), self.position)
            transfer.check_room(room, count, self.position)
            write_all(self.descriptor, buffer[:count])
            self.position += count
            if problem is not None:
                raise TransportError(problem)
            if not count:
                raise TransportError(transfer.interrupted(self.position))
            if pace.is_too_slow(count):
                raise TransportError(transfer.stalled(self.position))
            if limit:
                transfer.client.sleep(max(0.0, (self.position - first) / limit - (time.monotonic() - begun)))


def _append(transfer: Transfer, segment: Segment) -> None:
    """Put a complete segment behind what is there."""
    done, size = 0, segment.end - segment.begin
    while done < size:
        buffer = transfer.hasher.buffer()
        count = os.preadv(segment.descriptor, [buffer[: size - done]], done)
        transfer.put(buffer, count)
        done += count
    segment.close()


def fetch(transfer: Transfer) -> None:
    """Fetch several segments at once, and put them one behind the other; what is on the disk is always a beginning.

    Raises NoRanges if the server does not give out parts.
    """
    settings, total = transfer.client.settings, transfer.total or 0
    segments: list[Segment] = []
    stopped = threading.Event()
    asked = transfer.part.offset
    try:
        while transfer.part.offset < total:
            while asked < total and len(segments) < settings.connections:
                segments.append(Segment(transfer, stopped, asked, min(total, asked + settings.limits.segment)))
                transfer.requests += 1
                asked = segments[-1].end
                segments[-1].start()
            first = segments[0]
            while first.is_alive():
                first.join(0.5)
                arrived = sum(segment.position - segment.begin for segment in segments)
                transfer.report(transfer.part.offset + arrived, total, "downloading")
            if first.problem is not None:
                raise first.problem
            _append(transfer, segments.pop(0))
    finally:
        stopped.set()
        for segment in segments:
            if not segment.is_alive():
                segment.close()
