# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CUDA an engine is built with, for one driver and the GPUs that it serves.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

The engine ships kernels as PTX, which a driver translates only if it knows the CUDA version that made it
(C(CUDA_ERROR_UNSUPPORTED_PTX_VERSION) otherwise). So what is chosen here is never newer than what the driver runs;
what the operator sets by hand may be as new as NVIDIA's minor version compatibility allows, with a warning.

Sources: NVIDIA's CUDA release notes 13.1 to 13.3 (removal of Maxwell, Pascal and Volta in 13.0), the tags of
C(nvidia/cuda), and mistral.rs at its tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError, StackErrors
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.compute_capability import (
    first_cuda,
    target_of,
    valid_capabilities,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.cuda_releases import (
    CUDA_VERSION,
    MAJOR_DRIVERS,
    RELEASES,
    TOOLKIT_DRIVERS,
    Driver,
    Pair,
    Triple,
    dotted,
    driver_of,
    numbers,
    pair,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import EngineVersion

DRIVER_TOO_OLD = Fault(
    "image.cuda_driver_too_old",
    "NVIDIA driver {driver} is too old: {wants} needs {needed} or newer.",
    "{way_out}",
    "Update the driver, or set mistral_image_cuda_version to '' for the newest that fits.",
)
ENGINE_UNSUPPORTED = Fault(
    "image.cuda_engine_unsupported",
    "mistral_image_cuda_version is {wanted}, but mistral.rs {engine} can be built only with {known}.",
    "Set it to one of these, or to '' for the newest that fits.",
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
    "Set mistral_image_cuda_version to that or newer or to '', or use a newer version of mistral.rs.",
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
# The only capability that FlashAttention 3 is compiled for (candle-flash-attn-v3 0.9.2, build.rs:145).
_FLASH_ATTN_3: Pair = (9, 0)
# GCC 8.5 of UBI 8 has regressions that CUTLASS does not compile with (NVIDIA/cutlass issue 788).
_OLD_COMPILER = "ubi8"
# What can't be built with this one can't be built with any.
_LAST_BEFORE_13: Triple = (12, 9, 1)
ARCHITECTURES: Mapping[str, str] = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "arm64",
    "arm64": "arm64",
}


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


_LAST: Triple = RELEASES[-1].number


def _compiles(cuda: Pair, target: Pair | None) -> bool:
    if target is None:
        return True
    return cuda >= first_cuda(target) and (cuda[0] < 13 or target >= _CUDA_13_MINIMUM)


def _wanted(
    wanted: str,
    engine: EngineVersion,
    target: Pair | None,
    capabilities: Sequence[str],
    driver: Driver,
    errors: list[StackError],
) -> tuple[str, list[str]]:
    """The CUDA that was set by hand, checked against everything; with what to know about it."""
    if not CUDA_VERSION.match(wanted):
        errors.append(StackError(CUDA_VERSION_INVALID, wanted=wanted))
        return "", []
    parts = numbers(wanted)
    minor: Pair = (parts[0], parts[1])
    if dotted(minor) not in engine.cuda_versions:
        errors.append(
            StackError(ENGINE_UNSUPPORTED, wanted=wanted, engine=engine.version, known=", ".join(engine.cuda_versions))
        )
    for one in valid_capabilities(capabilities) or ([target] if target else []):
        if minor[0] >= 13 and one < _CUDA_13_MINIMUM:
            errors.append(StackError(GPU_TOO_OLD_FOR_CUDA, wanted=wanted, capability=dotted(one)))
    # With several GPUs, what is built for decides; the newer ones run the code of the older one.
    for one in [target] if target else valid_capabilities(capabilities):
        if minor < first_cuda(one):
            errors.append(
                StackError(
                    GPU_TOO_NEW_FOR_CUDA,
                    capability=dotted(one),
                    minimum=dotted(first_cuda(one)),
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
    name = dotted(parts)
    warnings = []
    exact = [release for release in releases if release.number == parts]
    if minor[0] in MAJOR_DRIVERS and driver.numbers and driver.numbers < numbers(MAJOR_DRIVERS[minor[0]]):
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
            f"CUDA {name} is not among the releases known here; only the build will show whether its base image exists."
        )
    return name, warnings


def _chosen(
    engine: EngineVersion,
    target: Pair,
    driver: Driver,
    distribution: str,
    features: Sequence[str],
    errors: list[StackError],
) -> str:
    """The newest CUDA that the engine builds with, that compiles for the GPU and that the driver runs."""
    first = pair(DISTRIBUTIONS[distribution])
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
            name for name, cuda in DISTRIBUTIONS.items() if any(pair(cuda) <= pair(one) for one in engine.cuda_versions)
        ]
        which = f" with a CUDA that builds mistral.rs {engine.version}"
        errors.append(StackError(BASE_UNSUPPORTED, distribution=distribution, which=which, known=", ".join(others)))
    elif not fits:
        errors.append(
            StackError(
                GPU_TOO_NEW_FOR_CUDA,
                capability=dotted(target),
                minimum=dotted(first_cuda(target)),
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
                f"{distribution} for compute capability {dotted(target)},",
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
        errors.append(StackError(NO_CUDNN_IMAGE, cuda=dotted(cuda), minimum=dotted(_CUDNN_SINCE)))
    if "flash-attn" in features and target < (8, 0):
        reason = f"FlashAttention needs compute capability 8.0 or newer, and the GPU has {dotted(target)}"
        errors.append(StackError(FEATURE_UNSUPPORTED, feature="flash-attn", reason=reason))
    elif "flash-attn" in features and cuda >= (13,) and not engine.flash_attn_cuda_13:
        reason = f"in mistral.rs {engine.version} FlashAttention does not compile with CUDA 13"
        errors.append(StackError(FEATURE_UNSUPPORTED, feature="flash-attn", reason=reason))
    if "flash-attn-v3" in features and target != _FLASH_ATTN_3:
        reason = (
            f"FlashAttention 3 compiles for compute capability {dotted(_FLASH_ATTN_3)} only, and the GPU has "
            f"{dotted(target)}"
        )
        errors.append(StackError(FEATURE_UNSUPPORTED, feature="flash-attn-v3", reason=reason))
    if "cutile" in features and engine.cutile_cuda and cuda < pair(engine.cutile_cuda):
        reason = (
            f"mistral.rs {engine.version} needs CUDA {engine.cutile_cuda} or newer for it, and this is {dotted(cuda)}"
        )
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
    gpu = target_of(compute_capabilities, compute_capability, engine_version.compute_minimum, engine_version, errors)
    warnings.extend(gpu.warnings)
    version = ""
    if wanted:
        version, more = _wanted(wanted, engine_version, gpu.target, compute_capabilities, runs_on, errors)
        warnings.extend(more)
        if version and gpu.target is not None:
            errors.extend(_feature_errors(engine_version, gpu.target, numbers(version), features))
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
    number = numbers(version)
    if number[:2] < pair(DISTRIBUTIONS[distribution]):
        warnings.append(
            f"nvidia/cuda has been seen with {distribution} from CUDA {DISTRIBUTIONS[distribution]} on; only the "
            f"build will show whether there is an image of {version}."
        )
    if distribution == _OLD_COMPILER and (engine_version.cutlass or "flash-attn" in features):
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
