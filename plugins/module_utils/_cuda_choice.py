# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CUDA an engine is built with, for one driver and the GPUs that it serves.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

The engine ships kernels as PTX, which a driver translates only if it knows the CUDA version that made it
(C(CUDA_ERROR_UNSUPPORTED_PTX_VERSION) otherwise). So what is chosen here is never newer than what the driver runs;
what the operator sets by hand may be as new as NVIDIA's minor version compatibility allows, with a warning.

Sources: NVIDIA's CUDA release notes 13.1 to 13.3 (the driver that comes with each toolkit, the oldest for each major
version, removal of Maxwell, Pascal and Volta in 13.0), the PTX ISA's release notes (targets), the tags of
C(nvidia/cuda), and mistral.rs at its tags (C(docs/src/content/docs/guides/deploy/docker.md),
C(.github/workflows/release.yml), C(build_cuda_all.yaml)).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_number import Number, text_of
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions import COMMITS, EngineVersion, number_of
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError, StackErrors

DRIVER_TOO_OLD = Fault(
    "image.cuda_driver_too_old",
    "NVIDIA driver {driver} is too old: {wants} needs {needed} or newer.",
    "{way_out}",
)
ENGINE_UNSUPPORTED = Fault(
    "image.cuda_engine_unsupported",
    "mistral_image_cuda_version is {wanted}, with which mistral.rs {engine} can't be built (it can with {known}).",
    "Set it to one of these, or to '' for the newest that fits.",
)
GPU_TOO_OLD_FOR_ENGINE = Fault(
    "image.gpu_too_old_for_engine",
    "mistral.rs {engine} needs GPUs of compute capability {minimum} or newer, but there is one of {capability}.",
    "{way_out}",
)
GPU_TOO_OLD_FOR_CUDA = Fault(
    "image.gpu_too_old_for_cuda",
    "CUDA {wanted} no longer compiles for compute capability {capability} (13.0 ended with 7.5).",
    "Set mistral_image_cuda_version to a 12.x, or to '' for the newest that fits.",
)
GPU_TOO_NEW_FOR_CUDA = Fault(
    "image.gpu_too_new_for_cuda",
    "The GPU of compute capability {capability} needs CUDA {minimum} or newer, but {reason}.",
    "{way_out}",
)
CUDA_VERSION_INVALID = Fault(
    "image.cuda_version_invalid",
    "mistral_image_cuda_version is {wanted!r}, but must be a version such as 12.8.1 or 12.8.",
    "Correct it, or set it to '' for the newest that fits.",
)
ARCHITECTURE_UNSUPPORTED = Fault(
    "image.architecture_unsupported",
    "There is no CUDA for processors of type {architecture!r}.",
    "Use hosts of {known}, or set mistral_image_source: evaluation to run without a GPU.",
)
BASE_UNSUPPORTED = Fault(
    "image.cuda_base_unsupported",
    "There are no CUDA base images of {distribution}{which}.",
    "Use one of {known}.",
)
CAPABILITIES_DIFFER = Fault(
    "image.capabilities_differ",
    "An image is for one compute capability, but the GPUs have {capabilities}.",
    "{way_out}",
)
CAPABILITY_UNKNOWN = Fault(
    "image.capability_unknown",
    "For which GPUs the image is to be isn't known: no compute capability was found or given.",
    "Set mistral_image_compute_capability, to 8.9 for example, or install the driver first; without any GPU, set "
    "mistral_image_device: cpu.",
)
CAPABILITY_INVALID = Fault(
    "image.capability_invalid",
    "{capability!r} is no compute capability.",
    "Give two numbers such as 8.9 (`nvidia-smi --query-gpu=compute_cap --format=csv,noheader` shows it).",
)
DRIVER_VERSION_INVALID = Fault(
    "image.driver_version_invalid",
    "{driver!r} is no version of the NVIDIA driver.",
    "Give numbers such as 580.95.05, or '' if there is no driver.",
)
NO_CUDNN_IMAGE = Fault(
    "image.no_cudnn_image",
    "NVIDIA has no base image of CUDA {cuda} with cuDNN 9, which the feature cudnn needs.",
    "Use CUDA {minimum} or newer, or leave cudnn out of mistral_image_features.",
)
FEATURE_UNSUPPORTED = Fault(
    "image.feature_unsupported",
    "The feature {feature} can't be built here: {reason}.",
    "Leave it out of mistral_image_features.",
)
NO_PUBLISHED_IMAGE = Fault(
    "image.no_published_image",
    "Upstream has no image of mistral.rs {engine} for this host: {reason}.",
    "{way_out}",
)

