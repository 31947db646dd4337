# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the driver's packages, its build and new initial RAM disks fit.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable

from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt_output import Simulation
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.existing_folder import existing_folder

BOOT_FULL = Fault(
    "driver.boot_full",
    "/boot has {free} MB of free space, but new initial RAM disks need {needed} MB.",
    "Remove old kernels ('apt-get autoremove --purge') or make the file system larger, and run again.",
)
DISK_FULL = Fault(
    "driver.disk_full",
    "{folder} has {free} MB of free space, but the driver's packages and its build need {needed} MB.",
    "Make room there, and run again.",
)

# What a build of the modules takes in /var/lib/dkms while it runs, in bytes; measured with 535 and 550: 0.4 GB.
_BUILD = 600 * 10**6
# Initial RAM disks of Debian and Ubuntu take 40 to 150 MB; where there is none yet, this much is asked for.
_RAM_DISK = 100 * 10**6
# What stays free of each file system.
_RESERVE = 100 * 10**6


def check_space(boot: tuple[int, int] | None, disks: Iterable[tuple[str, int, int]]) -> None:
    """C(boot) is the free and the needed bytes, None where /boot is not a file system of its own; C(disks) has a folder
    with the same of each other file system. Raises C(driver.boot_full) or C(driver.disk_full)."""
    if boot is not None and boot[0] < boot[1]:
        raise StackError(BOOT_FULL, free=boot[0] // 10**6, needed=boot[1] // 10**6)
    for folder, free, needed in disks:
        if free < needed:
            raise StackError(DISK_FULL, folder=folder, free=free // 10**6, needed=needed // 10**6)


def _free(path: str) -> int:
    """The free bytes of the file system that a path is on."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def check(simulation: Simulation, arguments: list[str]) -> None:
    """Refuse what would fill a disk of this host. Raises C(driver.boot_full) or C(driver.disk_full)."""
    brings_kernel = any(name.startswith("linux-image-") for name in simulation.new)
    boot = None
    if os.path.ismount("/boot"):
        sizes = [os.stat(path).st_size for path in glob.glob("/boot/initrd.img-*")]
        # A new one is written beside the old one, one kernel after the other.
        needed = max(sizes, default=_RAM_DISK) * 11 // 10 + (_RAM_DISK if brings_kernel else 0)
        boot = (_free("/boot"), needed)
    needs = {
        "/usr": simulation.disk,
        "/var/lib/dkms": _BUILD if any("dkms" in argument for argument in arguments) else 0,
        "/var/cache/apt/archives": simulation.download,
    }
    # Folders of one file system share its free space.
    systems: dict[int, tuple[str, int, int]] = {}
    for folder, needed in needs.items():
        existing = existing_folder(folder)
        device = os.stat(existing).st_dev
        name, free, total = systems.get(device, (folder, _free(existing), _RESERVE))
        systems[device] = (name, free, total + needed)
    check_space(boot, list(systems.values()))
