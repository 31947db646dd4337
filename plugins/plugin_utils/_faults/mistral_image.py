# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role mistral_image refuses and reports.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault
from ansible_collections.mistralrs.stack.plugins.module_utils._image.host_faults import DISK_FULL, MODEL_UNUSABLE

FAULTS = (
    Fault(
        "image.load_archive_differs",
        "The archive {archive} has the SHA-256 {sha256}, not the one in 'mistral_image_load_sha256'.",
        "Get the right archive, or correct the checksum if it is the right one.",
    ),
    Fault(
        "image.load_failed",
        "The archive {archive} cannot be used as the engine's image on {host}: {reason}.",
        "Make it with 'docker save' from an image that this collection built, of the version in "
        "'mistral_image_mistralrs_version'.",
    ),
    Fault(
        "image.archive_missing",
        "'mistral_image_load_archive' is {archive}, which is neither a file on the controller nor an address.",
        "Give the path of the archive, or its address (https://, or file:// on the host itself).",
    ),
    Fault(
        "image.memory_too_small",
        "{host} has {memory_gb} GB of memory, but compiling the engine needs {needed_gb} GB.",
        "Build on a bigger host (group builders), or lower 'mistral_image_minimum_memory_gb'.",
    ),
    Fault(
        "image.build_failed",
        "The engine image was not built on {host}: {reason}.",
        "If a package could not be fetched, check the host's network, 'mistral_ca_certificates' and "
        "'mistral_image_pip_index_url'.",
    ),
    Fault(
        "image.unsupported_architecture",
        "{host} has a processor of type {architecture}, for which there is no evaluation engine.",
        "Use a host with {supported}.",
    ),
    Fault(
        "image.version_unavailable",
        "There is no evaluation engine of version '{version}' ('mistral_image_mistralrs_version').",
        "Set it to {supported}.",
    ),
    Fault(
        "image.ca_certificate_missing",
        "'mistral_ca_certificates' names {paths}, which is not a file on the controller.",
        "Give paths of PEM files that are there.",
    ),
    # The module image_build checks the same.
    DISK_FULL,
    MODEL_UNUSABLE,
)
