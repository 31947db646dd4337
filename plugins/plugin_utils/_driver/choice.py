# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which driver a host gets: from its distribution, its GPUs and what the operator wants, by C(_driver_methods).

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.table import (
    EITHER,
    GENERATION_MODULES,
    OPEN,
    PROPRIETARY,
    known,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils import _distributions
from ansible_collections.mistralrs.stack.plugins.plugin_utils._driver.distributions import (
    DISTRIBUTION,
    DISTRIBUTIONS,
    GENERATION_BRANCHES,
    NVIDIA,
    OPEN_RECOMMENDED,
    Branch,
    Distribution,
    Flavour,
    Source,
)

UNSUPPORTED_DISTRIBUTION = Fault(
    "driver.unsupported_distribution",
    "The role nvidia_driver does not support {distribution}.",
    "Use one of {known}, or install the driver yourself and set 'nvidia_driver_state: existing'.",
)
UNSUPPORTED_ARCHITECTURE = Fault(
    "driver.unsupported_architecture",
    "NVIDIA's driver has no packages for the architecture {architecture}.",
    "Use a host with x86_64 or aarch64.",
)
SOURCE_UNAVAILABLE = Fault(
    "driver.source_unavailable",
    "{distribution} has no driver packages of its own.",
    "Set 'nvidia_driver_source' to {known}.",
)
BRANCH_UNAVAILABLE = Fault(
    "driver.branch_unavailable",
    "Driver branch {branch} is not offered for {distribution} by the source '{source}'.",
    "Set 'nvidia_driver_branch' to one of {known}, or 'nvidia_driver_source' to the other source.",
)
VERSION_INVALID = Fault(
    "driver.version_invalid",
    "'nvidia_driver_version' is {version!r}, which is not a driver version.",
    "Write it like 550.163.01, or with the package's revision like 550.163.01-2.",
)
BRANCH_DIFFERS = Fault(
    "driver.version_branch_differs",
    "Driver version {version} does not belong to the branch {branch}.",
    "Leave 'nvidia_driver_branch' empty, or give a version that begins with {branch}.",
)
GPU_UNKNOWN = Fault(
    "driver.gpu_unknown",
    "'nvidia_driver_gpus' names {name!r}, which is neither a GPU generation nor a known PCI device id.",
    "Use one of {known}, or a device id of four hexadecimal digits, like 2330.",
)
BRANCH_TOO_OLD = Fault(
    "driver.branch_too_old_for_gpu",
    "{gpu} needs the driver branch {first} or newer, but {what} is {branch}.",
    "{remedy}",
    "Set 'nvidia_driver_branch' to a newer branch, or 'nvidia_driver_source' to nvidia, whose repository has "
    "newer ones.",
)
BRANCH_TOO_NEW = Fault(
    "driver.branch_too_new_for_gpu",
    "{gpu} is supported by driver branches up to {last}, but {what} is {branch}.",
    "Set 'nvidia_driver_branch' to {last} or lower.",
)
FLAVOUR_UNFIT = Fault(
    "driver.flavour_unfit",
    "{gpu} works only with the {takes} kernel modules, but 'nvidia_driver_modules' asks for the {wanted} ones.",
    "Set 'nvidia_driver_modules' to auto.",
)
GPUS_CONFLICT = Fault(
    "driver.gpus_conflict",
    "{first} takes only the {first_takes} kernel modules, {second} only the {second_takes} ones: no driver runs both.",
    "Put them into different hosts, or give one of them to vfio-pci.",
)
FLAVOUR_UNAVAILABLE = Fault(
    "driver.flavour_unavailable",
    "{why} the {flavour} kernel modules of branch {branch}, and the source '{source}' for {distribution} has none that "
    "work: {problem}.",
    "{remedy}",
    "Set 'nvidia_driver_modules' to auto, 'nvidia_driver_source' to nvidia, or choose another 'nvidia_driver_branch'.",
)

_VERSION = re.compile(r"(\d{3})\.\d+(\.\d+)?(-[\w.+~]+)?")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# NVIDIA's repository calls 64-bit ARM servers by their platform's name.
NVIDIA_ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "sbsa"}


class Gpu(NamedTuple):
    """What counts of a GPU: how the messages call it, its generation (may be empty), the modules that it takes."""

    name: str
    generation: str
    modules: str


def gpus_of(infos: Sequence[Mapping[str, Any]]) -> list[Gpu]:
    """GPUs from what the module C(gpu_info) returns; those that belong to virtual machines don't count."""
    return [
        Gpu(gpu.get("name") or f"GPU {gpu.get('device_id', '')}", gpu.get("generation", ""), gpu.get("modules") or OPEN)
        for gpu in infos
        if gpu.get("driver_bound") != "vfio-pci"
    ]


