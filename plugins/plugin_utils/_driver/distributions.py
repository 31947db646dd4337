# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How NVIDIA's driver is installed on each distribution of _distributions.yml: sources, branches, packages.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

The rows of Debian's own packages are proven by the scenario C(nvidia_driver_matrix), which installs and builds them.
The others follow NVIDIA's driver installation guide (compute-only and version-locking pages), Ubuntu's package pages
and the role of NVIDIA; their recorded names are in C(tests/recordings/repositories), and nothing was installed from
them. Which of the names no source was found for is said in C(docs/nvidia.md).
"""

from __future__ import annotations

from typing import NamedTuple

DISTRIBUTION = "distribution"
NVIDIA = "nvidia"


class Flavour(NamedTuple):
    """Open or proprietary kernel modules of a branch.

    C(kernel) is the package that brings the module, C(packages) what else is asked for, C(module) the module's name
    without C(.ko). C(problem), if not empty, says why it can't be used today.
    """

    kernel: str
    packages: tuple[str, ...]
    module: str
    problem: str = ""


class Branch(NamedTuple):
    """One branch, as V(550), of a source; a flavour that it doesn't have is None."""

    name: str
    open: Flavour | None
    proprietary: Flavour | None
    fabric_manager: str = ""
    pinning: str = ""


class Source(NamedTuple):
    """Where packages come from: branches (the default first), C(legacy) for GPUs before Turing.

    C(components) are those of the distribution's archive that hold the driver, C(folder) is the distribution's folder
    in NVIDIA's repository. C(own) are names of packages that only this source has, by which a mixture is recognized.
    C(override) tells that the persistence daemon's unit starts it without persistence.
    """

    branches: tuple[Branch, ...]
    legacy: str
    own: tuple[str, ...]
    components: tuple[str, ...] = ()
    folder: str = ""
    override: bool = False


class Distribution(NamedTuple):
    """C(headers) and C(meta) name the packages of the headers, with C({release}) and C({arch})."""

    headers: str
    meta: str
    sources: dict[str, Source]


# The GPU generations in their order: the first and the last branch that runs them (0: no end is known).
# Sources: NVIDIA's guide ("Proprietary Kernel Modules Removed", supported GPUs), GPU Operator's platform table.
GENERATION_BRANCHES = {
    "Maxwell": (0, 580),
    "Pascal": (0, 580),
    "Volta": (0, 580),
    "Turing": (0, 0),
    "Ampere": (450, 0),
    "Ada": (525, 0),
    "Hopper": (525, 0),
    "Grace Hopper": (535, 0),
    "Blackwell": (570, 0),
}
# From this branch on the maker recommends the open modules where a GPU takes both.
OPEN_RECOMMENDED = 560

_NVIDIA_OWN = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-open", "cuda-drivers", "nvidia-driver-pinning-")
# Names that both sources use, as nvidia-kernel-dkms and libcuda1, tell nothing.
_DEBIAN_OWN = ("nvidia-open-kernel-dkms", "nvidia-smi", "nvidia-tesla-")
_UBUNTU_BRANCHES = ("580", "590", "570", "550", "535")
_UBUNTU_OWN = tuple(
    f"{name}-{branch}-server" for branch in _UBUNTU_BRANCHES for name in ("nvidia-utils", "nvidia-dkms")
)
_DEBIAN_COMPONENTS = ("contrib", "non-free", "non-free-firmware")
_DEBIAN_LIBRARIES = ("nvidia-smi", "libcuda1", "libnvidia-ptxjitcompiler1", "nvidia-persistenced")
_TESLA_535_LIBRARIES = (
    "nvidia-tesla-535-smi",
    "libnvidia-tesla-535-cuda1",
    "libnvidia-tesla-535-ptxjitcompiler1",
    "libnvidia-tesla-535-cfg1",
    "nvidia-persistenced",
)


def _nvidia_debian(branch: str) -> Branch:
    number = int(branch)
    return Branch(
        branch,
        Flavour("nvidia-kernel-open-dkms", ("nvidia-driver-cuda", "nvidia-persistenced"), "nvidia"),
        Flavour("nvidia-kernel-dkms", ("nvidia-driver-cuda", "nvidia-persistenced"), "nvidia")
        if number < 620
        else None,
        fabric_manager=f"nvidia-fabricmanager-{branch}" if number < 590 else "nvidia-fabricmanager",
        pinning=f"nvidia-driver-pinning-{branch}",
    )


def _nvidia_ubuntu(branch: str) -> Branch:
    # From 590 on the names have no branch in them (NVIDIA's guide, "Ubuntu 590 and later packages").
    number = int(branch)
    tail = f"-{branch}" if number < 590 else ""
    libraries = (f"libnvidia-compute{tail}", f"nvidia-utils{tail}", f"nvidia-compute-utils{tail}")
    return Branch(
        branch,
        Flavour(f"nvidia-dkms{tail}-open", libraries, "nvidia"),
        Flavour(f"nvidia-dkms{tail}", libraries, "nvidia") if number < 620 else None,
        fabric_manager=f"nvidia-fabricmanager{tail}",
        pinning=f"nvidia-driver-pinning-{branch}",
    )


