# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What installing the driver would do to the host.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._driver import disk_space
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt import Apt
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt_files import preferences_text, sources_text
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt_output import Simulation
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.packages import (
    choose_version,
    matches,
    outdated,
    upstream,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.refusals import (
    RUNFILE_INSTALLED,
    check_simulation,
    check_state,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.transaction import Transaction
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu import host_state
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.pci import Tree

HEADERS_UNAVAILABLE = Fault(
    "driver.headers_unavailable",
    "The driver can't be built for the kernel {release}: its headers are missing and no repository has {package}.",
    "Boot a kernel of the distribution's present release (upgrade it and reboot), or install these headers by hand.",
)
INSTALL = ("--no-install-recommends", "--allow-downgrades", "--allow-change-held-packages", "install")
UNINSTALLERS = ("/usr/bin/nvidia-uninstall", "/usr/local/bin/nvidia-uninstall")


class Request(NamedTuple):
    """The options of the module driver_packages_info that say what is to be installed."""

    choice: Mapping[str, Any]
    kernels: list[dict[str, Any]]
    kernel: str
    force: bool
    codename: str
    sources: str
    sources_file: str
    preferences_file: str
    lists_age: int


class Installation:
    """What installing the driver would do to the host. Nothing is changed."""

    def __init__(self, apt: Apt, request: Request) -> None:
        self._apt = apt
        self._request = request
        self._choice = request.choice
        self._packages = apt.packages()
        self._releases = [kernel["release"] for kernel in request.kernels]
        self._newest = max(self._releases, key=host_state.release_key, default="")

    def transaction(self) -> Transaction:
        """Simulate it. Raises StackError with what is in the way."""
        self._check_host()
        choice, packages = self._choice, self._packages
        sources = self._request.sources or self._missing_sources()
        present = packages.get(choice["kernel_package"])
        others = [packages[name] for name in choice["other_kernel_packages"] if name in packages]
        former = upstream(present.version) if present else upstream(others[0].version) if others else ""
        version = ""
        if present and matches(present.version, choice["version"], choice["branch"]):
            version = present.version
        arguments: list[str] = []
        simulation = Simulation({}, {}, [], 0, 0)
        if not version or others or not self._is_complete():
            version, arguments, simulation = self._simulated(sources, version)
        kernels = sorted(name for name in simulation.new if name.startswith("linux-image-"))
        own = sorted(
            package.name
            for package in packages.values()
            if (package.is_driver and former and upstream(package.version) == former)
            or package.name in choice["packages"]
        )
        return Transaction(
            needed=bool(arguments),
            version=upstream(version),
            former=former,
            former_packages=[f"{name}={packages[name].version}" for name in own],
            held=[name for name in own if packages[name].want == "hold"],
            unheld=[name for name in own if packages[name].want != "hold"],
            arguments=arguments,
            new=simulation.new,
            upgraded=simulation.upgraded,
            removed=simulation.removed,
            download=simulation.download,
            sources=sources,
            preferences=preferences_text(self._pinned(version)),
            notes=[f"the headers bring the kernel {', '.join(kernels)} with them"] if kernels else [],
        )

    def _check_host(self) -> None:
        """Refuse a host with another source's driver, or one on which dpkg has not finished."""
        _registered, builds = host_state.dkms(Tree("/"))
        dkms = [name for name in self._packages if "dkms" in name]
        errors = {name: builds[0].error or "see " + builds[0].log for name in dkms if builds}
        check_state(self._packages, self._choice["source"], self._choice["foreign"], errors)
        for path in UNINSTALLERS:
            if os.path.exists(path):
                raise StackError(RUNFILE_INSTALLED, path=path)

    def _missing_sources(self) -> str:
        """The source of the components that the host's own sources lack."""
        distribution = self._choice["distribution"].split("-")[0]
        wanted = (distribution, self._request.codename, self._choice["components"], self._request.sources_file)
        try:
            return sources_text(self._apt.source_lines(), *wanted)
        except StackError:
            # apt tells only of sources whose lists it has, and a fresh host has none yet.
            self._apt.fetch_lists()
            return sources_text(self._apt.source_lines(), *wanted)

    def _is_complete(self) -> bool:
        """Whether all packages are there, and the headers of the running and the newest kernel."""
        kernels = self._request.kernels
        needed = [each for each in kernels if each["running"] or each["release"] == self._newest]
        running = self._request.force or any(kernel["running"] for kernel in kernels)
        headers = bool(kernels) and running and all(kernel["headers"] for kernel in needed)
        return headers and all(name in self._packages for name in self._choice["packages"])

    def _pinned(self, version: str) -> str:
        """The version that all packages of the driver are pinned to."""
        wanted = str(self._choice["version"])
        return wanted if "-" in wanted else upstream(version)

    def _simulated(self, sources: str, version: str) -> tuple[str, list[str], Simulation]:
        """The version that comes, the arguments of apt-get, and what they would do.

        C(version) is the one that is there and stays, '' if none does.
        """
        apt, choice, request = self._apt, self._choice, self._request
        apt.use_files(request.sources_file, sources, request.preferences_file, "")
        if _text_of(request.sources_file) != sources or not apt.lists_are_fresh(request.lists_age):
            apt.fetch_lists()
        kernel_package = choice["kernel_package"]
        if not version:
            known = apt.versions(kernel_package).get(kernel_package, [])
            version = choose_version(kernel_package, known, choice["version"], choice["branch"])
        headers = _missing_headers(apt, request, self._newest, set(self._packages))
        apt.use_files(request.sources_file, sources, request.preferences_file, preferences_text(self._pinned(version)))
        needed = [*INSTALL, *self._driver(version), *headers]
        # It brings the headers of later kernels; where it would bring a kernel it is left out.
        metapackage = [choice["headers_meta"]] if choice["headers_meta"] not in self._packages else []
        try:
            arguments, simulation = self._attempt([*needed, *metapackage], version)
        except StackError:
            if not metapackage or not self._releases:
                raise
            arguments, simulation = self._attempt(needed, version)
        disk_space.check(simulation, arguments)
        changes = simulation.new or simulation.upgraded or simulation.removed
        return version, arguments if changes else [], simulation

    def _driver(self, version: str) -> list[str]:
        """The driver's packages as arguments of apt-get."""
        # apt leaves held packages where they are unless they are named.
        held = sorted(name for name, each in self._packages.items() if each.is_driver and each.want == "hold")
        pinned = self._pinned(version)
        moves = {
            name: one
            for name, found in self._apt.versions(*held).items()
            for one in reversed(found)
            if matches(one, pinned, "")
        }
        moves[self._choice["kernel_package"]] = version
        others = [name for name in self._choice["packages"] if name not in moves]
        return [*(f"{name}={one}" for name, one in moves.items()), *others]

    def _attempt(self, arguments: list[str], version: str) -> tuple[list[str], Simulation]:
        """Simulate an installation that leaves nothing of another driver; its arguments, and what they would do."""
        choice = self._choice
        simulation = self._apt.simulate(arguments)
        keep = {*choice["packages"], *simulation.new, *simulation.upgraded}
        kernel_packages = [*choice["other_kernel_packages"], choice["kernel_package"]]
        old = outdated(self._packages, kernel_packages, keep, upstream(version))
        if old:
            arguments = [*arguments, *(f"{name}-" for name in old)]
            simulation = self._apt.simulate(arguments)
        check_simulation(simulation, self._releases)
        return arguments, simulation


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def _missing_headers(apt: Apt, request: Request, newest: str, installed: set[str]) -> list[str]:
    """The packages with the headers of the running and the newest kernel that aren't there yet."""
    available = apt.names("linux-headers-")
    kernels = {kernel["release"]: kernel for kernel in request.kernels}
    wanted = [newest]
    if not request.force or request.kernel in kernels:
        wanted.append(request.kernel)
    found: list[str] = []
    for release in dict.fromkeys(release for release in wanted if release):
        package = request.choice["headers"].format(release=release)
        if package in installed or package in found or kernels.get(release, {}).get("headers"):
            continue
        if package not in available:
            raise StackError(HEADERS_UNAVAILABLE, release=release, package=package)
        found.append(package)
    return found
