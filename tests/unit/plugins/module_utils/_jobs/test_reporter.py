# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress, its rate and the time that is left."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.reporter import Reporter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_the_average_of_the_last_ten_seconds_and_counts_nothing_that_was_there() -> None:
    written: list[dict[str, Any]] = []
    clock = Clock()
    reporter = Reporter(written.append, clock=clock)
    done = 5000
    reporter.update("m", done, 100000, "download")
    assert (written[-1]["rate"], written[-1]["eta"]) == (0, None)
    for step in range(400):
        clock.now += 0.1
        done += 100 if step < 200 else 10
        reporter.update("m", done, 100000, "download")
    assert 95 <= written[-1]["rate"] <= 105
    assert written[-1]["eta"] == pytest.approx((100000 - written[-1]["done"]) / written[-1]["rate"], abs=1)
    assert len(written) <= 82
    reporter.update("m", 100000, 100000, "download")
    assert (written[-1]["done"], written[-1]["eta"]) == (100000, 0)
    reporter.update("m", 0, 100000, "verify")
    assert (written[-1]["phase"], written[-1]["rate"]) == ("verify", 0)
