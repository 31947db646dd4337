# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result and the progress of a function that runs as a job, as files in the job's directory.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

C(progress.json) is replaced again and again, C(result.json) written once. C(progress.tmp) and C(result.tmp) are being
written. None of them contains what the function was given.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError

# No more of a file is read, in bytes.
MAX_BYTES = 4 << 20
# Kept on the disk from the start, so that a full disk can be reported too, in bytes.
_RESULT_BYTES = 64 << 10
NAMES = ("progress.json", "progress.tmp", "result.json", "result.tmp")


def failure(error: StackError) -> dict[str, Any]:
    """How a result says that the job failed."""
    return {"error": {"id": error.id, "msg": str(error)}}


def read(folder: str, name: str) -> dict[str, Any]:
    """A file of the job; {} if it is missing or was not written to the end."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return _load(file.fileno())
    except OSError:
        return {}


def write(folder: str, name: str, data: dict[str, Any]) -> None:
    """Replace a file of the job; not synced, since no job outlives a crash of the host. Raises OSError."""
    temporary = os.path.join(folder, name.replace("json", "tmp"))
    content = json.dumps(data, separators=(",", ":"), default=str).encode()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        # Over what is there, so that the room that was reserved is used.
        position = 0
        while position < len(content):
            position += os.pwrite(descriptor, content[position:], position)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)
    os.rename(temporary, os.path.join(folder, name))


def reserve(folder: str) -> None:
    """Reserve room on the disk for the result. Raises OSError."""
    path = os.path.join(folder, "result.tmp")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _RESULT_BYTES)
    except OSError as error:
        # Some file systems can't reserve.
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(descriptor)


@contextmanager
def open_result(folder: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """Gives a function that reads the result, also after another process has taken it; {} if it can't.

    The file for the result is there from the job's start, and an open file outlives its name.
    """
    descriptor = None
    for name in ("result.tmp", "result.json"):
        with suppress(OSError):
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC)
            break
    try:
        yield lambda: {} if descriptor is None else _load(descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def version(folder: str) -> int:
    """A number that differs from one result to the next; 0 without a result."""
    try:
        return os.lstat(os.path.join(folder, "result.json")).st_mtime_ns
    except OSError:
        return 0


def _load(descriptor: int) -> dict[str, Any]:
    try:
        data = json.loads(os.pread(descriptor, MAX_BYTES, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
