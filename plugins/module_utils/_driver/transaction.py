# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What apt would do to a host that gets or loses the driver, as the module driver_packages_info returns it.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt import Apt
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.packages import COMPANIONS
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.refusals import check_simulation


class Transaction(NamedTuple):
    """What apt would do; the fields are those of the module's documentation. C(download) is in bytes."""

    needed: bool
    former_packages: list[str]
    held: list[str]
    unheld: list[str] = []
    version: str = ""
    former: str = ""
    arguments: list[str] = []
    new: dict[str, str] = {}
    upgraded: dict[str, str] = {}
    removed: list[str] = []
    download: int = 0
    sources: str = ""
    preferences: str = ""
    notes: list[str] = []


def removal(apt: Apt) -> Transaction:
    """What removing the driver would do. Raises C(driver.packages_in_the_way), C(driver.packages_unmet)."""
    packages = apt.packages(leftovers=True)
    driver = sorted(name for name, package in packages.items() if package.is_driver)
    transaction = Transaction(
        needed=bool(driver),
        former_packages=[f"{name}={packages[name].version}" for name in driver],
        held=[name for name in driver if packages[name].want == "hold"],
    )
    if not driver:
        return transaction
    names = [*driver, *(name for name in COMPANIONS if name in packages and name not in driver)]
    arguments = ["--allow-change-held-packages", "purge", *names]
    simulation = apt.simulate(arguments)
    check_simulation(simulation, [])
    return transaction._replace(arguments=arguments, removed=simulation.removed)
