# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may write to the store and its files; links and special files are refused.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._store.disk_space import STORE_UNUSABLE, store_errors
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted, model_path, store_path

DESTINATION_UNSAFE = Fault(
    "model.destination_unsafe",
    "Model {name}: {path} is {what}, not a plain file of the store.",
    "Move it away; the store replaces only files of its own.",
)
STORE_UNTRUSTED = Fault(
    "model.store_untrusted",
    "Model {name}: the store's directory {path} can't be trusted: {why}.",
    "Make root its owner and remove all others' write permission (chown root, chmod go-w), or use another directory.",
)


def _user(number: int) -> str:
    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"the user {number}"


def is_ours(status: os.stat_result) -> bool:
    """Whether a file belongs to root or to this user, and only its owner may write to it."""
    # A group of the owner's own number is the owner's alone.
    writers = 0o002 if status.st_gid == status.st_uid else 0o022
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & writers


def _distrust(status: os.stat_result) -> str:
    """Why nothing in a directory can be relied on; '' if it can."""
    if status.st_uid not in (0, os.geteuid()):
        return f"it belongs to {_user(status.st_uid)}"
    return "" if is_ours(status) else f"others than its owner may write to it (mode {stat.S_IMODE(status.st_mode):04o})"


def check_store(wanted: Wanted) -> None:
    """Refuse a store that is not named plainly, or in which others could exchange files behind the records.

    Raises C(model.store_unusable) and C(model.store_untrusted).
    """
    if not os.path.isabs(wanted.store):
        raise StackError(STORE_UNUSABLE, name=wanted.name, path=wanted.store, why="it is not an absolute path")
    own = store_path(wanted, ".store")
    for path in (wanted.store, own, os.path.join(own, "incoming"), os.path.join(own, "jobs")):
        with store_errors(wanted), suppress(FileNotFoundError, NotADirectoryError):
            # The store itself may be a link, if it is root's.
            link, status = os.lstat(path), os.stat(path) if path == wanted.store else os.lstat(path)
            why = _distrust(status) if stat.S_ISDIR(status.st_mode) else ""
            if not why and stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
                why = f"it is a link that belongs to {_user(link.st_uid)}"
            if why:
                raise StackError(STORE_UNTRUSTED, name=wanted.name, path=path, why=why)
    path = os.path.realpath(wanted.store)
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        with suppress(OSError):
            mode = os.stat(path).st_mode
            # Where the sticky bit is set only the owner of a directory can rename it.
            if mode & 0o002 and not mode & stat.S_ISVTX:
                why = f"anyone may replace files in {path} (mode {stat.S_IMODE(mode):04o})"
                raise StackError(STORE_UNTRUSTED, name=wanted.name, path=wanted.store, why=why)


def plain_status(wanted: Wanted, path: str) -> os.stat_result | None:
    """The status of a plain file of the store, or None; anything else under that name is refused."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    what = ""
    if stat.S_ISLNK(status.st_mode):
        what = "a symbolic link"
    elif stat.S_ISDIR(status.st_mode):
        what = "a directory"
    elif not stat.S_ISREG(status.st_mode):
        what = "a special file"
    elif status.st_nlink > 1:
        what = f"one of {status.st_nlink} hard links"
    if what:
        raise StackError(DESTINATION_UNSAFE, name=wanted.name, path=path, what=what)
    return status


def directory_status(wanted: Wanted) -> os.stat_result | None:
    """The status of the directory of a model of several files, or None."""
    path = model_path(wanted, directory=True)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        raise StackError(DESTINATION_UNSAFE, name=wanted.name, path=path, what="not a directory")
    if why := _distrust(status):
        raise StackError(STORE_UNTRUSTED, name=wanted.name, path=path, why=why)
    return status


def read_small(path: str, limit: int) -> bytes:
    """The content of a small file, without following a link; b'' if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit)
