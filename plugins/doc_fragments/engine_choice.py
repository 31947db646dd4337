# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """What the filters that plan the engine, its image and its CUDA are told."""

    DOCUMENTATION = r"""
options:
  fail:
    description:
      - Whether what is wrong makes the filter fail.
      - With V(false) the result has only C(errors), the list of what is wrong, in that case.
    type: bool
    default: true
"""

    GPUS = r"""
options:
  compute_capabilities:
    description: The compute capabilities of all GPUs that are to run the image, such as V(8.9) or V(89).
    type: list
    elements: str
    required: true
  engine_version:
    description: The version of mistral.rs, as for P(mistralrs.stack.engine_build_version#filter).
    type: str
    required: true
  architecture:
    description: The hosts' processors, as Ansible calls them.
    type: str
    default: x86_64
  driver_cuda:
    description:
      - What C(nvidia-smi) reports as the CUDA of the driver. With a list the oldest counts.
      - It matters for drivers that are newer than this collection. Anything but a version counts as nothing.
    type: raw
"""
