# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """How the filter that plans the engine reports errors."""

    DOCUMENTATION = r"""
options:
  fail:
    description:
      - Whether the filter fails if something is wrong.
      - With V(false), it then returns only C(errors), the list of errors.
    type: bool
    default: true
"""
