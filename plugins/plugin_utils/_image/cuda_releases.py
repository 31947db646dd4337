# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CUDA's releases, the drivers that run them, and the driver of a host.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

Sources: NVIDIA's CUDA release notes 13.1 to 13.3 (the driver that comes with each toolkit, the oldest for each major
version), the tags of C(nvidia/cuda).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

DRIVER_VERSION_INVALID = Fault(
    "image.driver_version_invalid",
    "{driver!r} is not a version of the NVIDIA driver.",
    "Give numbers such as 580.95.05, or '' if there is no driver.",
)
Pair = tuple[int, int]
Triple = tuple[int, int, int]
# CUDA releases that have a base image, and the driver that came with each (Linux), oldest first. NVIDIA skipped 12.7.
TOOLKIT_DRIVERS: Mapping[str, str] = {
    "11.7.0": "515.43.04",
    "11.7.1": "515.48.07",
    "11.8.0": "520.61.05",
    "12.0.0": "525.60.13",
    "12.0.1": "525.85.12",
    "12.1.0": "530.30.02",
    "12.2.0": "535.54.03",
    "12.2.1": "535.86.09",
    "12.2.2": "535.104.05",
    "12.3.0": "545.23.06",
    "12.3.1": "545.23.08",
    "12.4.0": "550.54.14",
    "12.4.1": "550.54.15",
    "12.5.0": "555.42.02",
    "12.5.1": "555.42.06",
    "12.6.0": "560.28.03",
    "12.6.1": "560.35.03",
    "12.6.2": "560.35.03",
    "12.6.3": "560.35.05",
    "12.8.0": "570.26",
    "12.8.1": "570.124.06",
    "12.9.0": "575.51.03",
    "12.9.1": "575.57.08",
    "13.0.0": "580.65.06",
    "13.0.1": "580.82.07",
    "13.0.2": "580.95.05",
    "13.1.0": "590.44.01",
    "13.1.1": "590.48.01",
    "13.2.0": "595.45.04",
    "13.2.1": "595.58.03",
    "13.3.0": "610.43.02",
    "13.3.1": "610.43.02",
}
# The oldest driver on which programs of a CUDA major version start at all.
MAJOR_DRIVERS: Mapping[int, str] = {11: "450.80.02", 12: "525.60.13", 13: "580"}


class Release(NamedTuple):
    """One row of TOOLKIT_DRIVERS."""

    name: str
    number: Triple
    driver: tuple[int, ...]


def numbers(text: str) -> tuple[int, ...]:
    """The numbers of a version: C(12.8.1) is C((12, 8, 1))."""
    return tuple(int(part) for part in text.split("."))


def pair(text: str) -> Pair:
    """A version of two numbers: C(12.8) is C((12, 8))."""
    major, minor = text.split(".")
    return int(major), int(minor)


def dotted(numbers: Iterable[int]) -> str:
    """Numbers as a version: C((12, 8)) is C(12.8)."""
    return ".".join(str(number) for number in numbers)


def _releases() -> tuple[Release, ...]:
    rows = []
    for name, driver in TOOLKIT_DRIVERS.items():
        major, minor, patch = numbers(name)
        rows.append(Release(name, (major, minor, patch), numbers(driver)))
    return tuple(rows)


RELEASES = _releases()
_DRIVER = re.compile(r"\d{1,5}(\.\d{1,5}){0,3}\Z", re.ASCII)
CUDA_VERSION = re.compile(r"\d{1,3}\.\d{1,3}(\.\d{1,3})?\Z", re.ASCII)


class Driver(NamedTuple):
    """A driver: its version as text and numbers (none if there is no driver), and the CUDA that nvidia-smi reports."""

    text: str = ""
    numbers: tuple[int, ...] = ()
    cuda: Pair | None = None

    def runs(self, release: Release) -> bool:
        """Whether it runs all that this CUDA compiles.

        What is reported decides about the minor version, since it is right also for drivers that the table doesn't know
        and where a compatibility package is installed; the table decides about the update.
        """
        if not self.numbers:
            return True
        if self.cuda is None or release.number[:2] == self.cuda:
            return self.numbers >= release.driver or (self.cuda is not None and release.number[2] == 0)
        return release.number[:2] < self.cuda


def driver_of(driver: str, driver_cuda: str = "") -> Driver:
    """A driver by its version; C(driver_cuda) other than a version ("N/A") counts as nothing.

    Raises StackError C(image.driver_version_invalid).
    """
    if not driver:
        return Driver()
    if not _DRIVER.match(driver):
        raise StackError(DRIVER_VERSION_INVALID, driver=driver)
    reported = numbers(driver_cuda) if CUDA_VERSION.match(driver_cuda) else ()
    return Driver(driver, numbers(driver), (reported[0], reported[1]) if reported else None)


def newest_cuda(driver: Driver) -> str:
    """The newest CUDA, as C(12.4), that the driver runs in full; empty if there is none, or none is known."""
    runs = [release.number for release in RELEASES if driver.numbers and driver.runs(release)]
    return dotted(runs[-1][:2]) if runs else ""


def oldest(versions: Any) -> str:
    """The oldest of several versions; of a single one itself. Empty ones (no driver) and null don't count.

    What is not a version counts as the oldest, so that it is found out.
    """
    if isinstance(versions, Iterable) and not isinstance(versions, str):
        given = [str(one) for one in versions if one]
        return min(given, key=lambda one: numbers(one) if _DRIVER.match(one) else (), default="")
    return str(versions or "")
