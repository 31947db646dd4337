# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not be done to a host, and on which hosts nothing can be done.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt_output import Simulation
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.packages import COMPANIONS, Package, is_driver
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

SOURCES_MIXED = Fault(
    "driver.sources_mixed",
    "{packages} of another source than '{source}' are installed, and packages of both never work together.",
    "Run the role with the other 'nvidia_driver_source' and 'nvidia_driver_state: absent' first, "
    "or keep what there is: set 'nvidia_driver_state: existing'.",
)
RUNFILE_INSTALLED = Fault(
    "driver.runfile_installed",
    "A driver from NVIDIA's .run file is installed ({path}), and packages would overwrite parts of it.",
    "Run '{path}' on the host, and run again, or keep that driver: set 'nvidia_driver_state: existing'.",
)
PACKAGES_BROKEN = Fault(
    "driver.packages_broken",
    "dpkg left {packages} half-configured, which blocks apt.",
    "Run 'dpkg --configure -a' on the host and look at what it says; if it fails, 'apt-get purge {packages}'.",
)
DKMS_FAILED = Fault(
    "driver.dkms_failed",
    "DKMS could not build {packages}: {error}, and apt does nothing else until that is removed.",
    "Run 'apt-get purge {packages}' on the host and choose another 'nvidia_driver_version' or 'nvidia_driver_modules'.",
)
KERNEL_WOULD_CHANGE = Fault(
    "driver.kernel_would_change",
    "Installing the driver would also {what} the kernel {packages}, which this role never does.",
    "Upgrade the kernel and reboot first, then run again.",
)
PACKAGES_IN_THE_WAY = Fault(
    "driver.packages_in_the_way",
    "apt would also remove {packages}.",
    "Remove them yourself if you don't need them, and run again.",
)


def check_state(
    packages: Mapping[str, Package], source: str, foreign: Sequence[str], errors: Mapping[str, str]
) -> None:
    """Refuses a host on which another source's driver is, or on which dpkg has not finished.

    C(errors) has the first error of a failed DKMS build for names of its package.
    """
    unfinished = [
        package.name
        for package in packages.values()
        if package.status in ("half-configured", "half-installed", "unpacked")
    ]
    failed = [name for name in unfinished if errors.get(name)]
    if failed:
        raise StackError(DKMS_FAILED, packages=" ".join(failed), error=errors[failed[0]].rstrip("."))
    if unfinished:
        raise StackError(PACKAGES_BROKEN, packages=" ".join(unfinished))
    # A name that ends in a dash stands for all that begin like it.
    beginnings = tuple(name for name in foreign if name.endswith("-"))
    mixed = [name for name in packages if name in foreign or name.startswith(beginnings)]
    if mixed:
        raise StackError(SOURCES_MIXED, packages=", ".join(mixed), source=source)


def check_simulation(simulation: Simulation, kernels: Sequence[str]) -> None:
    """Refuses what touches kernels or removes packages that are not the driver's.

    Where no kernel is installed the headers of some distributions bring one, which harms nothing.
    """
    upgraded = sorted(name for name in simulation.upgraded if name.startswith(("linux-image-", "kernel-core")))
    if upgraded:
        raise StackError(KERNEL_WOULD_CHANGE, what="upgrade", packages=", ".join(upgraded))
    new = sorted(name for name in simulation.new if name.startswith(("linux-image-", "kernel-core")))
    if new and kernels:
        raise StackError(KERNEL_WOULD_CHANGE, what="install", packages=", ".join(new))
    others = [name for name in simulation.removed if not is_driver(name) and name not in COMPANIONS]
    if others:
        raise StackError(PACKAGES_IN_THE_WAY, packages=", ".join(others))