def gpus_named(names: Sequence[str]) -> list[Gpu]:
    """GPUs that are given by generation or device id, for hosts that don't have them (yet)."""
    found = []
    for name in names:
        text = str(name).strip()
        generation = next((known for known in GENERATION_MODULES if known.lower() == text.lower()), "")
        if generation:
            found.append(Gpu(f"A {generation} GPU", generation, GENERATION_MODULES[generation]))
            continue
        row = known(text.upper().removeprefix("0X")) if re.fullmatch(r"(0x)?[0-9a-fA-F]{4}", text) else None
        if row is None or not row.modules:
            raise StackError(GPU_UNKNOWN, name=text, known=", ".join(GENERATION_MODULES))
        found.append(Gpu(row.name or f"GPU {text}", row.generation, row.modules))
    return found


class Wanted(NamedTuple):
    """What the operator wants; empty strings leave the choice to the table. C(modules) is auto, open, proprietary."""

    source: str = NVIDIA
    branch: str = ""
    version: str = ""
    modules: str = "auto"
    fabric_manager: bool = False


class Choice(NamedTuple):
    """The driver for a host; see the filter C(driver_choice) for what each field is."""

    distribution: str
    manager: str
    source: str
    branch: str
    version: str
    flavour: str
    kernel_package: str
    packages: list[str]
    other_kernel_packages: list[str]
    module: str
    headers: str
    headers_meta: str
    components: list[str]
    repository: str
    stream: str
    foreign: list[str]
    own: list[str]
    fabric_manager: str
    fabric_unit: str
    persistence_unit: str
    persistence_override: bool
    warnings: list[str]


def _branch(row: Source, wanted: Wanted, gpus: Sequence[Gpu], distribution: str) -> Branch:
    name = wanted.branch
    if wanted.version:
        match = _VERSION.fullmatch(wanted.version)
        if match is None:
            raise StackError(VERSION_INVALID, version=wanted.version)
        if name and match[1] != name:
            raise StackError(BRANCH_DIFFERS, version=wanted.version, branch=name)
        name = match[1]
    if not name:
        old = any(GENERATION_BRANCHES.get(gpu.generation, (0, 0))[1] for gpu in gpus)
        name = row.legacy if old else row.branches[0].name
    for branch in row.branches:
        if branch.name == name:
            return branch
    names = ", ".join(branch.name for branch in row.branches)
    raise StackError(BRANCH_UNAVAILABLE, branch=name, distribution=distribution, source=wanted.source, known=names)


def _check_branch(branch: Branch, row: Source, wanted: Wanted, gpus: Sequence[Gpu]) -> None:
    number = int(branch.name)
    what = "the branch that is asked for" if wanted.branch or wanted.version else "that of this source"
    for gpu in gpus:
        first, last = GENERATION_BRANCHES.get(gpu.generation, (0, 0))
        if first > number:
            here = [other.name for other in row.branches if int(other.name) >= first]
            remedy = "Set 'nvidia_driver_source' to nvidia, whose repository has newer branches."
            if here:
                remedy = f"Set 'nvidia_driver_branch' to {here[0]}."
            raise StackError(BRANCH_TOO_OLD, gpu=gpu.name, first=first, what=what, branch=branch.name, remedy=remedy)
        if last and last < number:
            raise StackError(BRANCH_TOO_NEW, gpu=gpu.name, last=last, what=what, branch=branch.name)


