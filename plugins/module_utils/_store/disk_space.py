# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk under the store: its free space, and its errors as faults.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.existing_folder import existing_folder
from ansible_collections.mistralrs.stack.plugins.module_utils._files.local import readable, reserve
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted

NO_SPACE = Fault(
    "model.no_space",
    "Model {name}: {path} has {free} free, but {need} are needed.",
    "Make room or put 'mistral_models_path' on a larger disk.",
)
QUOTA_EXCEEDED = Fault(
    "model.quota_exceeded",
    "Model {name}: the disk quota for {path} is used up, although the disk itself has {free} free.",
    "Raise the quota of the user who runs the module, or put 'mistral_models_path' where there is none.",
)
STORE_UNUSABLE = Fault(
    "model.store_unusable",
    "Model {name}: {path} can't be used: {why}.",
    "Check the disk, its mount options and the permissions of the store.",
)


def free_bytes(path: str) -> int:
    """Free space where a directory is or will be."""
    status = os.statvfs(existing_folder(path))
    return status.f_bavail * status.f_frsize


def needed_space(wanted: Wanted, size: int | None) -> None:
    """Refuse what does not fit on the disk; C(size) is what is still to be written."""
    free, spare = free_bytes(wanted.store), reserve(os.statvfs(existing_folder(wanted.store)))
    if size is not None and size + spare > free:
        need = readable(size + spare)
        raise StackError(NO_SPACE, name=wanted.name, path=wanted.store, free=readable(free), need=need)


@contextmanager
def store_errors(wanted: Wanted) -> Iterator[None]:
    """Turn errors of the file system into faults."""
    try:
        yield
    except OSError as error:
        path = str(error.filename or wanted.store)
        if error.errno == errno.EDQUOT:
            free = readable(free_bytes(wanted.store))
            raise StackError(QUOTA_EXCEEDED, name=wanted.name, path=wanted.store, free=free) from None
        if error.errno == errno.ENOSPC:
            free = readable(free_bytes(wanted.store))
            raise StackError(NO_SPACE, name=wanted.name, path=wanted.store, free=free, need="more") from None
        raise StackError(STORE_UNUSABLE, name=wanted.name, path=path, why=error.strerror or error) from None
