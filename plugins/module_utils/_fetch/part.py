# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that is being downloaded, and the record beside it of what it is a part of.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

PART_UNSAFE = Fault(
    "model.part_unsafe",
    "Model {name}: {path} is not a plain file of the store.",
    "Move it away; the store writes only to files of its own.",
)


class Part:
    """The file that is being downloaded, and the record of what it is a part of."""

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.record_path = path + ".json"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self.descriptor = os.open(path, flags, 0o600)
            status = os.fstat(self.descriptor)
        except OSError as error:
            if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
                raise StackError(PART_UNSAFE, name=name, path=path) from None
            raise error
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            os.close(self.descriptor)
            raise StackError(PART_UNSAFE, name=name, path=path)
        self.offset = status.st_size

    def record(self) -> dict[str, Any]:
        """What the part was begun as; {} if that is not known."""
        try:
            descriptor = os.open(self.record_path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                known = json.loads(file.read(1 << 16))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def begin(self, record: dict[str, Any]) -> None:
        """Empty the part and say what it is going to be, in this order: an old part never gets a new record."""
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        self.offset = 0
        temporary = self.record_path + ".new"
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.replace(temporary, self.record_path)

    def remove(self) -> None:
        """Forget the part."""
        for path in (self.path, self.record_path):
            with suppress(FileNotFoundError):
                os.unlink(path)

    def close(self) -> None:
        """Give the file back."""
        os.close(self.descriptor)
