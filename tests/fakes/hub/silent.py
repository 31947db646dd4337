# A stand-in: it imitates an address whose network drops what is sent there, so that no connection is made or refused.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that accepts nobody and whose queue is full: Linux drops what else wants to connect (tcp_conn_request)."""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack
from typing import Any


class Silent:
    """An address that does not answer while this is open."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._stack = ExitStack()
        self._server = self._stack.enter_context(socket.socket(self._family))
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server.bind((host, port))
        self._server.listen(0)
        self.address: Any = self._server.getsockname()
        for _number in range(16):
            waiting = self._stack.enter_context(socket.socket(self._family))
            waiting.setblocking(False)
            waiting.connect_ex(self.address)
            if not select.select([], [waiting], [], 0.2)[1]:
                return
        raise AssertionError("everybody can connect to a server that accepts nobody")

    def wake(self) -> None:
        """Have a queue that is long enough, so that who asks again is answered."""
        self._server.listen(64)

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_details: object) -> None:
        self._stack.close()