Pair = tuple[int, int]
Triple = tuple[int, int, int]

# CUDA releases that have a base image, and the driver that came with each (Linux), oldest first. NVIDIA skipped 12.7.
TOOLKIT_DRIVERS: Mapping[str, str] = {
    "11.7.0": "515.43.04",
    "11.7.1": "515.48.07",
    "11.8.0": "520.61.05",
    "12.0.0": "525.60.13",
    "12.0.1": "525.85.12",
    "12.1.0": "530.30.02",
    "12.2.0": "535.54.03",
    "12.2.1": "535.86.09",
    "12.2.2": "535.104.05",
    "12.3.0": "545.23.06",
    "12.3.1": "545.23.08",
    "12.4.0": "550.54.14",
    "12.4.1": "550.54.15",
    "12.5.0": "555.42.02",
    "12.5.1": "555.42.06",
    "12.6.0": "560.28.03",
    "12.6.1": "560.35.03",
    "12.6.2": "560.35.03",
    "12.6.3": "560.35.05",
    "12.8.0": "570.26",
    "12.8.1": "570.124.06",
    "12.9.0": "575.51.03",
    "12.9.1": "575.57.08",
    "13.0.0": "580.65.06",
    "13.0.1": "580.82.07",
    "13.0.2": "580.95.05",
    "13.1.0": "590.44.01",
    "13.1.1": "590.48.01",
    "13.2.0": "595.45.04",
    "13.2.1": "595.58.03",
    "13.3.0": "610.43.02",
    "13.3.1": "610.43.02",
}
# The oldest driver on which programs of a CUDA major version start at all.
MAJOR_DRIVERS: Mapping[int, str] = {11: "450.80.02", 12: "525.60.13", 13: "580"}
# The first CUDA that compiles for a compute capability. From 9.0 on the engine is compiled for `sm_90a`, `sm_100a` and
# such (cudaforge 0.1.4, src/compute_cap.rs; mistral.rs from 0.8.0 on), and those are newer: PTX ISA 7.8 of CUDA 11.8
# has sm_90, sm_90a is of PTX ISA 8.0 and CUDA 12.0.
CAPABILITY_CUDA: Mapping[str, str] = {
    "7.5": "10.0",
    "8.0": "11.0",
    "8.6": "11.1",
    "8.7": "11.4",
    "8.8": "13.0",
    "8.9": "11.8",
    "9.0": "12.0",
    "10.0": "12.8",
    "10.3": "12.9",
    "11.0": "13.0",
    "12.0": "12.8",
    "12.1": "12.9",
}
# The oldest capability that CUDA 13 compiles for.
_CUDA_13_MINIMUM: Pair = (7, 5)
# The families of base images of nvidia/cuda, and the first CUDA with which each has been seen.
DISTRIBUTIONS: Mapping[str, str] = {
    "ubuntu22.04": "11.7",
    "ubuntu24.04": "12.6",
    "ubuntu26.04": "13.3",
    "ubi8": "11.7",
    "ubi9": "11.7",
}
# Tags with cuDNN 9; those of 12.3 and before have cuDNN 8, and 12.4.0 has none.
_CUDNN_SINCE: Triple = (12, 4, 1)
# The first CUDA with which a feature is built: mistralrs-quant/build.rs stops with an older one ("the `cutile` feature
# requires CUDA >= ..."), from v0.9.1 on with 13.1, too.
_CUTILE_CUDA: tuple[tuple[Number, Pair], ...] = (((0, 8, 2), (13, 1)), ((0, 9, 1), (13, 2)))
# The only capability that FlashAttention 3 is compiled for (candle-flash-attn-v3 0.9.2, build.rs:145).
_FLASH_ATTN_3: Pair = (9, 0)
# CUTLASS is in the engine's own kernels from here on; before, only FlashAttention has it. GCC 8.5 of UBI 8 has
# regressions that it does not compile with (NVIDIA/cutlass issue 788).
_CUTLASS_SINCE: Number = (0, 8, 4)
_OLD_COMPILER = "ubi8"
# What can't be built with this one can't be built with any.
_LAST_BEFORE_13: Triple = (12, 9, 1)
ARCHITECTURES: Mapping[str, str] = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "arm64",
    "arm64": "arm64",
}