def _flavour(branch: Branch, wanted: Wanted, gpus: Sequence[Gpu], distribution: str) -> tuple[str, Flavour]:
    picky = [gpu for gpu in gpus if gpu.modules != EITHER]
    for gpu in picky:
        if gpu.modules != picky[0].modules:
            raise StackError(
                GPUS_CONFLICT,
                first=picky[0].name,
                first_takes=picky[0].modules,
                second=gpu.name,
                second_takes=gpu.modules,
            )
        if wanted.modules not in ("auto", gpu.modules):
            raise StackError(FLAVOUR_UNFIT, gpu=gpu.name, takes=gpu.modules, wanted=wanted.modules)
    offered = {OPEN: branch.open, PROPRIETARY: branch.proprietary}
    other = {OPEN: PROPRIETARY, PROPRIETARY: OPEN}
    name, why, free = wanted.modules, "'nvidia_driver_modules' asks for", False
    if name == "auto":
        free = not picky
        name = OPEN if int(branch.name) >= OPEN_RECOMMENDED else PROPRIETARY
        why = "This release prefers"
        if picky:
            name, why = picky[0].modules, f"{picky[0].name} takes only"
    found = offered[name]
    if free and (found is None or found.problem):
        name = other[name]
        found = offered[name]
    if found is None or found.problem:
        remedy = "Set 'nvidia_driver_source' to nvidia."
        if wanted.source == NVIDIA:
            remedy = "Choose another branch with 'nvidia_driver_branch'."
        elif not picky:
            remedy = "Set 'nvidia_driver_modules' to auto, or 'nvidia_driver_source' to nvidia."
        raise StackError(
            FLAVOUR_UNAVAILABLE,
            why=why,
            flavour=name,
            branch=branch.name,
            source=wanted.source,
            distribution=distribution,
            problem=found.problem if found else "this branch has none",
            remedy=remedy,
        )
    return name, found


def find_distribution(name: str, version: str, major: str) -> tuple[str, Distribution]:
    """The name and the row of a distribution, by Ansible's facts."""
    key = _distributions.name_of(name, version, major)
    if key in DISTRIBUTIONS:
        return key, DISTRIBUTIONS[key]
    raise StackError(UNSUPPORTED_DISTRIBUTION, distribution=f"{name} {version}", known=", ".join(DISTRIBUTIONS))


def driver_choice(
    distribution: str, version: str, major: str, architecture: str, gpus: Sequence[Gpu], wanted: Wanted
) -> Choice:
    """The driver for a host with these GPUs; raises StackError with a fault C(driver.*) if there is none."""
    key, row = find_distribution(distribution, version, major)
    manager = _distributions.table()[key]["manager"]
    if architecture not in ARCHITECTURES:
        raise StackError(UNSUPPORTED_ARCHITECTURE, architecture=architecture)
    source = row.sources.get(wanted.source)
    if source is None:
        raise StackError(SOURCE_UNAVAILABLE, distribution=key, known=" or ".join(row.sources))
    branch = _branch(source, wanted, gpus, key)
    _check_branch(branch, source, wanted, gpus)
    name, flavour = _flavour(branch, wanted, gpus, key)

    kernels = {
        found.kernel
        for other in row.sources.values()
        for one in other.branches
        for found in (one.open, one.proprietary)
        if found is not None
    }
    packages = [flavour.kernel, *flavour.packages]
    if branch.pinning:
        packages.insert(0, branch.pinning)
    if wanted.fabric_manager and branch.fabric_manager:
        packages.append(branch.fabric_manager)
    warnings = []
    for gpu in gpus:
        if not gpu.generation:
            warnings.append(
                f"{gpu.name} is not in the collection's table; it is taken for one that needs the open modules"
            )
    if branch.name == "535":
        warnings.append("branch 535 is past the end of NVIDIA's support (June 2026)")
    if wanted.fabric_manager and not branch.fabric_manager:
        warnings.append(
            "the host has NVSwitches, and this source has no Fabric Manager: CUDA says 'system not yet initialized' "
            "until one of exactly the driver's version is installed"
        )
    foreign = [own for other, one in row.sources.items() if other != wanted.source for own in one.own]
    return Choice(
        distribution=key,
        manager=manager,
        source=wanted.source,
        branch=branch.name,
        version=wanted.version,
        flavour=name,
        kernel_package=flavour.kernel,
        packages=packages,
        other_kernel_packages=sorted(kernels - {flavour.kernel}),
        module=flavour.module,
        headers=row.headers,
        headers_meta=row.meta.format(arch=ARCHITECTURES[architecture]),
        components=list(source.components),
        repository=f"{source.folder}/{NVIDIA_ARCHITECTURES[architecture]}/" if source.folder else "",
        stream=_stream(branch, name) if manager == "dnf" else "",
        foreign=foreign,
        own=list(source.own),
        fabric_manager=branch.fabric_manager if wanted.fabric_manager else "",
        fabric_unit="nvidia-fabricmanager.service",
        persistence_unit="nvidia-persistenced.service",
        persistence_override=source.override,
        warnings=warnings,
    )


def _stream(branch: Branch, flavour: str) -> str:
    """The module stream of RHEL 9, which tracks the branch."""
    return f"{branch.name}-open" if flavour == OPEN else f"{branch.name}-dkms"


__all__ = ["DISTRIBUTION", "Choice", "Gpu", "Wanted", "driver_choice", "find_distribution", "gpus_named", "gpus_of"]
