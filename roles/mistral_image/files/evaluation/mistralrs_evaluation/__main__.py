# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(python -m mistralrs_evaluation) is the image's C(mistralrs) command."""

from __future__ import annotations

from mistralrs_evaluation.cli import main

if __name__ == "__main__":
    main()
