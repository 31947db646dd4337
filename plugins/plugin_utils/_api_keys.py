# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's API keys: which are too weak, and the digests by which it recognizes them.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

# What fits into an HTTP header, and is not guessed.
_STRONG = re.compile(r"[!-~]{20,}\n?")


def weak(entries: Iterable[Mapping[str, Any]], made: Mapping[str, str]) -> list[str]:
    """The names of the keys that are too short, have other characters than a header may, or are another one's too.

    C(made) has the keys that were made earlier, by their names; one that is yet to be made is not weak.
    """
    found, seen = [], set()
    for entry in entries:
        name = entry["name"]
        if "key" not in entry and name not in made:
            continue
        key = _given(entry, made)
        if not _STRONG.fullmatch(key) or key.strip() in seen:
            found.append(name)
        seen.add(key.strip())
    return found


def digests(entries: Iterable[Mapping[str, Any]], made: Mapping[str, str]) -> dict[str, str]:
    """The name of each key by its SHA-256. In check mode one that is yet to be made counts as an unknown one."""
    found = {}
    for entry in entries:
        name = entry["name"]
        key = _given(entry, made) if "key" in entry or name in made else f"not made yet: {name}"
        found[hashlib.sha256(key.strip().encode()).hexdigest()] = name
    return found


def _given(entry: Mapping[str, Any], made: Mapping[str, str]) -> str:
    if "key" not in entry:
        return str(made[entry["name"]])
    # A key without a value is none, and not the word None.
    return "" if entry["key"] is None else str(entry["key"])