PUBLISHED_REPOSITORY = "ghcr.io/ericlbuehler/mistral.rs"


class CudaChoice(NamedTuple):
    """What an image is built upon and for.

    C(cuda_version) is C(12.8.1), C(devel) and C(runtime) are references without a digest, C(capabilities) is what the
    build is told (C(CUDA_COMPUTE_CAP)), always one. C(driver_minimum) is the oldest driver that runs the image in full.
    """

    cuda_version: str
    devel: str
    runtime: str
    capabilities: tuple[str, ...]
    driver_minimum: str
    warnings: tuple[str, ...]


class PublishedImage(NamedTuple):
    """One of upstream's images: C(ghcr.io/ericlbuehler/mistral.rs:cuda132-sm89-0.9.2)."""

    reference: str
    cuda_version: str
    capabilities: tuple[str, ...]
    warnings: tuple[str, ...]


class Release(NamedTuple):
    """One row of TOOLKIT_DRIVERS."""

    name: str
    number: Triple
    driver: tuple[int, ...]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _pair(text: str) -> Pair:
    major, minor = text.split(".")
    return int(major), int(minor)


def _text(numbers: Iterable[int]) -> str:
    return ".".join(str(number) for number in numbers)


def _releases() -> tuple[Release, ...]:
    rows = []
    for name, driver in TOOLKIT_DRIVERS.items():
        major, minor, patch = _numbers(name)
        rows.append(Release(name, (major, minor, patch), _numbers(driver)))
    return tuple(rows)


RELEASES = _releases()
_LAST: Triple = RELEASES[-1].number
_DRIVER = re.compile(r"\d{1,5}(\.\d{1,5}){0,3}\Z", re.ASCII)
_CUDA = re.compile(r"\d{1,3}\.\d{1,3}(\.\d{1,3})?\Z", re.ASCII)
_CAPABILITY = re.compile(r"(\d{1,2})\.(\d)\Z|(\d{1,2})(\d)\Z", re.ASCII)


def capability(text: str) -> Pair:
    """The two numbers of a compute capability, written C(8.9) or C(89). Raises C(image.capability_invalid)."""
    match = _CAPABILITY.match(text)
    if not match:
        raise StackError(CAPABILITY_INVALID, capability=text)
    major, minor = match.group(1) or match.group(3), match.group(2) or match.group(4)
    return int(major), int(minor)


class Driver(NamedTuple):
    """A driver: its version as text and numbers (none if there is no driver), and the CUDA that nvidia-smi reports."""

    text: str = ""
    numbers: tuple[int, ...] = ()
    cuda: Pair | None = None

    def runs(self, release: Release) -> bool:
        """Whether it runs all that this CUDA compiles.

        What is reported decides about the minor version, since it is right also for drivers that the table doesn't know
        and where a compatibility package is installed; the table decides about the update.
        """
        if not self.numbers:
            return True
        if self.cuda is None or release.number[:2] == self.cuda:
            return self.numbers >= release.driver or (self.cuda is not None and release.number[2] == 0)
        return release.number[:2] < self.cuda


def driver_of(driver: str, driver_cuda: str = "") -> Driver:
    """A driver by its version; C(driver_cuda) other than a version ("N/A") counts as nothing.

    Raises StackError C(image.driver_version_invalid).
    """
    if not driver:
        return Driver()
    if not _DRIVER.match(driver):
        raise StackError(DRIVER_VERSION_INVALID, driver=driver)
    reported = _numbers(driver_cuda) if _CUDA.match(driver_cuda) else ()
    return Driver(driver, _numbers(driver), (reported[0], reported[1]) if reported else None)


def newest_cuda(driver: Driver) -> str:
    """The newest CUDA, as C(12.4), that the driver runs in full; empty if there is none, or none is known."""
    runs = [release.number for release in RELEASES if driver.numbers and driver.runs(release)]
    return _text(runs[-1][:2]) if runs else ""


class _Gpu(NamedTuple):
    """The capability that is built for, or none, with what was found wrong on the way."""

    target: Pair | None
    warnings: tuple[str, ...]


