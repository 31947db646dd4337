# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remembers which running container has passed a proof, so that a run that changes nothing does not repeat it.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

The record is a JSON object: {"container": id, "started_at": time, "passed": {model: proof}}. A
container that was started again has passed nothing yet, whatever started it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._files.atomic import write_atomically


@dataclass(frozen=True)
class Run:
    """One life of a container, from its start to its end."""

    container: str
    started_at: str

    @property
    def known(self) -> bool:
        return bool(self.container and self.started_at)


def _passed(path: str, run: Run) -> dict[str, Any]:
    """What this run has passed. A file that is missing or damaged says nothing."""
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict) or Run(str(record.get("container")), str(record.get("started_at"))) != run:
        return {}
    passed = record.get("passed")
    return passed if isinstance(passed, dict) else {}


def has_passed(path: str, run: Run, model: str, proof: str) -> bool:
    """Whether this run of the container has already passed this proof with the model."""
    return run.known and _passed(path, run).get(model) == proof


def remember(path: str, run: Run, model: str, proof: str) -> None:
    """Record it in one step: a run that is killed leaves the old file. Raises OSError if that fails."""
    if not run.known:
        return
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, mode=0o755, exist_ok=True)
    record = {
        "container": run.container,
        "started_at": run.started_at,
        "passed": {**_passed(path, run), model: proof},
    }
    write_atomically(path, f"{json.dumps(record, indent=1, sort_keys=True)}\n".encode())