def _ubuntu_server(branch: str) -> Branch:
    server = f"{branch}-server"
    libraries = (f"nvidia-utils-{server}", f"nvidia-compute-utils-{server}", f"libnvidia-compute-{server}")
    return Branch(
        branch,
        Flavour(f"nvidia-dkms-{server}-open", (f"nvidia-headless-no-dkms-{server}-open", *libraries), "nvidia"),
        Flavour(f"nvidia-dkms-{server}", (f"nvidia-headless-no-dkms-{server}", *libraries), "nvidia"),
        fabric_manager=f"nvidia-fabricmanager-{branch}",
    )


def _nvidia_rhel(branch: str) -> Branch:
    number = int(branch)
    return Branch(
        branch,
        Flavour("kmod-nvidia-open-dkms", ("nvidia-driver-cuda", "nvidia-persistenced"), "nvidia"),
        Flavour("kmod-nvidia-latest-dkms", ("nvidia-driver-cuda", "nvidia-persistenced"), "nvidia")
        if number < 620
        else None,
        fabric_manager="nvidia-fabric-manager",
    )


def _nvidia(folder: str, branches: tuple[Branch, ...]) -> Source:
    return Source(branches, "580", _NVIDIA_OWN, folder=folder, override=True)


def _ubuntu(folder: str) -> Distribution:
    server = tuple(_ubuntu_server(branch) for branch in _UBUNTU_BRANCHES)
    nvidia = tuple(_nvidia_ubuntu(branch) for branch in NVIDIA_BRANCHES)
    sources = {
        NVIDIA: _nvidia(folder, nvidia),
        DISTRIBUTION: Source(server, "580", _UBUNTU_OWN, ("restricted", "multiverse"), override=True),
    }
    return Distribution("linux-headers-{release}", "linux-headers-generic", sources)


# 595 is what NVIDIA's GPU Operator of August 2026 recommends; 580 is supported until August 2028.
NVIDIA_BRANCHES = ("595", "580", "590", "610", "620")

_RHEL_9 = Distribution(
    "kernel-devel-{release}",
    "kernel-devel-matched",
    {NVIDIA: _nvidia("rhel9", tuple(_nvidia_rhel(branch) for branch in NVIDIA_BRANCHES))},
)

DISTRIBUTIONS = {
    "Debian-12": Distribution(
        "linux-headers-{release}",
        "linux-headers-{arch}",
        {
            NVIDIA: _nvidia("debian12", tuple(_nvidia_debian(branch) for branch in NVIDIA_BRANCHES)),
            DISTRIBUTION: Source(
                (
                    Branch(
                        "535",
                        Flavour(
                            "nvidia-open-kernel-dkms",
                            _DEBIAN_LIBRARIES,
                            "nvidia-current-open",
                            problem="it needs a firmware package of a version that bookworm-security has replaced",
                        ),
                        Flavour("nvidia-kernel-dkms", _DEBIAN_LIBRARIES, "nvidia-current"),
                    ),
                ),
                "535",
                _DEBIAN_OWN,
                _DEBIAN_COMPONENTS,
            ),
        },
    ),
    "Debian-13": Distribution(
        "linux-headers-{release}",
        "linux-headers-{arch}",
        {
            NVIDIA: _nvidia("debian13", tuple(_nvidia_debian(branch) for branch in NVIDIA_BRANCHES)),
            DISTRIBUTION: Source(
                (
                    Branch(
                        "550",
                        Flavour(
                            "nvidia-open-kernel-dkms",
                            _DEBIAN_LIBRARIES,
                            "nvidia-current-open",
                            problem="its source does not compile against the kernels of Debian 13 since 6.12.117 "
                            "(pci_resize_resource)",
                        ),
                        Flavour("nvidia-kernel-dkms", _DEBIAN_LIBRARIES, "nvidia-current"),
                    ),
                    Branch(
                        "535",
                        None,
                        Flavour("nvidia-tesla-535-kernel-dkms", _TESLA_535_LIBRARIES, "nvidia-tesla-535"),
                    ),
                ),
                "550",
                _DEBIAN_OWN,
                _DEBIAN_COMPONENTS,
            ),
        },
    ),
    "Ubuntu-22.04": _ubuntu("ubuntu2204"),
    "Ubuntu-24.04": _ubuntu("ubuntu2404"),
    "RedHat-9": _RHEL_9,
    "Rocky-9": _RHEL_9,
    "AlmaLinux-9": _RHEL_9,
}
