# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compute capability that an image is built for, from those of the GPUs that run it.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

Sources: the PTX ISA's release notes (targets), and mistral.rs and cudaforge at their tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.cuda_releases import Pair, dotted, pair
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import EngineVersion

GPU_TOO_OLD_FOR_ENGINE = Fault(
    "image.gpu_too_old_for_engine",
    "mistral.rs {engine} needs GPUs of compute capability {minimum} or newer, but there is one of {capability}.",
    "{way_out}",
    "Use an older mistral.rs or a newer GPU, leave the GPU out with gpu.devices, or set mistral_image_source: "
    "evaluation.",
)
CAPABILITIES_DIFFER = Fault(
    "image.capabilities_differ",
    "An image is for one compute capability, but the GPUs have {capabilities}.",
    "{way_out}",
    "Set mistral_image_compute_capability to one that all GPUs run, give each kind of GPU hosts of its own, "
    "or leave GPUs out with gpu.devices.",
)
CAPABILITY_UNKNOWN = Fault(
    "image.capability_unknown",
    "The GPUs that will run the image are not known: no compute capability was found or given.",
    "Set mistral_image_compute_capability, to 8.9 for example, or install the driver first; without any GPU, set "
    "mistral_image_device: cpu.",
)
CAPABILITY_INVALID = Fault(
    "image.capability_invalid",
    "{capability!r} is not a compute capability.",
    "Give two numbers such as 8.9 (`nvidia-smi --query-gpu=compute_cap --format=csv,noheader` shows it).",
)
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
_CAPABILITY = re.compile(r"(\d{1,2})\.(\d)\Z|(\d{1,2})(\d)\Z", re.ASCII)


def capability(text: str) -> Pair:
    """The two numbers of a compute capability, written C(8.9) or C(89). Raises C(image.capability_invalid)."""
    match = _CAPABILITY.match(text)
    if not match:
        raise StackError(CAPABILITY_INVALID, capability=text)
    major, minor = match.group(1) or match.group(3), match.group(2) or match.group(4)
    return int(major), int(minor)


class Target(NamedTuple):
    """The capability that is built for, or none, with what was found wrong on the way."""

    target: Pair | None
    warnings: tuple[str, ...]


def target_of(
    found: Sequence[str], wanted: str, minimum: str, engine: EngineVersion, errors: list[StackError]
) -> Target:
    """What to build for: the one capability that the GPUs share, or the one that was set by hand."""
    try:
        gpus = sorted({capability(str(one)) for one in found})
        chosen = capability(wanted) if wanted else None
    except StackError as error:
        errors.append(error)
        return Target(None, ())
    if not gpus and chosen is None:
        errors.append(StackError(CAPABILITY_UNKNOWN))
        return Target(None, ())
    asked = sorted({*gpus, *([chosen] if chosen else [])})
    errors.extend(_too_old(engine, one, minimum) for one in asked if one < pair(minimum))
    # The others are judged as if those that can't run the engine were left out.
    gpus = [one for one in gpus if one >= pair(minimum)]
    if chosen is None and len(gpus) > 1:
        errors.append(StackError(CAPABILITIES_DIFFER, capabilities=listed(gpus), way_out=_one_of_several(gpus)))
    if chosen is None and len(gpus) != 1:
        return Target(None, ())
    target = chosen or gpus[0]
    warnings: tuple[str, ...] = ()
    others = [one for one in gpus if one != target]
    unfit = [one for one in others if not _shares(one, target)]
    if unfit:
        errors.append(
            StackError(
                CAPABILITIES_DIFFER,
                capabilities=f"{listed(gpus)}, and code for {dotted(target)} doesn't run on {listed(unfit)}",
                way_out=_one_of_several(gpus),
            )
        )
    elif others:
        warnings = (
            f"The image is for compute capability {dotted(target)}; GPUs of {listed(others)} may be slower than with "
            "one made for them.",
        )
    if dotted(target) not in CAPABILITY_CUDA and target > pair(minimum):
        warnings += (
            f"Compute capability {dotted(target)} is not known here; only the build will show whether CUDA "
            "supports it.",
        )
    return Target(target, warnings)


def listed(capabilities: Iterable[Pair]) -> str:
    """Compute capabilities as a list for people: 8.0, 9.0."""
    return ", ".join(dotted(one) for one in capabilities)


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
            f"Set mistral_image_compute_capability to {dotted(gpus[0])}, whose code all of them run, or leave the "
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
        GPU_TOO_OLD_FOR_ENGINE, engine=engine.version, minimum=minimum, capability=dotted(one), way_out=way_out
    )


def first_cuda(target: Pair | None) -> Pair:
    """The oldest CUDA that compiles for a capability."""
    return pair(CAPABILITY_CUDA.get(dotted(target), "0.0")) if target else (0, 0)


def valid_capabilities(capabilities: Sequence[str]) -> list[Pair]:
    """Those of the texts that are compute capabilities, sorted, each once."""
    return sorted({capability(str(one)) for one in capabilities if _CAPABILITY.match(str(one))})
