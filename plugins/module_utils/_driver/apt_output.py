# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsers of what dpkg and apt print.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._driver.packages import Package

_INST = re.compile(r"^Inst (\S+) (?:\[(\S+)\] )?\((\S+) ", re.M)
_REMV = re.compile(r"^(?:Remv|Purg) (\S+)", re.M)
_NEED = re.compile(r"^Need to get (?:[\d.,]+ \w+/)?([\d.,]+) (\w)?B of archives", re.M)
_AFTER = re.compile(r"^After this operation, ([\d.,]+) (\w)?B of additional disk space", re.M)
_UNITS = {None: 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}


class Simulation(NamedTuple):
    """What apt would do: new packages and upgraded ones (name to version), removed ones, bytes to fetch and to keep."""

    new: dict[str, str]
    upgraded: dict[str, str]
    removed: list[str]
    download: int
    disk: int


def parse_packages(text: str, leftovers: bool = False) -> dict[str, Package]:
    """Packages from C(dpkg-query) with the format name, version, want, status, separated by tabs.

    With C(leftovers) those count too that were removed, but have left settings behind.
    """
    gone = ("not-installed",) if leftovers else ("not-installed", "config-files")
    found = {}
    for line in text.splitlines():
        parts = line.split("\t")
        if len(parts) == 4 and parts[3] not in gone:
            found[parts[0]] = Package(*parts)
    return found


def parse_simulation(simulated: str, sizes: str) -> Simulation:
    """From C(apt-get --simulate) and the sizes that C(apt-get --assume-no) prints, both in English."""

    def size(pattern: re.Pattern[str]) -> int:
        match = pattern.search(sizes)
        return int(float(match[1].replace(",", "")) * _UNITS.get(match[2], 1)) if match else 0

    new: dict[str, str] = {}
    upgraded: dict[str, str] = {}
    for name, old, version in _INST.findall(simulated):
        (upgraded if old else new)[name] = version
    return Simulation(new, upgraded, _REMV.findall(simulated), size(_NEED), size(_AFTER))


def complaint(text: str) -> str:
    """The telling lines of what apt printed when it failed, as one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    unmet = [line for line in lines if re.search(r"(Depends|Conflicts|PreDepends|Breaks): ", line)]
    errors = [line[2:].strip() for line in lines if line.startswith("E:")]
    warnings = [line[2:].strip() for line in lines if line.startswith("W:")]
    words = "; ".join((unmet or errors or warnings or lines[-1:] or ["it printed nothing"])[:2])
    return re.sub(r"\s+", " ", words).rstrip(".")


def versions_by_package(madison: str) -> dict[str, list[str]]:
    """The versions of each package in what C(apt-cache madison) prints about several."""
    found: dict[str, list[str]] = {}
    for line in madison.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) >= 3 and parts[1] not in found.setdefault(parts[0], []):
            found[parts[0]].append(parts[1])
    return found


class SourceLine(NamedTuple):
    """One component of one suite in the host's package sources, as C(apt-get indextargets) knows it."""

    uri: str
    suite: str
    component: str
    origin: str
    signed_by: str
    file: str


def parse_sources(text: str) -> list[SourceLine]:
    """From C(apt-get indextargets) with a format of the fields of L{SourceLine} separated by tabs."""
    found = []
    for line in text.splitlines():
        parts = [("" if part.startswith("$(") else part) for part in line.split("\t")]
        if len(parts) == len(SourceLine._fields):
            found.append(SourceLine(*parts))
    return found
