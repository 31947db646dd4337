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
