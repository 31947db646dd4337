# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP connections to names with several addresses, some of which may never answer (Happy Eyeballs, RFC 8305), and
short answers over them.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

A network that drops IPv6 instead of refusing it would otherwise cost the whole time-out, for each connection anew.
"""

from __future__ import annotations

import errno
import http.client
import os
import selectors
import socket
import time
from itertools import zip_longest
from typing import Any

# So long an address is tried alone before the next one is tried beside it, in seconds (RFC 8305, section 8).
STAGGER = 0.25
# So long an answer may take that is no file, in seconds.
ANSWER_SECONDS = 300
# What a host without IPv6, or without IPv4, says of every address of that kind; other errors tell more.
_NO_ROUTE = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def read_body(response: http.client.HTTPResponse, limit: int) -> bytes:
    """The body of an answer, up to C(limit) bytes, that says something about files and so is short.

    Raises OSError if it does not come to an end in time: a byte now and then is no silence.
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


def in_turn(found: list[Any]) -> list[Any]:
    """What C(getaddrinfo) found, in its order of preference but with the families in turn (RFC 8305, section 4)."""
    first = [each for each in found if each[0] == found[0][0]]
    others = [each for each in found if each[0] != found[0][0]]
    return [each for pair in zip_longest(first, others) for each in pair if each is not None]


class Connector:
    """Makes connections, and begins with the address that answered last time."""

    def __init__(self) -> None:
        self._answered: dict[tuple[str, int], Any] = {}

    def connect(self, address: tuple[str, int], timeout: float, _source: Any = None) -> socket.socket:
        """A connection to (host, port), with the arguments of C(socket.create_connection).

        Each address has C(timeout) seconds to answer. Raises OSError: the error that tells most if all of them fail.
        """
        found = in_turn(socket.getaddrinfo(*address, 0, socket.SOCK_STREAM))
        found.sort(key=lambda each: each[4] != self._answered.get(address))
        attempts = _Attempts(found, timeout)
        try:
            connected = attempts.first()
        finally:
            attempts.close()
        self._answered[address] = attempts.answered
        return connected


class _Attempts:
    """Attempts at several addresses, each begun a little after the one before it."""

    def __init__(self, addresses: list[Any], timeout: float) -> None:
        self._addresses = addresses
        self._timeout = timeout
        self._selector = selectors.DefaultSelector()
        # Each with its address, and when it is given up.
        self._running: dict[socket.socket, tuple[Any, float]] = {}
        self.answered: Any = None
        self._next = 0.0
        self._errors: list[OSError] = []

    def first(self) -> socket.socket:
        """The first that is answered."""
        while self._addresses or self._running:
            now = time.monotonic()
            if self._addresses and now >= self._next:
                self._begin(self._addresses.pop(0), now)
                continue
            until = min(end for _where, end in self._running.values())
            if self._addresses:
                until = min(until, self._next)
            for key, _events in self._selector.select(max(0.0, until - now)):
                connected = self._ended(key.fileobj)
                if connected is not None:
                    return connected
            for attempt in [each for each, (_where, end) in self._running.items() if end <= time.monotonic()]:
                self._failed(attempt, socket.timeout("timed out"))
        raise min(self._errors, key=lambda error: error.errno in _NO_ROUTE)

    def _begin(self, address: Any, now: float) -> None:
        family, kind, protocol, _name, where = address
        try:
            attempt = socket.socket(family, kind, protocol)
        except OSError as error:
            self._errors.append(error)
            return
        self._running[attempt] = (where, now + self._timeout)
        self._selector.register(attempt, selectors.EVENT_WRITE)
        self._next = now + STAGGER
        attempt.setblocking(False)
        try:
            attempt.connect(where)
        except BlockingIOError:
            pass
        except OSError as error:
            self._failed(attempt, error)

    def _ended(self, attempt: Any) -> socket.socket | None:
        """What became of an attempt: a connection, or None."""
        code = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._failed(attempt, OSError(code, os.strerror(code)))
            return None
        self.answered, _end = self._running[attempt]
        self._forget(attempt)
        attempt.settimeout(self._timeout)
        return attempt  # type: ignore[no-any-return]

    def _failed(self, attempt: socket.socket, error: OSError) -> None:
        """Note why, and have the next address tried at once."""
        self._forget(attempt)
        attempt.close()
        self._errors.append(error)
        self._next = 0.0

    def _forget(self, attempt: socket.socket) -> None:
        del self._running[attempt]
        self._selector.unregister(attempt)

    def close(self) -> None:
        """Give up what has not ended."""
        for attempt in list(self._running):
            self._forget(attempt)
            attempt.close()
        self._selector.close()
