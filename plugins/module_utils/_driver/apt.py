# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What apt would do to get a driver onto a host, and why it must not: parsers of dpkg's and apt's output, and rules.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.host_state import release_key

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
    "dpkg has not finished with {packages}, and until it has apt does nothing else.",
    "Run 'dpkg --configure -a' on the host and look at what it says; if it fails, 'apt-get purge {packages}'.",
)
DKMS_FAILED = Fault(
    "driver.dkms_failed",
    "DKMS could not build {packages}: {error}, and until this package is gone apt does nothing else.",
    "Run 'apt-get purge {packages}' on the host and choose another 'nvidia_driver_version' or 'nvidia_driver_modules'.",
)
VERSION_UNAVAILABLE = Fault(
    "driver.version_unavailable",
    "{package} {wanted} is not in the repositories of the host; they have {known}.",
    "Set 'nvidia_driver_version' to one of these, or give the host a repository that has the one you want.",
)
HEADERS_UNAVAILABLE = Fault(
    "driver.headers_unavailable",
    "The driver can't be built for the kernel {release}: its headers are missing, the repositories have no {package}.",
    "Boot a kernel of the distribution's present release (upgrade it and reboot), or install these headers by hand.",
)
KERNEL_WOULD_CHANGE = Fault(
    "driver.kernel_would_change",
    "Installing the driver would also {what} the kernel {packages}, which this role never does.",
    "Upgrade the kernel and reboot first, then run again.",
)
PACKAGES_IN_THE_WAY = Fault(
    "driver.packages_in_the_way",
    "apt would also remove {packages}.",
    "Remove it yourself if you don't need it, and run again.",
)
PACKAGES_UNMET = Fault(
    "driver.packages_unmet",
    "apt can't do it: {problem}.",
    "Run 'apt-get --simulate {command}' on the host, which tells more; a hold or a pin of yours may be in the way.",
)
REPOSITORY_UNREACHABLE = Fault(
    "driver.repository_unreachable",
    "The package lists can't be fetched: {problem}.",
    "Check the host's package sources, its proxy, and whether the repository's key has been exchanged (NO_PUBKEY).",
)
NO_SOURCE = Fault(
    "driver.no_package_source",
    "None of the host's package sources is the archive of {distribution} with the suite {codename}.",
    "Add it to /etc/apt/sources.list.d, or set 'nvidia_driver_sources' to the text of one.",
)
BOOT_FULL = Fault(
    "driver.boot_full",
    "/boot has {free} MB of free space and new initial RAM disks need {needed} MB.",
    "Remove old kernels ('apt-get autoremove --purge') or make the file system larger, and run again.",
)
DISK_FULL = Fault(
    "driver.disk_full",
    "{folder} has {free} MB of free space, and the driver's packages and its build need {needed} MB.",
    "Make room there, and run again.",
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
PIN = "*nvidia* libcuda* libnvcuvid* cuda-drivers*"

_INST = re.compile(r"^Inst (\S+) (?:\[(\S+)\] )?\((\S+) ", re.M)
_REMV = re.compile(r"^(?:Remv|Purg) (\S+)", re.M)
_NEED = re.compile(r"^Need to get (?:[\d.,]+ \w+/)?([\d.,]+) (\w)?B of archives", re.M)
_AFTER = re.compile(r"^After this operation, ([\d.,]+) (\w)?B of additional disk space", re.M)
_UNITS = {None: 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}


class Package(NamedTuple):
    """A package as dpkg knows it: C(want) is install, hold, deinstall..., C(status) is installed, half-configured..."""

    name: str
    version: str
    want: str
    status: str

    @property
    def is_driver(self) -> bool:
        return is_driver(self.name)


class Simulation(NamedTuple):
    """What apt would do: new packages and upgraded ones (name to version), removed ones, bytes to fetch and to keep."""

    new: dict[str, str]
    upgraded: dict[str, str]
    removed: list[str]
    download: int
    disk: int


def is_driver(name: str) -> bool:
    return bool(_DRIVER.match(name)) and not _NOT_DRIVER.match(name)


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


def versions_of(madison: str) -> list[str]:
    """The versions that C(apt-cache madison) lists, the newest first as it prints them."""
    return list(dict.fromkeys(line.split("|")[1].strip() for line in madison.splitlines() if line.count("|") >= 2))


def versions_by_package(madison: str) -> dict[str, list[str]]:
    """The versions of each package in what C(apt-cache madison) prints about several."""
    found: dict[str, list[str]] = {}
    for line in madison.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) >= 3 and parts[1] not in found.setdefault(parts[0], []):
            found[parts[0]].append(parts[1])
    return found


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


def check_simulation(simulation: Simulation, packages: Mapping[str, Package], kernels: Sequence[str]) -> None:
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


def newest(releases: Iterable[str]) -> str:
    return max(releases, key=release_key, default="")


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


def sources_text(
    lines: Sequence[SourceLine], distribution: str, codename: str, components: Sequence[str], own_file: str
) -> str:
    """The additional source (deb822) with the components that the host's own sources lack; empty if they lack none.

    Mirrors, suites and keys are those of the host's sources. Raises C(driver.no_package_source) if it has none.
    """
    suites = (codename, f"{codename}-updates", f"{codename}-security")
    have: dict[tuple[str, str], set[str]] = {}
    signed: dict[tuple[str, str], str] = {}
    for line in lines:
        known = line.origin == distribution or (not line.origin and distribution.lower() in line.uri)
        if line.suite in suites and known and not line.file.startswith(own_file):
            key = (line.uri, line.suite)
            have.setdefault(key, set()).add(line.component)
            signed[key] = line.signed_by or signed.get(key, "")
    bases = {key: found for key, found in have.items() if "main" in found}
    if not bases:
        raise StackError(NO_SOURCE, distribution=distribution, codename=codename)
    parts = []
    for (uri, suite), found in bases.items():
        missing = [component for component in components if component not in found]
        if missing:
            stanza = f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {' '.join(missing)}\n"
            key_file = signed[(uri, suite)]
            parts.append(stanza + (f"Signed-By: {key_file}\n" if key_file else ""))
    return "# Written by the Ansible role nvidia_driver.\n" + "\n".join(parts) if parts else ""


def preferences_text(version: str) -> str:
    """The pin of every package of the driver to one version; above 1000, so that apt goes back to it too."""
    pattern = version if "-" in version else f"{version}-*"
    return (
        "# Written by the Ansible role nvidia_driver: no other version of the driver is installed.\n"
        f"Package: {PIN}\nPin: version {pattern}\nPin-Priority: 1001\n"
    )


def check_space(boot: tuple[int, int] | None, disks: Iterable[tuple[str, int, int]]) -> None:
    """C(boot) is the free and the needed bytes, None where /boot is no file system of its own; C(disks) has a folder
    with the same of each other file system. Raises C(driver.boot_full) or C(driver.disk_full)."""
    if boot is not None and boot[0] < boot[1]:
        raise StackError(BOOT_FULL, free=boot[0] // 10**6, needed=boot[1] // 10**6)
    for folder, free, needed in disks:
        if free < needed:
            raise StackError(DISK_FULL, folder=folder, free=free // 10**6, needed=needed // 10**6)
