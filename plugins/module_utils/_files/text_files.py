# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small text files: missing ones are empty, written ones are whole.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from ansible_collections.mistralrs.stack.plugins.module_utils._files.atomic import write_atomically


def read(path: str) -> str:
    """The text of a file; empty if there is none. Raises OSError."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def write(path: str, text: str, mode: int = 0o600) -> None:
    """Replace a file, and make its directory, which only its owner may enter if that holds for the file."""
    os.makedirs(os.path.dirname(path), mode=0o700 if mode & 0o077 == 0 else 0o755, exist_ok=True)
    write_atomically(path, text.encode(), mode)


def remove(folder: str, *names: str) -> None:
    """Remove files of a directory, if they are there."""
    for name in names:
        with suppress(FileNotFoundError):
            os.remove(os.path.join(folder, name))


def now() -> str:
    """The time in UTC as the records have it: C(2026-08-22T12:00:00Z)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
