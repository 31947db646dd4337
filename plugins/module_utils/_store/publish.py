# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give finished files their final names, after they are on the disk.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
from collections.abc import Set

from ansible_collections.mistralrs.stack.plugins.module_utils._files.atomic import sync_directory
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import incoming, remove
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import (
    FILE_MODE,
    Wanted,
    incoming_path,
    model_path,
    store_path,
)


def make_durable(descriptor: int) -> None:
    """Have a finished file on the disk, with its final mode."""
    os.fchmod(descriptor, FILE_MODE)
    os.fsync(descriptor)


def publish(wanted: Wanted, path: str, descriptor: int, *final: str) -> None:
    """Make a finished file durable and give it its final name."""
    make_durable(descriptor)
    target = store_path(wanted, *final)
    os.rename(path, target)
    sync_directory(os.path.dirname(target))


def write_small(wanted: Wanted, kind: str, content: bytes, *final: str) -> None:
    """Publish a small file."""
    with incoming(wanted, kind) as (path, descriptor):
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        publish(wanted, path, descriptor, *final)


def publish_model(wanted: Wanted, path: str, names: Set[str]) -> None:
    """Give a complete model its final name: the file C(path), or a directory with files of these names."""
    if names:
        _publish_directory(wanted, path, names)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        publish(wanted, path, descriptor, wanted.file)
    finally:
        os.close(descriptor)


def _publish_directory(wanted: Wanted, folder: str, names: Set[str]) -> None:
    """Give a complete directory its final name; what was there before goes after that."""
    for parent, _folders, found in os.walk(folder):
        for name in found:
            path = os.path.join(parent, name)
            if os.path.relpath(path, folder) not in names:
                remove(path)
        os.chmod(parent, 0o755)
        sync_directory(parent)
    target = model_path(wanted, directory=True)
    old = incoming_path(wanted, "old")
    remove(old)
    if os.path.lexists(target):
        os.rename(target, old)
    os.rename(folder, target)
    sync_directory(wanted.store)
    remove(old)
