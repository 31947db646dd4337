# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages are the driver's, and in which version.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

VERSION_UNAVAILABLE = Fault(
    "driver.version_unavailable",
    "{package} {wanted} is not in the repositories of the host; they have {known}.",
    "Set 'nvidia_driver_version' to one of these, or give the host a repository that has the one you want.",
)

# Packages that belong to the driver; the container toolkit, CUDA and the settings' program do not.
_DRIVER = re.compile(
    r"(lib)?nvidia-|lib(cuda1|cudadebugger1|nvcuvid1|nvoptix1|nvidia\w*)$|libnvidia-|firmware-nvidia-|cuda-drivers"
    r"|lib(nvidia-)?tesla-|xserver-xorg-video-nvidia|lib(egl|gl|gles|glx)-?\w*-?nvidia|linux-(modules|objects)-nvidia"
    r"|glx-alternative-nvidia$"
)
_NOT_DRIVER = re.compile(
    r"(lib)?nvidia-(container|docker|cuda-|fs|settings|vaapi|vdpau|egl-(gbm|wayland|xcb|xlib)|cudnn|nsight|profiler"
    r"|visual-profiler|openjdk|texture-tools|prime|detect)"
)
# Packages around Debian's driver that serve nothing else.
COMPANIONS = ("glx-alternative-mesa", "glx-alternative-nvidia", "glx-diversions", "update-glx")


class Package(NamedTuple):
    """A package as dpkg knows it: C(want) is install, hold, deinstall..., C(status) is installed, half-configured..."""

    name: str
    version: str
    want: str
    status: str

    @property
    def is_driver(self) -> bool:
        """Whether it belongs to the driver."""
        return is_driver(self.name)


def is_driver(name: str) -> bool:
    """Whether a package of this name belongs to the driver."""
    return bool(_DRIVER.match(name)) and not _NOT_DRIVER.match(name)


def matches(version: str, wanted: str, branch: str) -> bool:
    """Whether a package's version is the one that is wanted, or of the branch if none is wanted."""
    bare = version.split(":", 1)[-1]
    if not wanted:
        return bare.startswith(f"{branch}.")
    return bare == wanted or ("-" not in wanted and bare.startswith(f"{wanted}-"))


def choose_version(package: str, known: Sequence[str], wanted: str, branch: str) -> str:
    """The newest version that will do; raises C(driver.version_unavailable)."""
    for version in known:
        if matches(version, wanted, branch):
            return version
    what = wanted or f"of branch {branch}"
    raise StackError(VERSION_UNAVAILABLE, package=package, wanted=what, known=", ".join(known) or "none")


def upstream(version: str) -> str:
    """The driver's version in a package's: 550.163.01 in 550.163.01-2."""
    return version.split(":", 1)[-1].rsplit("-", 1)[0]


def outdated(
    packages: Mapping[str, Package], kernel_packages: Iterable[str], keep: Iterable[str], new: str
) -> list[str]:
    """Installed packages of another driver that would be left behind by the new one.

    Those are its kernel packages, and the packages that have the same upstream version as one of these.
    """
    kept = set(keep)
    kernels = [packages[name] for name in kernel_packages if name in packages and name not in kept]
    old = {upstream(package.version) for package in kernels} - {new}
    return sorted(
        package.name
        for package in packages.values()
        if package.name not in kept and (package in kernels or (package.is_driver and upstream(package.version) in old))
    )
