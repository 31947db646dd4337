# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a folder is, or will be made: its file system is the one that counts.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os


def existing_folder(path: str) -> str:
    """The folder, or the next one above it that exists. A relative path is one of the working directory."""
    path = os.path.abspath(path or "/")
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path
