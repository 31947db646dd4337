# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a running service has read the files that lie there.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import calendar
import os
import time
from typing import NamedTuple

# What parse() needs; systemd knows such time stamps since its version 248.
SHOW = ["show", "--timestamp=us+utc", "--property=ActiveState,ExecMainStartTimestamp,InvocationID"]


class Running(NamedTuple):
    """A service that runs: since when, and the name that systemd gave to this run of it."""

    since: float
    run: str


def parse(shown: str) -> Running | None:
    """What C(systemctl show) said; None for a service that does not run."""
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if values.get("ActiveState") not in ("active", "reloading"):
        return None
    return Running(_seconds(values.get("ExecMainStartTimestamp", "")), values.get("InvocationID", ""))


def _seconds(text: str) -> float:
    """The seconds since 1970 of C(Fri 2026-11-27 05:06:42.123456 UTC); 0 for a text that is none."""
    try:
        _weekday, date, clock, _zone = text.split()
        whole, _dot, fraction = clock.partition(".")
        return calendar.timegm(time.strptime(f"{date} {whole}", "%Y-%m-%d %H:%M:%S")) + float(f"0.{fraction or 0}")
    except ValueError:
        return 0.0


def is_read(path: str, service: Running, record: str = "", digest: str = "") -> bool:
    """Whether the service read the file as it is: when it started, or later, as the record of a reload says."""
    try:
        written = os.stat(path).st_mtime
    except FileNotFoundError:
        return True
    return written <= service.since or (bool(record) and record.split() == [service.run, digest])
