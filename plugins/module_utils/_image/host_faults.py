# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a host of images, as both the modules and the role's own checks report it.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault

DISK_FULL = Fault(
    "image.disk_full",
    "The engine image needs {needed} MB on {place} of {host}, but only {free} MB are free.",
    "Free some space or move Docker's data-root to a bigger disk.",
)
MODEL_UNUSABLE = Fault(
    "image.proof_model_unusable",
    "'mistral_image_proof_model' is {path}, which on {host} {why}.",
    "Give the path of a GGUF file there, or leave it empty to skip the completion of the smoke test.",
)
