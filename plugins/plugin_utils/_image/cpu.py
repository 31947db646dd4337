# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an engine image without CUDA is built upon and for.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

The quantized kernels of candle choose AVX2 or NEON when they are compiled, not when they run
(C(candle-core/src/quantized/k_quants.rs), C(#[cfg(target_feature = "avx2")])). NEON is part of every aarch64; on x86_64
the generic target has SSE2 only and is much slower.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError, StackErrors
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.cuda import unknown_features
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import EngineVersion
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.values import (
    VALUE_INVALID,
    list_of,
    text_of,
    words_of,
)

BASE_DISTRIBUTION_UNKNOWN = Fault(
    "image.base_distribution_unknown",
    "mistral_image_base_distribution is {distribution!r}, for which no base image is known (known are {known}).",
    "Set it to one of these, or mistral_image_devel_base and mistral_image_runtime_base to images of your own.",
)
FEATURE_NEEDS_CUDA = Fault(
    "image.feature_needs_cuda",
    "The feature {feature} in mistral_image_features needs CUDA, but the image is built for the CPU.",
    "Leave it out of mistral_image_features, or set mistral_image_device: cuda.",
)

PROCESSOR_UNSUPPORTED = Fault(
    "image.processor_unsupported",
    "The engine can't be built for processors of type {architecture!r}.",
    "Use hosts of x86_64 or aarch64.",
)

DEVICES = ("auto", "cuda", "cpu")
# The images of the distributions themselves, by the names that NVIDIA's images have too where they exist.
DISTRIBUTIONS: Mapping[str, str] = {
    "ubuntu22.04": "ubuntu:22.04",
    "ubuntu24.04": "ubuntu:24.04",
    "ubuntu26.04": "ubuntu:26.04",
    "debian12": "debian:12-slim",
    "debian13": "debian:13-slim",
    "ubi8": "redhat/ubi8",
    "ubi9": "redhat/ubi9",
}
# Cargo features that are nothing without CUDA (mistralrs-cli/Cargo.toml at 0.7.0 to 0.9.2).
_OF_CUDA = ("cuda", "cudnn", "cutile", "flash-attn", "flash-attn-v3", "nccl")
# The flags of /proc/cpuinfo that x86-64-v3 stands for (the psABI's list; `abm` is LZCNT, `xsave` stands for OSXSAVE).
_X86_64_V3 = frozenset(("abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"))
GENERIC = "generic"


class CpuBuild(NamedTuple):
    """The bases as references without a digest, cargo's features, the processor that the code is for, and warnings."""

    devel: str
    runtime: str
    features: list[str]
    target_cpu: str
    warnings: tuple[str, ...]


def target_cpu(architecture: str, own_architecture: str, flags: str) -> str:
    """The processor to compile for, from the builder's C(flags) in C(/proc/cpuinfo).

    An image for another architecture than the builder's is for any processor of that.
    """
    if architecture != "x86_64" or own_architecture not in ("", "x86_64"):
        return GENERIC
    return "x86-64-v3" if set(flags.partition(":")[2].split()) >= _X86_64_V3 else GENERIC


def is_for_cpu(settings: Mapping[str, Any]) -> bool:
    """Whether the image is built without CUDA: as it was said, or since there is no GPU that it could be for.

    What tells of a GPU: one that was found, a compute capability, a driver, a version of CUDA, a feature that needs
    CUDA, and other hosts of the group gpu_hosts that have not been looked at.
    """
    device = text_of(settings, "device") or "auto"
    if device not in DEVICES:
        raise StackError(VALUE_INVALID, variable="mistral_image_device", value=device, expected=" or ".join(DEVICES))
    if device != "auto":
        return device == "cpu"
    told = ("compute_capability", "compute_capabilities", "cuda_version", "driver", "gpus_found", "hosts_not_seen")
    return not any(_tells(settings.get(key)) for key in told) and not set(words_of(settings, "features")) & set(
        _OF_CUDA
    )


def _tells(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(str(one).strip() for one in value)
    return str(value or "").strip() not in ("", "0")


def cpu_build(settings: Mapping[str, Any], engine: EngineVersion) -> CpuBuild:
    """What to build the engine upon and for.

    Raises StackError C(image.base_distribution_unknown), C(image.feature_needs_cuda) and, as StackErrors,
    C(image.feature_unsupported).
    """
    features = words_of(settings, "features")
    for feature in features:
        if feature in _OF_CUDA:
            raise StackError(FEATURE_NEEDS_CUDA, feature=feature)
    unknown = unknown_features(engine, features)
    if unknown:
        raise StackErrors(unknown)
    own = [text_of(settings, key) for key in ("devel_base", "runtime_base")]
    distribution = text_of(settings, "base_distribution")
    if not all(own) and distribution not in DISTRIBUTIONS:
        raise StackError(BASE_DISTRIBUTION_UNKNOWN, distribution=distribution, known=", ".join(DISTRIBUTIONS))
    base = DISTRIBUTIONS.get(distribution, "")
    warnings: tuple[str, ...] = ()
    if _tells(settings.get("gpus_found")):
        warnings = (
            "mistral_image_device is cpu, so the engine can't use the GPUs that were found; set "
            "mistral_server_gpus: [] where it is to run.",
        )
    return CpuBuild(
        devel=base,
        runtime=base,
        features=features,
        target_cpu=target_cpu(
            text_of(settings, "architecture"),
            text_of(settings, "own_architecture"),
            " ".join(list_of(settings, "processor_flags")),
        ),
        warnings=warnings,
    )
