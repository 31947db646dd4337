# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator should know before an image is made: the quicker way, and how versions differ.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

How long a build takes: mistral.rs 0.8.1 with the feature cuda, for one compute capability and without FlashAttention,
took 58 CPU minutes (measured, with most crates at opt-level 1). From v0.8.4 on FlashAttention has eight source files
for heads of 512 (C(mistralrs-flash-attn)), and upstream's build waits about 90 minutes for them (a comment in
C(.github/workflows/release.yml) at v0.9.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import DEFAULT_VERSION, RELEASES
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackErrors
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import parse, text_of
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.cuda_releases import oldest
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import (
    EngineVersion,
    engine_version,
    number_of,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.published import published_tag

_CPU_MINUTES = 58
# What one crate waits for another can't be done at once, however many cores there are.
_LEAST_MINUTES = 10
_LARGEST_KERNELS = 8
_LARGEST_KERNEL_MINUTES = 90
_FROM_HERE_HOURS = 120
# A release's archives with CUDA and its libraries, as upstream's images have them.
_DOWNLOAD_GB = 4


def build_time(engine: EngineVersion, features: Sequence[str], cores: int) -> str:
    """How long a build takes, in words: an honest range from the little that was measured."""
    least = max(_LEAST_MINUTES, -(-_CPU_MINUTES // max(cores, 1)))
    most = 2 * least
    if "flash-attn" in features and engine.large_flash_attn:
        together = 2 * _CPU_MINUTES + _LARGEST_KERNELS * _LARGEST_KERNEL_MINUTES
        most = max(_LARGEST_KERNEL_MINUTES, -(-together // max(cores, 1)))
    if most < _FROM_HERE_HOURS:
        return f"about {least} to {most} minutes"
    return f"about {least} minutes to {-(-most // 60)} hours"


def quick_way(engine: EngineVersion, plan: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """A sentence that offers upstream's image in place of the plan's build; empty if there is none for driver and GPU.

    Of a commit after a release it is the release's image, with the defects that this still has. Who asked for a commit,
    an archive or features of their own gets no offer: upstream's image has not what they asked for. C(settings) are
    those of image_plan, with the builder's C(cores).
    """
    own = any(settings.get(key) for key in ("commit", "archive_url", "features"))
    release = text_of(number_of(engine.version)[:3])
    if own or release not in RELEASES or not plan["compute_capabilities"]:
        return ""
    offered = engine_version(release)
    try:
        published = published_tag(
            oldest(settings.get("driver")),
            plan["compute_capabilities"],
            offered,
            str(settings.get("architecture") or ""),
            driver_cuda=oldest(settings.get("driver_cuda")),
        )
    except StackErrors:
        return ""
    cores = int(settings.get("cores") or 0)
    on = f" on {cores} cores" if cores > 1 else " on one core" if cores else ""
    features = str(plan["dockerfile"]["build"]["FEATURES"]).split(",")
    lacks = [sentence for sentence in offered.defects if sentence not in engine.defects]
    drawback = f" It has defects that {engine.version} is without: {' '.join(lacks)}" if lacks else ""
    version = f" and mistral_image_mistralrs_version: {release}" if lacks else ""
    return (
        f"The build compiles for {build_time(engine, features, cores)}{on}. Upstream publishes {published.reference} "
        f"for this GPU and driver: set mistral_image_source: pull{version} to have it in the time of a download (about "
        f"{_DOWNLOAD_GB} GB).{drawback}"
    )


def evaluation_warnings(version: str) -> list[str]:
    """What to know about the evaluation engine of a version."""
    number, newest = parse(version), number_of(DEFAULT_VERSION)
    if not number or number <= newest:
        return []
    return [
        f"The evaluation engine is mistral.rs {version}, newer than {DEFAULT_VERSION}, which hosts with GPUs get: "
        "answers and supported models can differ there."
    ]
