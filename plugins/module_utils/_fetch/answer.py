# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The answer to an HTTP request, and its body.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import http.client
import time

# So long an answer may take that is not a file, in seconds.
ANSWER_SECONDS = 300


def read_body(response: http.client.HTTPResponse, limit: int) -> bytes:
    """The body of an answer, up to C(limit) bytes, that says something about files and so is short.

    Raises OSError if it does not come to an end in time: a byte now and then is not a silence.
    """
    until = time.monotonic() + ANSWER_SECONDS
    content = bytearray()
    try:
        while len(content) < limit and (data := response.read1(min(1 << 16, limit - len(content)))):
            content += data
            if time.monotonic() > until:
                raise OSError(f"it has sent {len(content)} bytes in {ANSWER_SECONDS} s, and they are not all")
    except http.client.IncompleteRead as error:
        content += error.partial
    return bytes(content)


class Answer:
    """The answer to a request; its body is read by the caller."""

    def __init__(self, response: http.client.HTTPResponse, url: str) -> None:
        self.status = response.status
        self.headers = response.headers
        self.url = url
        # Whether a body in chunks ended before its last one.
        self.is_cut = False
        self._response = response

    def readinto(self, buffer: memoryview) -> int:
        """Read what is there of the next bytes into a buffer; 0 at the end."""
        response = self._response
        if response.isclosed():
            return 0
        if response.chunked:
            try:
                # All of the buffer would be waited for.
                return int(response.readinto(buffer[: 1 << 16]))
            except http.client.IncompleteRead as error:
                # What came before the cut is in the buffer.
                self.is_cut = True
                return len(error.partial)
        wanted = len(buffer) if response.length is None else min(len(buffer), response.length)
        count = int(response.fp.readinto1(buffer[:wanted])) if wanted else 0
        if response.length is not None:
            response.length -= count
        return count

    def read(self, limit: int) -> bytes:
        """The body, up to C(limit) bytes. Raises OSError if it does not come to an end in time."""
        return read_body(self._response, limit)

    @property
    def length(self) -> int | None:
        """The size that the answer promises, in bytes."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
