# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image that is on a host says of itself.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import engine_of
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import text_of


def image_result(inspected: Mapping[str, Any], reference: str) -> dict[str, Any]:
    """The role's result from C(docker image inspect): what the labels say, and the image's digest.

    Without a registry's digest it is the image's id, which is one of its configuration. C(command_generation) follows
    from the engine's version where no label has it.
    """
    labels = (inspected.get("Config") or {}).get("Labels") or {}

    def label(name: str) -> str:
        return str(labels.get(f"io.mistralrs.stack.{name}") or "")

    version = label("engine_version")
    generation = label("command_generation")
    if version and not generation:
        with suppress(StackError):
            generation = text_of(engine_of(version).generation)
    digests = inspected.get("RepoDigests") or []
    return {
        "reference": reference,
        "digest": str(digests[0]).rpartition("@")[2] if digests else str(inspected.get("Id") or ""),
        "engine_version": version,
        "source": label("source"),
        "evaluation": label("source") == "evaluation",
        "command_generation": generation,
        "cuda_version": label("cuda"),
        "compute_capabilities": [one for one in label("compute_capabilities").split(",") if one],
        "labels": dict(labels),
    }
