# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one image is built from and how, and where the files of that build lie.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Callable, NamedTuple

Run = Callable[..., "tuple[int, str, str]"]
INPUTS_LABEL = "io.mistralrs.stack.inputs"


class BuildOptions(NamedTuple):
    """The options of the module image_build, which documents each."""

    reference: str
    inputs: str
    context: Mapping[str, str]
    labels: Mapping[str, str]
    bases: Mapping[str, str]
    arguments: Mapping[str, str]
    secrets: Mapping[str, str]
    environment: Mapping[str, str]
    git: Mapping[str, str]
    reach: Mapping[str, str]
    authorities: str
    platform: str
    jobs: int
    program: str
    version: str
    gpu: bool
    gpu_access: str
    proof_model: str
    scan_fail_on: str
    keep: int
    minimum_free_mb: int
    path: str
    host: str

    @property
    def id(self) -> str:
        """The name of the build: the beginning of the hash of its inputs."""
        return self.inputs[:16]

    @property
    def folder(self) -> str:
        """The directory of the build's own files."""
        return os.path.join(self.path, "builds", self.id)

    @property
    def log(self) -> str:
        """The build's log."""
        return os.path.join(self.folder, "log")

    @property
    def images(self) -> str:
        """The directory with the records of all images."""
        return os.path.join(self.path, "images")
