# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of configuration files changed as one: staged in a copy, tried there, then put in place.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from typing import Callable, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

PATH_OUTSIDE = Fault(
    "gateway.path_outside",
    "The file {path} is not within the folder of the configuration.",
    "Give its path relative to that folder, without '..'.",
)
NOT_WRITTEN = Fault(
    "gateway.configuration_not_written",
    "The configuration in {root} could not be written: {problem}.",
    "What was there before is unchanged; check the disk's space and whether it is mounted read-only.",
)

# Larger files in a folder of configuration files hold no paths that matter (GeoIP tables, for instance).
TEXT_LIMIT = 1024 * 1024


class Wanted(NamedTuple):
    """One file as it shall be; C(content) is L{None} where there shall be none."""

    path: str
    content: bytes | None
    mode: int
    secret: bool


class Change(NamedTuple):
    """A file that is not as it shall be, with what is there now."""

    wanted: Wanted
    before: bytes | None
    mode_before: int | None


def checked_path(path: str) -> str:
    """The normalized relative path; one that leads out of the folder is refused."""
    normal = os.path.normpath(path)
    if not path or os.path.isabs(path) or normal.split(os.sep)[0] in (os.curdir, os.pardir):
        raise StackError(PATH_OUTSIDE, path=path or "''")
    return normal


def changes(root: str, wanted: list[Wanted]) -> list[Change]:
    """What is to be done in the folder, in the order given."""
    found = []
    for one in wanted:
        path = os.path.join(root, one.path)
        before, mode = None, None
        if os.path.lexists(path):
            # A link counts by where it leads, but only a file of our own has a mode to correct.
            mode = None if os.path.islink(path) else stat.S_IMODE(os.stat(path).st_mode)
            try:
                with open(path, "rb") as file:
                    before = file.read()
            except OSError:
                before = b""
        different = before != one.content or (one.content is not None and mode != one.mode)
        if different:
            found.append(Change(one, before, mode))
    return found


def relocated(content: bytes, root: str, stage: str) -> bytes:
    """The text with each absolute path into C(root) leading into C(stage) instead."""
    pattern = rb"(?<![\w./-])" + re.escape(os.fsencode(root)) + rb"(?=/|[\s;\"'}]|$)"
    return re.sub(pattern, lambda match: os.fsencode(stage), content)


def stage_copy(root: str, stage: str, todo: list[Change]) -> None:
    """Make C(stage) what C(root) would be after the changes; all in it refers to C(stage) itself."""
    if os.path.isdir(root):
        shutil.copytree(root, stage, symlinks=True, dirs_exist_ok=True)
    for change in todo:
        path = os.path.join(stage, change.wanted.path)
        if os.path.lexists(path):
            os.unlink(path)
        if change.wanted.content is not None:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(change.wanted.content)
    for folder, _folders, names in os.walk(stage):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                target = os.readlink(path)
                moved = os.fsdecode(relocated(os.fsencode(target), root, stage))
                if moved != target:
                    os.unlink(path)
                    os.symlink(moved, path)
            elif os.path.isfile(path) and os.path.getsize(path) <= TEXT_LIMIT:
                with open(path, "rb") as file:
                    content = file.read()
                moved_content = relocated(content, root, stage)
                if moved_content != content:
                    with open(path, "wb") as file:
                        file.write(moved_content)


def apply(root: str, todo: list[Change], rename: Callable[[str, str], None] = os.rename) -> None:
    """Put the changes in place: all is written beside its place first, and undone if one renaming fails."""
    ready: list[tuple[str, str]] = []
    done: list[tuple[str, str]] = []
    try:
        for change in todo:
            path = os.path.join(root, change.wanted.path)
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            if change.wanted.content is not None:
                ready.append((_written(path, change.wanted.content, change.wanted.mode), path))
        try:
            for change in todo:
                path = os.path.join(root, change.wanted.path)
                if os.path.lexists(path):
                    kept = _free_name(path)
                    os.link(path, kept, follow_symlinks=False)
                    done.append((kept, path))
                else:
                    done.append(("", path))
                if change.wanted.content is None:
                    os.unlink(path)
            for new, path in ready:
                rename(new, path)
        except OSError:
            for kept, path in reversed(done):
                if kept:
                    os.rename(kept, path)
                elif os.path.lexists(path):
                    os.unlink(path)
            raise
    except OSError as error:
        raise StackError(NOT_WRITTEN, root=root, problem=error.strerror or str(error)) from error
    finally:
        for left in [new for new, _path in ready] + [kept for kept, _path in done]:
            if left and os.path.lexists(left):
                os.unlink(left)


def _free_name(path: str) -> str:
    """A name beside the file that nothing reads: Nginx includes C(*.conf) and the like, or whole folders."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}.old")


def _written(path: str, content: bytes, mode: int) -> str:
    handle, new = tempfile.mkstemp(dir=os.path.dirname(path), prefix=f".{os.path.basename(path)}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except OSError:
        os.unlink(new)
        raise
    return new


def is_stock(path: str, conffiles: str) -> bool:
    """Whether the package's own file is unchanged, by the checksums that dpkg keeps."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
    except OSError:
        return False
    return any(line.split()[:2] == [path, digest] for line in conffiles.splitlines())
