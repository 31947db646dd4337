# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of upstream's for a driver and GPUs.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import ROWS, row_of
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError, StackErrors
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import text_of
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.compute_capability import (
    capability,
    listed,
    target_of,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.cuda import (
    ARCHITECTURE_UNSUPPORTED,
    ARCHITECTURES,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.cuda_releases import (
    TOOLKIT_DRIVERS,
    Driver,
    dotted,
    driver_of,
    newest_cuda,
    pair,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import EngineVersion, number_of

NO_PUBLISHED_IMAGE = Fault(
    "image.no_published_image",
    "Upstream has no image of mistral.rs {engine} for this host: {reason}.",
    "{way_out}",
    "Set mistral_image_source: build, or use a version or a GPU for which there is an image.",
)
PUBLISHED_REPOSITORY = "ghcr.io/ericlbuehler/mistral.rs"


class PublishedImage(NamedTuple):
    """One of upstream's images: C(ghcr.io/ericlbuehler/mistral.rs:cuda132-sm89-0.9.2)."""

    reference: str
    cuda_version: str
    capabilities: tuple[str, ...]
    warnings: tuple[str, ...]


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
    gpu = target_of(compute_capabilities, compute_capability, "0.0", engine_version, errors)
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
    row = row_of(number).published
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
        if gpu.target < pair(engine_version.compute_minimum):
            way_out = f"Use a GPU of {engine_version.compute_minimum} or newer."
            if sm in ROWS[0].published.capabilities.get(kind, ()):
                way_out = f"{way_out[:-1]}, or set mistral_image_mistralrs_version: 0.6.0."
        raise none(
            f"on {kind} they are for compute capability {listed(capability(one) for one in there)}, and the GPU has "
            f"{dotted(gpu.target)}",
            way_out,
        )
    lanes = [cuda for cuda, capabilities in row.lanes if sm in capabilities]
    warnings = (*engine_version.warnings, *gpu.warnings)
    if runs_on.numbers:
        newest = newest_cuda(runs_on)
        fits = [cuda for cuda in lanes if newest and pair(cuda) <= pair(newest)]
        if not fits:
            runs = f"runs CUDA {newest} at most" if newest else "is older than CUDA 11.7"
            needed = next(driver for name, driver in TOOLKIT_DRIVERS.items() if name.startswith(f"{lanes[0]}."))
            raise none(
                f"for compute capability {dotted(gpu.target)} they start at CUDA {lanes[0]}, and NVIDIA driver "
                f"{driver} {runs}",
                f"Update the driver to {needed} or newer, or set mistral_image_source: build.",
            )
        cuda = fits[-1]
    else:
        cuda = lanes[0]
        warnings += (f"No NVIDIA driver is known; the image needs one that runs CUDA {cuda}.",)
    tag = row.tag.format(cuda=cuda.replace(".", ""), sm=sm, version=version)
    return PublishedImage(f"{PUBLISHED_REPOSITORY}:{tag}", cuda, (sm,), warnings)
