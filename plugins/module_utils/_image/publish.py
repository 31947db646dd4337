# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an image that was built to one that can be used: it is verified, listed, named and recorded.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files import text_files
from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_options import BuildOptions, Run
from ansible_collections.mistralrs.stack.plugins.module_utils._image.inventory import Inventory
from ansible_collections.mistralrs.stack.plugins.module_utils._image.preflight import NO_DOCKER
from ansible_collections.mistralrs.stack.plugins.module_utils._image.verification import Subject, Verification


def _subject(options: BuildOptions, image: str) -> Subject:
    """What is verified."""
    return Subject(
        image=image,
        labels=options.labels,
        platform=options.platform,
        program=options.program,
        version=options.version,
        gpu=options.gpu,
        gpu_access=options.gpu_access,
        proof_model=options.proof_model,
        host=options.host,
        log=options.log,
        folder=options.folder,
        name=f"mistral-image-proof-{options.id}",
    )


def publish(
    options: BuildOptions,
    run: Run,
    warn: Callable[[str], None],
    image: str,
    bases: Mapping[str, str],
    seconds: float,
) -> dict[str, Any]:
    """Give an image, by its id, its name; its record, with the proof.

    C(bases) and C(seconds) are what it was built on and how long that took. Raises StackError if the image isn't what
    was asked for; then it gets no name.
    """
    verification = Verification(_subject(options, image), run)
    proof = verification.proof()
    for warning in verification.warnings:
        warn(warning)
    bill, scan = Inventory(options, run, warn).write(verification)
    status, _out, err = run(["docker", "tag", image, options.reference])
    if status != 0:
        raise StackError(NO_DOCKER, host=options.host, why=err.strip().rstrip("."))
    record = {
        "reference": options.reference,
        "id": image,
        "inputs": options.inputs,
        "bases": bases,
        "labels": dict(options.labels),
        "built": text_files.now(),
        "seconds": round(seconds),
        "proof": proof,
        "scan": scan,
        "sbom": bill,
    }
    path = os.path.join(options.images, f"{options.id}.json")
    text_files.write(path, json.dumps(record, indent=2) + "\n", 0o644)
    return record
