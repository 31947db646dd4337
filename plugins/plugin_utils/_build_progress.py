# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines that say how far the build of an image is.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.plugin_utils._progress import duration


class BuildProgress:
    """Decides when a line is worth printing: when the phase changes, else on a terminal every 10 seconds, else 60.

    What the user should know when a build begins, C(notice), is a line before the first.
    """

    def __init__(self, host: str, is_terminal: bool, notice: str = "") -> None:
        self._host = host
        self._notice = f"{host}: {notice}\n" if notice else ""
        self._pause = 10.0 if is_terminal else 60.0
        self._shown_at = float("-inf")
        self._phase = ""

    def line(self, progress: Mapping[str, Any], now: float) -> str:
        """The line for what the module said (C(name), C(phase), C(crates), C(crates_total), C(elapsed) in seconds).

        C(now) is in seconds. The total of crates is an upper bound: those that are kept from an earlier build count.
        """
        phase = str(progress.get("phase") or "")
        if not phase or (phase == self._phase and now - self._shown_at < self._pause):
            return ""
        self._phase, self._shown_at = phase, now
        total, done = int(progress.get("crates_total") or 0), int(progress.get("crates") or 0)
        crates = f", {done} of up to {total} crates" if total and phase == "compiling" else ""
        notice, self._notice = self._notice, ""
        elapsed = duration(float(progress.get("elapsed") or 0))
        return f"{notice}{self._host}: {progress.get('name')}, {phase}{crates} ({elapsed})"