def _the_capability(
    found: Sequence[str], wanted: str, minimum: str, engine: EngineVersion, errors: list[StackError]
) -> _Gpu:
    """What to build for: the one capability that the GPUs share, or the one that was set by hand."""
    try:
        gpus = sorted({capability(str(one)) for one in found})
        chosen = capability(wanted) if wanted else None
    except StackError as error:
        errors.append(error)
        return _Gpu(None, ())
    if not gpus and chosen is None:
        errors.append(StackError(CAPABILITY_UNKNOWN))
        return _Gpu(None, ())
    asked = sorted({*gpus, *([chosen] if chosen else [])})
    errors.extend(_too_old(engine, one, minimum) for one in asked if one < _pair(minimum))
    # The others are judged as if those that can't run the engine were left out.
    gpus = [one for one in gpus if one >= _pair(minimum)]
    if chosen is None and len(gpus) > 1:
        errors.append(StackError(CAPABILITIES_DIFFER, capabilities=_list(gpus), way_out=_one_of_several(gpus)))
    if chosen is None and len(gpus) != 1:
        return _Gpu(None, ())
    target = chosen or gpus[0]
    warnings: tuple[str, ...] = ()
    others = [one for one in gpus if one != target]
    unfit = [one for one in others if not _shares(one, target)]
    if unfit:
        errors.append(
            StackError(
                CAPABILITIES_DIFFER,
                capabilities=f"{_list(gpus)}, and code for {_text(target)} doesn't run on {_list(unfit)}",
                way_out=_one_of_several(gpus),
            )
        )
    elif others:
        warnings = (
            f"The image is for compute capability {_text(target)}; GPUs of {_list(others)} may be slower than with one "
            "made for them.",
        )
    if _text(target) not in CAPABILITY_CUDA and target > _pair(minimum):
        warnings += (
            f"Compute capability {_text(target)} isn't known here; whether CUDA compiles for it shows the build.",
        )
    return _Gpu(target, warnings)


def _list(capabilities: Iterable[Pair]) -> str:
    return ", ".join(_text(one) for one in capabilities)


def _shares(gpu: Pair, target: Pair) -> bool:
    """Whether a GPU runs the machine code for another capability.

    In CUDA that is so within a major capability for a newer minor one; but from 9.0 on kernels are also compiled for
    C(sm_90a), C(sm_100a) and such, which run nowhere else.
    """
    return gpu == target or (gpu[0] == target[0] < 9 and gpu[1] >= target[1])


def _one_of_several(gpus: Sequence[Pair]) -> str:
    """How to go on with GPUs of several capabilities, given in order."""
    if all(_shares(one, gpus[0]) for one in gpus):
        return (
            f"Set mistral_image_compute_capability to {_text(gpus[0])}, whose code all of them run, or leave the "
            "others out with gpu.devices."
        )
    return "Give each kind of GPU hosts and an image of its own, or leave the others out with gpu.devices."


def _too_old(engine: EngineVersion, one: Pair, minimum: str) -> StackError:
    if one >= (7, 5):
        way_out = "Use mistral.rs 0.7.0 or older for this GPU, or leave it out with gpu.devices."
    else:
        way_out = (
            "No version runs on this GPU: use a newer one, or set mistral_image_source: evaluation to run without."
        )
    return StackError(
        GPU_TOO_OLD_FOR_ENGINE, engine=engine.version, minimum=minimum, capability=_text(one), way_out=way_out
    )


def _first_cuda(target: Pair | None) -> Pair:
    """The oldest CUDA that compiles for a capability."""
    return _pair(CAPABILITY_CUDA.get(_text(target), "0.0")) if target else (0, 0)


def _compiles(cuda: Pair, target: Pair | None) -> bool:
    if target is None:
        return True
    return cuda >= _first_cuda(target) and (cuda[0] < 13 or target >= _CUDA_13_MINIMUM)


