# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway has counted: one file a day, in which each line says how much a key has used of a model.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

MONTH = Fault(
    "gateway.month_invalid",
    "{value!r} is not a month.",
    "Give year and month, 2026-11 for example.",
)
BROKEN = Fault(
    "gateway.usage_damaged",
    "Line {number} of {path} is not one that the gateway has written.",
    "Put the file back as it was, or move it away: its day is then missing.",
)

COUNTS = ("requests", "tokens_in", "tokens_out", "tokens_in_estimated")
HEADER = "\t".join(("key", "model", *COUNTS))
_LINE = re.compile(r"([^\s]+)\t([^\t]+)\t([0-9]+)\t([0-9]+)\t([0-9]+)\t([0-9]+)")


def of_month(folder: str, month: str) -> list[dict[str, Any]]:
    """The lines of all days of a month (UTC), each with its C(day), C(key), C(model) and counts.

    Raises StackError C(gateway.month_invalid), C(gateway.usage_damaged); OSError if a file cannot be read.
    """
    if not re.fullmatch("[0-9]{4}-(0[1-9]|1[0-2])", month):
        raise StackError(MONTH, value=month)
    found: list[dict[str, Any]] = []
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for name in names:
        match = re.fullmatch(rf"usage-({month}-[0-9]{{2}})\.tsv", name)
        if match:
            found += _lines(os.path.join(folder, name), match.group(1))
    return found


def _lines(path: str, day: str) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file.read().splitlines(), 1):
            if number == 1 and line == HEADER:
                continue
            match = _LINE.fullmatch(line)
            if not match:
                raise StackError(BROKEN, number=number, path=path)
            counts = dict(zip(COUNTS, map(int, match.groups()[2:])))
            yield {"day": day, "key": match.group(1), "model": match.group(2), **counts}
