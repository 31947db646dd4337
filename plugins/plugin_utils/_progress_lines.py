# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines that show the progress of a job: of a download or a verification, and of a build.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

_GB, _MB = 1e9, 1e6


class ProgressLines(Protocol):
    """Decides which lines are shown."""

    def line(self, progress: Mapping[str, Any], now: float) -> str:
        """The line for the progress at C(now), in seconds; '' if it shows nothing new."""


def duration(seconds: float) -> str:
    """A time for people: C(45 s), C(3 min 20 s), C(2 h 5 min)."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _amounts(done: int, total: int | None) -> str:
    unit, label = (_GB, "GB") if max(done, total or 0) >= 1e9 else (_MB, "MB")
    if total is None:
        return f"{done / unit:.1f} {label}"
    return f"{done / unit:.1f} of {total / unit:.1f} {label}"


class DownloadProgress:
    """Lines of a download or verification: on a terminal each time, else every 10 seconds or 10 percent."""

    def __init__(self, host: str, is_terminal: bool) -> None:
        self._host = host
        self._is_terminal = is_terminal
        self._shown_at = float("-inf")
        self._shown: tuple[object, ...] = ()

    def line(self, progress: Mapping[str, Any], now: float) -> str:
        """The line for the progress at C(now), in seconds; '' if it shows nothing new.

        C(progress) is what the job's reporter writes: C(name), C(done) and C(total) in bytes, C(phase), C(rate) in
        bytes a second, C(eta) in seconds and C(waiting_for).
        """
        name = str(progress.get("name") or "")
        if not name:
            return ""
        done, total = int(progress.get("done") or 0), progress.get("total")
        phase = str(progress.get("phase") or "")
        percent = int(100 * done / total) if total else 0
        holder = str(progress.get("waiting_for") or "")
        step: tuple[object, ...] = (name, phase, holder, percent if self._is_terminal else percent // 10)
        if step == self._shown and now - self._shown_at < 10:
            return ""
        self._shown, self._shown_at = step, now
        if holder:
            return f"{self._host}: {name}, {phase} for {holder}"
        if not done and not total:
            return f"{self._host}: {name}, {phase}"
        share = f" {percent} %" if total else ""
        details = [_amounts(done, total)]
        if progress.get("rate"):
            details.append(f"{int(progress['rate']) / _MB:.0f} MB/s")
        if progress.get("eta") is not None and done != total:
            details.append(f"{duration(float(progress['eta']))} left")
        return f"{self._host}: {name}, {phase}{share} ({', '.join(details)})"


class BuildProgress:
    """Lines of a build: when the phase changes, else on a terminal every 10 seconds, else 60.

    C(notice), which the user should know when a build begins, is a line before the first.
    """

    def __init__(self, host: str, is_terminal: bool, notice: str = "") -> None:
        self._host = host
        self._notice = f"{host}: {notice}\n" if notice else ""
        self._pause = 10.0 if is_terminal else 60.0
        self._shown_at = float("-inf")
        self._phase = ""

    def line(self, progress: Mapping[str, Any], now: float) -> str:
        """The line for the progress at C(now), in seconds; '' if it shows nothing new.

        C(progress) has C(name), C(phase), C(crates), C(crates_total) and C(elapsed), in seconds.
        The total of crates is an upper bound: those that are kept from an earlier build count.
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