def _wanted(
    wanted: str,
    engine: EngineVersion,
    target: Pair | None,
    capabilities: Sequence[str],
    driver: Driver,
    errors: list[StackError],
) -> tuple[str, list[str]]:
    """The CUDA that was set by hand, checked against everything; with what to know about it."""
    if not _CUDA.match(wanted):
        errors.append(StackError(CUDA_VERSION_INVALID, wanted=wanted))
        return "", []
    parts = _numbers(wanted)
    minor: Pair = (parts[0], parts[1])
    if _text(minor) not in engine.cuda_versions:
        errors.append(
            StackError(ENGINE_UNSUPPORTED, wanted=wanted, engine=engine.version, known=", ".join(engine.cuda_versions))
        )
    for one in _valid(capabilities) or ([target] if target else []):
        if minor[0] >= 13 and one < _CUDA_13_MINIMUM:
            errors.append(StackError(GPU_TOO_OLD_FOR_CUDA, wanted=wanted, capability=_text(one)))
    # With several GPUs, what is built for decides; the newer ones run the code of the older one.
    for one in [target] if target else _valid(capabilities):
        if minor < _first_cuda(one):
            errors.append(
                StackError(
                    GPU_TOO_NEW_FOR_CUDA,
                    capability=_text(one),
                    minimum=_text(_first_cuda(one)),
                    reason=f"mistral_image_cuda_version is {wanted}",
                    way_out="Set it to that or newer, or to '' for the newest that fits.",
                )
            )
    releases = [release for release in RELEASES if release.number[:2] == minor]
    if len(parts) == 2 and releases:
        # The newest update that the driver runs, else the newest that there is.
        parts = ([one for one in releases if driver.runs(one)] or releases)[-1].number
    elif len(parts) == 2:
        parts = (*parts, 0)
    name = _text(parts)
    warnings = []
    exact = [release for release in releases if release.number == parts]
    if minor[0] in MAJOR_DRIVERS and driver.numbers and driver.numbers < _numbers(MAJOR_DRIVERS[minor[0]]):
        errors.append(
            StackError(
                DRIVER_TOO_OLD,
                driver=driver.text,
                wants=f"CUDA {name} (mistral_image_cuda_version)",
                needed=MAJOR_DRIVERS[minor[0]],
                way_out="Update the driver, or set mistral_image_cuda_version to '' for the newest that fits.",
            )
        )
    elif exact and not driver.runs(exact[0]):
        warnings.append(
            f"NVIDIA driver {driver.text} is older than {TOOLKIT_DRIVERS[name]}, which came with CUDA {name}: code "
            "that the driver has to translate (PTX) may fail with CUDA_ERROR_UNSUPPORTED_PTX_VERSION."
        )
    if not exact:
        warnings.append(
            f"CUDA {name} isn't among the releases known here; whether its base image exists shows the build."
        )
    return name, warnings


def _valid(capabilities: Sequence[str]) -> list[Pair]:
    return sorted({capability(str(one)) for one in capabilities if _CAPABILITY.match(str(one))})


def _chosen(
    engine: EngineVersion,
    target: Pair,
    driver: Driver,
    distribution: str,
    features: Sequence[str],
    errors: list[StackError],
) -> str:
    """The newest CUDA that the engine builds with, that compiles for the GPU and that the driver runs."""
    first = _pair(DISTRIBUTIONS[distribution])
    builds = [
        release
        for release in RELEASES
        if f"{release.number[0]}.{release.number[1]}" in engine.cuda_versions
        and release.number[:2] >= first
        and not _feature_errors(engine, target, release.number, features)
    ]
    fits = [release for release in builds if _compiles(release.number[:2], target)]
    runs = [release for release in fits if driver.runs(release)]
    if runs:
        return runs[-1].name
    if not builds:
        others = [
            name
            for name, cuda in DISTRIBUTIONS.items()
            if any(_pair(cuda) <= _pair(one) for one in engine.cuda_versions)
        ]
        which = f" with a CUDA that builds mistral.rs {engine.version}"
        errors.append(StackError(BASE_UNSUPPORTED, distribution=distribution, which=which, known=", ".join(others)))
    elif not fits:
        errors.append(
            StackError(
                GPU_TOO_NEW_FOR_CUDA,
                capability=_text(target),
                minimum=_text(_first_cuda(target)),
                reason=f"mistral.rs {engine.version} can't be built with a newer one than {builds[-1].name}",
                way_out="Use a newer version of mistral.rs.",
            )
        )
    else:
        errors.append(
            StackError(
                DRIVER_TOO_OLD,
                driver=driver.text,
                wants=f"CUDA {fits[0].name}, the oldest with which mistral.rs {engine.version} can be built on "
                f"{distribution} for compute capability {_text(target)},",
                needed=TOOLKIT_DRIVERS[fits[0].name],
                way_out="Update the driver.",
            )
        )
    return ""


