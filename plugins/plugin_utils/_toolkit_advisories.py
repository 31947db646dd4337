# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Known ways out of a container in versions of the NVIDIA Container Toolkit.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

Source: NVIDIA's security bulletins on the toolkit, which its release notes list with the versions that fix them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:~rc\.(\d+))?\Z")


class Advisory(NamedTuple):
    """C(fixed) is the first version without it."""

    id: str
    fixed: str
    effect: str


ADVISORIES = (
    Advisory("CVE-2024-0132", "1.16.2", "an image gets access to the host's files"),
    Advisory("CVE-2024-0133", "1.16.2", "an image creates files on the host"),
    Advisory("CVE-2024-0134", "1.17.0", "an image creates files on the host"),
    Advisory("CVE-2024-0135", "1.17.3", "an image changes a host's binary"),
    Advisory("CVE-2024-0136", "1.17.3", "an image gets at the host's devices"),
    Advisory("CVE-2024-0137", "1.17.3", "an image runs code in the host's network"),
    Advisory("CVE-2025-23359", "1.17.4", "an image gets access to the host's files"),
    Advisory("CVE-2025-23266", "1.17.8", "an image runs code as root on the host"),
    Advisory("CVE-2025-23267", "1.17.8", "an image changes files on the host"),
)


def version_key(version: str) -> tuple[int, int, int, int, int]:
    """What a version sorts by; a release candidate comes before its release.

    Raises ValueError for anything but three numbers, with C(~rc.N) behind them or not.
    """
    match = VERSION.match(version)
    if match is None:
        raise ValueError(f"{version!r} is not a version such as 1.20.0")
    major, minor, patch, candidate = match.groups()
    return int(major), int(minor), int(patch), int(candidate is None), int(candidate or 0)


def open_advisories(version: str) -> list[Advisory]:
    """The advisories that apply to C(version), the oldest first. Raises ValueError as L{version_key} does."""
    key = version_key(version)
    return [advisory for advisory in ADVISORIES if key < version_key(advisory.fixed)]


def minimum_version() -> str:
    """The first version to which none of the advisories applies."""
    return max((advisory.fixed for advisory in ADVISORIES), key=version_key)
