# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which configuration files of a Debian package somebody has changed.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import hashlib

_DIGITS = 32


def command(package: str) -> list[str]:
    """The command that shows the package's configuration files, each with the MD5 that the package brought it with."""
    return ["dpkg-query", "--show", "--showformat=${Conffiles}\n", package]


def altered(shown: str) -> list[str]:
    """Those that exist and have another content; C(shown) is what the command printed, nothing without the package."""
    found = []
    for words in (line.split() for line in shown.splitlines()):
        # Without a sum the package is not set up yet; a third word says that it no longer has the file.
        if len(words) >= 2 and len(words[1]) == _DIGITS and _md5(words[0]) not in ("", words[1]):
            found.append(words[0])
    return found


def _md5(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
    except OSError:
        return ""
