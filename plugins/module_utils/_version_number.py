# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a version of mistral.rs is written, read and compared; every part of the collection uses this one parser.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

A release is three numbers, C(0.9.2) or C(v0.9.2). C(0.9.2+7) is the seventh commit after the release 0.9.2, for a fix
that no release has yet: such a program still calls itself 0.9.2.
"""

from __future__ import annotations

import re

# Three numbers; four for a commit after a release. So they compare as one expects: 0.9.2 < 0.9.2+7 < 0.9.3.
Number = tuple[int, ...]

PATTERN = r"v?[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(\+[0-9]{1,4})?\Z"
_PARTS = re.compile(r"v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:\+(\d{1,4}))?\Z", re.ASCII)


def parse(text: str) -> Number | None:
    """The numbers of a version; none if the text is not a version. C(+0) is the release itself."""
    match = _PARTS.match(text)
    if not match:
        return None
    major, minor, patch, after = (int(part or 0) for part in match.groups())
    return (major, minor, patch, after) if after else (major, minor, patch)


def text_of(number: Number) -> str:
    """The version as this collection writes it, without C(v)."""
    release = ".".join(str(part) for part in number[:3])
    return f"{release}+{number[3]}" if len(number) > 3 else release


def tag_of(version: str) -> str:
    """The version as a part of an image's tag, where C(+) is not allowed: C(0.9.2-7)."""
    return version.replace("+", "-")
