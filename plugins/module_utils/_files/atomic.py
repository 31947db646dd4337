# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are replaced in one step and survive a power failure.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import tempfile


def sync_directory(path: str) -> None:
    """Make names that were added to or removed from a directory durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stage(path: str, content: bytes, mode: int) -> str:
    """Write a file beside C(path), durably, and return its path; renaming it to C(path) publishes it.

    Its name begins with a dot, so that programs that include C(*.conf) and the like do not read it. Nobody but the
    owner can read it before it is complete. Raises OSError, and leaves nothing behind then.
    """
    descriptor, staged = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(staged)
        raise
    return staged


def write_atomically(path: str, content: bytes, mode: int = 0o644) -> None:
    """Replace a file in one step: a killed process leaves the old file or the new one, whole. Raises OSError."""
    staged = stage(path, content, mode)
    try:
        os.replace(staged, path)
    except BaseException:
        os.unlink(staged)
        raise
    sync_directory(os.path.dirname(path) or ".")
