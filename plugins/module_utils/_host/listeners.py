# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on an address that a service is to have.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re

_EVERY_ADDRESS = re.compile(r"(\*|0\.0\.0\.0|\[::\]):")
_NUMBERS = re.compile(r"[0-9a-f\[]")
# A socket that is bound to an interface, as 127.0.0.53%lo:53.
_INTERFACE = re.compile(r"%[^\]:]*")
_PROCESS = re.compile(r'users:\(\("([^"]*)",pid=([0-9]*)')
# The kernel keeps as many characters of a program's name.
_NAME_LENGTH = 15


def command(address: str) -> list[str]:
    """The command that shows who listens on the port of C(address), as C(127.0.0.1:9100) or C(:9100)."""
    return ["ss", "-Hltnp", f"sport = :{address.rpartition(':')[2]}"]


def others(shown: str, address: str, own: str) -> list[str]:
    """Who but the program C(own) listens on C(address) or on all addresses, as C(nginx (process 42)).

    C(shown) is what the command printed. An address without a host, or with a name, counts as all.
    """
    wants_every = not _NUMBERS.match(address) or bool(_EVERY_ADDRESS.match(address))
    found = set()
    for words in (line.split(None, 5) for line in shown.splitlines()):
        if len(words) < 4:
            continue
        local = _INTERFACE.sub("", words[3])
        if not (wants_every or local == address or _EVERY_ADDRESS.match(local)):
            continue
        users = words[5] if len(words) > 5 else ""
        if f'(("{own[:_NAME_LENGTH]}"' in users:
            continue
        process = _PROCESS.match(users)
        found.add(f"{process[1]} (process {process[2]})" if process else users or "another program")
    return sorted(found)
