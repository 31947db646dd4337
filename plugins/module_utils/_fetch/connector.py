# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP connections to names with several addresses, some of which may never answer.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import errno
import socket
from itertools import zip_longest
from typing import Any

# What a host without IPv6, or without IPv4, says of every address of that kind; other errors tell more.
_NO_ROUTE = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def _in_turn(found: list[Any]) -> list[Any]:
    """What C(getaddrinfo) found, IPv6 and IPv4 in turn, beginning with the one that comes first there."""
    families: dict[int, list[Any]] = {}
    for each in found:
        families.setdefault(each[0], []).append(each)
    return [each for turn in zip_longest(*families.values()) for each in turn if each is not None]


class Connector:
    """Makes connections, and begins with the address that answered last time.

    Each of several addresses has C(seconds) to answer, and IPv6 and IPv4 take turns: a network that drops one of them
    instead of refusing it costs no more than that, however many addresses a name has.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._answered: dict[tuple[str, int], Any] = {}

    def connect(self, address: tuple[str, int], timeout: float, _source: Any = None) -> socket.socket:
        """A connection to (host, port), with the arguments of C(socket.create_connection).

        C(timeout) is that of what is read and written later. Raises OSError: the error that tells most if all
        addresses fail.
        """
        found = _in_turn(socket.getaddrinfo(*address, 0, socket.SOCK_STREAM))
        found.sort(key=lambda each: each[4] != self._answered.get(address))
        errors: list[OSError] = []
        for family, kind, protocol, _name, where in found:
            seconds = min(self._seconds, timeout) if len(found) > 1 else timeout
            try:
                connected = self._open(family, kind, protocol, where, seconds)
            except OSError as error:
                errors.append(error)
                continue
            self._answered[address] = where
            connected.settimeout(timeout)
            return connected
        raise min(errors, key=lambda error: error.errno in _NO_ROUTE)

    def _open(self, family: int, kind: int, protocol: int, where: Any, seconds: float) -> socket.socket:
        attempt = socket.socket(family, kind, protocol)
        try:
            attempt.settimeout(seconds)
            attempt.connect(where)
        except BaseException:
            attempt.close()
            raise
        return attempt