def _feature_errors(
    engine: EngineVersion, target: Pair, cuda: tuple[int, ...], features: Sequence[str]
) -> list[StackError]:
    """What is wrong with building these features for a capability with a CUDA (three numbers)."""
    errors = []
    if "cudnn" in features and cuda < _CUDNN_SINCE:
        errors.append(StackError(NO_CUDNN_IMAGE, cuda=_text(cuda), minimum=_text(_CUDNN_SINCE)))
    if "flash-attn" in features and target < (8, 0):
        reason = f"FlashAttention needs compute capability 8.0 or newer, and the GPU has {_text(target)}"
        errors.append(StackError(FEATURE_UNSUPPORTED, feature="flash-attn", reason=reason))
    elif "flash-attn" in features and cuda >= (13,) and number_of(engine.version) < (0, 8, 0):
        reason = f"in mistral.rs {engine.version} FlashAttention does not compile with CUDA 13"
        errors.append(StackError(FEATURE_UNSUPPORTED, feature="flash-attn", reason=reason))
    if "flash-attn-v3" in features and target != _FLASH_ATTN_3:
        reason = (
            f"FlashAttention 3 compiles for compute capability {_text(_FLASH_ATTN_3)} only, and the GPU has "
            f"{_text(target)}"
        )
        errors.append(StackError(FEATURE_UNSUPPORTED, feature="flash-attn-v3", reason=reason))
    since = [first for version, first in _CUTILE_CUDA if version <= number_of(engine.version)]
    if "cutile" in features and since and cuda < since[-1]:
        reason = f"mistral.rs {engine.version} needs CUDA {_text(since[-1])} or newer for it, and this is {_text(cuda)}"
        errors.append(StackError(FEATURE_UNSUPPORTED, feature="cutile", reason=reason))
    return errors


def unknown_features(engine: EngineVersion, features: Sequence[str]) -> list[StackError]:
    """Features that the engine's package does not have: cargo would say so after the first minutes of a build."""
    return [
        StackError(
            FEATURE_UNSUPPORTED,
            feature=feature,
            reason=f"mistral.rs {engine.version} has only {', '.join(engine.known_features)}",
        )
        for feature in features
        if feature not in (*engine.known_features, "default") and "/" not in feature
    ]


def cuda_choice(
    driver: str,
    compute_capabilities: Sequence[str],
    engine_version: EngineVersion,
    wanted: str = "",
    distribution: str = "ubuntu22.04",
    architecture: str = "x86_64",
    *,
    driver_cuda: str = "",
    compute_capability: str = "",
    features: Sequence[str] = (),
) -> CudaChoice:
    """The CUDA to build the engine with.

    C(driver) is the version of the hosts' driver (of the oldest one), empty if none is known; C(driver_cuda) what
    nvidia-smi reports as its CUDA. C(compute_capabilities) are those of all GPUs that are to run the image, as C(8.9)
    or C(89). C(wanted) is C(mistral_image_cuda_version), C(compute_capability) C(mistral_image_compute_capability);
    empty, the newest CUDA and the capability of the GPUs are taken. C(distribution) and C(architecture) are the
    image's, C(features) the Cargo features that the engine is built with.

    Raises StackErrors, a StackError that has one error for each conflict in C(errors).
    """
    errors: list[StackError] = unknown_features(engine_version, features)
    warnings: list[str] = list(engine_version.warnings)
    if architecture not in ARCHITECTURES:
        errors.append(StackError(ARCHITECTURE_UNSUPPORTED, architecture=architecture, known="x86_64 or aarch64"))
    if distribution not in DISTRIBUTIONS:
        errors.append(
            StackError(BASE_UNSUPPORTED, distribution=repr(distribution), which="", known=", ".join(DISTRIBUTIONS))
        )
    try:
        runs_on = driver_of(driver, driver_cuda)
    except StackError as error:
        errors.append(error)
        runs_on = Driver()
    gpu = _the_capability(
        compute_capabilities, compute_capability, engine_version.compute_minimum, engine_version, errors
    )
    warnings.extend(gpu.warnings)
    version = ""
    if wanted:
        version, more = _wanted(wanted, engine_version, gpu.target, compute_capabilities, runs_on, errors)
        warnings.extend(more)
        if version and gpu.target is not None:
            errors.extend(_feature_errors(engine_version, gpu.target, _numbers(version), features))
    elif gpu.target is not None and distribution in DISTRIBUTIONS:
        # Newer CUDA may be what is missing: only what none can build is an error here.
        before_13 = _feature_errors(engine_version, gpu.target, _LAST_BEFORE_13, features)
        newest = _feature_errors(engine_version, gpu.target, _LAST, features)
        errors.extend(newest if len(newest) < len(before_13) else before_13)
        if not errors:
            version = _chosen(engine_version, gpu.target, runs_on, distribution, features, errors)
        if version and not runs_on.numbers:
            warnings.append(
                f"No NVIDIA driver is known; CUDA {version} needs {TOOLKIT_DRIVERS[version]} or newer on the hosts "
                "that run the image. Set mistral_image_cuda_version if they have an older one."
            )
    if errors:
        raise StackErrors(errors)
    number = _numbers(version)
    if number[:2] < _pair(DISTRIBUTIONS[distribution]):
        warnings.append(
            f"nvidia/cuda has been seen with {distribution} from CUDA {DISTRIBUTIONS[distribution]} on; whether there "
            f"is an image of {version} shows the build."
        )
    if distribution == _OLD_COMPILER and (
        number_of(engine_version.version) >= _CUTLASS_SINCE or "flash-attn" in features
    ):
        warnings.append(
            "ubi8 compiles with GCC 8.5, with which CUTLASS is known not to compile; ubi9 and Ubuntu have a newer one."
        )
    target = gpu.target or (0, 0)
    flavour = "cudnn-" if "cudnn" in features else ""
    return CudaChoice(
        cuda_version=version,
        devel=f"nvidia/cuda:{version}-{flavour}devel-{distribution}",
        runtime=f"nvidia/cuda:{version}-{flavour}runtime-{distribution}",
        capabilities=(f"{target[0]}{target[1]}",),
        driver_minimum=TOOLKIT_DRIVERS.get(version, MAJOR_DRIVERS.get(number[0], "")),
        warnings=tuple(warnings),
    )


