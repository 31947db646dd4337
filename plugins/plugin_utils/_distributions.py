# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supported distributions and releases: C(_distributions.yml), as the roles read it.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, cast

import yaml


@functools.cache
def table() -> dict[str, dict[str, Any]]:
    """Every row by its name, such as C(Debian-12).

    C(manager) is C(apt) or C(dnf), C(roles) has by the name of each role what it needs to know.
    """
    text = Path(__file__).with_name("_distributions.yml").read_text(encoding="utf-8")
    return cast("dict[str, dict[str, Any]]", yaml.safe_load(text))


def name_of(distribution: str, version: str, major: str) -> str:
    """The name of a host's row, by Ansible's facts; Ubuntu counts by its whole version, others by the major one."""
    return f"{distribution}-{version if distribution == 'Ubuntu' else major}"


def supported(role: str) -> list[str]:
    """The names of the rows that the role supports."""
    return [name for name, row in table().items() if role in row["roles"]]


def row(name: str, role: str) -> dict[str, Any] | None:
    """What the role has to know of the distribution with that name; None if the role does not support it."""
    found = table().get(name, {"roles": {}})["roles"].get(role)
    return None if found is None else dict(found)
