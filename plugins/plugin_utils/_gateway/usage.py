# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much each API key has used, of all gateways together: as a table to read, and as CSV.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

COUNTS = ("requests", "tokens_in", "tokens_out", "tokens_in_estimated")
TOTAL = "all"


def sums(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each key and model, in the order of their names, with the counts of all days and gateways."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for row in rows:
        counts = found.setdefault((str(row["key"]), str(row["model"])), dict.fromkeys(COUNTS, 0))
        for name in COUNTS:
            counts[name] += int(row[name])
    return [{"key": key, "model": model, **found[key, model]} for key, model in sorted(found)]


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows of L{sums} with a line that names the columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["key", "model", *COUNTS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows of L{sums} as lines for a terminal, the sum of all last."""
    total: dict[str, Any] = {"key": TOTAL, "model": "", **{name: sum(row[name] for row in rows) for name in COUNTS}}
    columns = ["key", "model", *COUNTS]
    cells = [columns] + [[_shown(row[name]) for name in columns] for row in [*rows, total]]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    return [
        "  ".join(
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in cells
    ]


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