def oldest(versions: Any) -> str:
    """The oldest of several versions; of a single one itself. Empty ones (no driver) and null don't count.

    What is no version counts as the oldest, so that it is found out.
    """
    if isinstance(versions, Iterable) and not isinstance(versions, str):
        given = [str(one) for one in versions if one]
        return min(given, key=lambda one: _numbers(one) if _DRIVER.match(one) else (), default="")
    return str(versions or "")


def as_data(result: CudaChoice | PublishedImage) -> dict[str, Any]:
    """The same as plain data for roles."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in result._asdict().items()}


class Published(NamedTuple):
    """What upstream publishes from one version on.

    C(tag) is the pattern of a tag. C(lanes) are the CUDA versions, oldest first, each with the capabilities whose image
    is taken from there on; C(capabilities) are those of each architecture.
    """

    since: Number
    tag: str
    lanes: tuple[tuple[str, tuple[str, ...]], ...]
    capabilities: Mapping[str, tuple[str, ...]]


_ALL = ("80", "86", "89", "90", "100", "120", "121")
_SINCE_SM = {"x86_64": ("80", "86", "89", "90", "100", "120"), "arm64": ("90", "100", "121")}
_TO_13_1 = (("12.8", _ALL[:-1]), ("12.9", ("121",)), ("13.0", _ALL), ("13.1", _ALL))
# The matrix of the job docker-cuda in release.yml, at v0.8.4, v0.8.13, v0.8.22 and v0.9.1; before, build_cuda_all.yaml.
PUBLISHED: tuple[Published, ...] = (
    Published((0, 6, 0), "cuda-{sm}-{version}", (("12.4", ("75", *_ALL)),), {"x86_64": ("75", "80", "86", "89", "90")}),
    # These images lack the program mistralrs.
    Published((0, 7, 0), "", (), {}),
    Published((0, 8, 4), "cuda-sm{sm}-{version}", (("13.1", _ALL),), _SINCE_SM),
    Published(
        (0, 8, 13),
        "cuda{cuda}-sm{sm}-{version}",
        (("12.8", _ALL[:-1]), ("12.9", ("121",)), ("13.1", _ALL)),
        _SINCE_SM,
    ),
    Published(
        (0, 8, 22),
        "cuda{cuda}-sm{sm}-{version}",
        (*_TO_13_1, ("13.2", ("80", "86", "89")), ("13.3", ("90",))),
        _SINCE_SM,
    ),
    Published(
        (0, 9, 1),
        "cuda{cuda}-sm{sm}-{version}",
        (*_TO_13_1, ("13.2", ("80", "86", "89", "100", "120", "121")), ("13.3", ("90",))),
        _SINCE_SM,
    ),
)
# The newest release here; what comes after it in COMMITS are commits without images.
NEWEST_PUBLISHED = [name for name in COMMITS if "+" not in name][-1]


def published_tag(
    driver: str,
    compute_capabilities: Sequence[str],
    engine_version: EngineVersion,
    architecture: str = "x86_64",
    *,
    driver_cuda: str = "",
    compute_capability: str = "",
) -> PublishedImage:
    """Upstream's image for the hosts; the arguments are those of cuda_choice.

    Without a driver it is the one of the oldest CUDA, which runs on most. Raises StackErrors with
    C(image.no_published_image), whose sentence names the reason, and with the errors of cuda_choice about GPUs and
    driver.
    """
    errors: list[StackError] = []
    version = engine_version.version
    if architecture not in ARCHITECTURES:
        raise StackErrors([StackError(ARCHITECTURE_UNSUPPORTED, architecture=architecture, known="x86_64 or aarch64")])
    try:
        runs_on = driver_of(driver, driver_cuda)
    except StackError as error:
        errors.append(error)
        runs_on = Driver()
    gpu = _the_capability(compute_capabilities, compute_capability, "0.0", engine_version, errors)
    if errors or gpu.target is None:
        raise StackErrors(errors)

    def none(reason: str, way_out: str = "Set mistral_image_source: build.") -> StackErrors:
        return StackErrors([StackError(NO_PUBLISHED_IMAGE, engine=version, reason=reason, way_out=way_out)])

    number = number_of(version)
    if len(number) > 3:
        release = text_of(number[:3])
        raise none(
            f"it is a commit after the release {release}, and only releases are published",
            f"Set mistral_image_source: build, or mistral_image_mistralrs_version: {release}.",
        )
    row = [one for one in PUBLISHED if one.since <= number][-1]
    if not row.tag:
        raise none(
            "those of 0.7.0 to 0.8.3 lack the program mistralrs",
            "Set mistral_image_source: build, or use another version of mistral.rs.",
        )
    sm = f"{gpu.target[0]}{gpu.target[1]}"
    kind = ARCHITECTURES[architecture]
    there = row.capabilities.get(kind, ())
    if sm not in there:
        if not there:
            raise none(f"all are for x86_64, and this is {architecture}")
        way_out = "Set mistral_image_source: build."
        if gpu.target < _pair(engine_version.compute_minimum):
            way_out = f"Use a GPU of {engine_version.compute_minimum} or newer."
            if sm in PUBLISHED[0].capabilities.get(kind, ()):
                way_out = f"{way_out[:-1]}, or set mistral_image_mistralrs_version: 0.6.0."
        raise none(
            f"on {kind} they are for compute capability {_list(capability(one) for one in there)}, and the GPU has "
            f"{_text(gpu.target)}",
            way_out,
        )
    lanes = [cuda for cuda, capabilities in row.lanes if sm in capabilities]
    warnings = (*engine_version.warnings, *gpu.warnings)
    if runs_on.numbers:
        newest = newest_cuda(runs_on)
        fits = [cuda for cuda in lanes if newest and _pair(cuda) <= _pair(newest)]
        if not fits:
            runs = f"runs CUDA {newest} at most" if newest else "is older than CUDA 11.7"
            needed = next(driver for name, driver in TOOLKIT_DRIVERS.items() if name.startswith(f"{lanes[0]}."))
            raise none(
                f"for compute capability {_text(gpu.target)} they start at CUDA {lanes[0]}, and NVIDIA driver {driver} "
                f"{runs}",
                f"Update the driver to {needed} or newer, or set mistral_image_source: build.",
            )
        cuda = fits[-1]
    else:
        cuda = lanes[0]
        warnings += (f"No NVIDIA driver is known; the image needs one that runs CUDA {cuda}.",)
    tag = row.tag.format(cuda=cuda.replace(".", ""), sm=sm, version=version)
    return PublishedImage(f"{PUBLISHED_REPOSITORY}:{tag}", cuda, (sm,), warnings)
