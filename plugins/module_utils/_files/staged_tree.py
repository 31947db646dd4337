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
        before, mode, owned = None, None, True
        if os.path.lexists(path):
            # A link counts by where it leads, but only a file of our own has a mode and an owner to correct.
            state = os.lstat(path)
            mode = None if stat.S_ISLNK(state.st_mode) else stat.S_IMODE(state.st_mode)
            owned = state.st_uid == os.geteuid()
            try:
                with open(path, "rb") as file:
                    before = file.read()
            except OSError:
                before = b""
        different = before != one.content or (one.content is not None and not (owned and mode == one.mode))
        if different:
            found.append(Change(one, before, mode))
    return found


def relocated(content: bytes, root: str, stage: str) -> bytes:
    """The text with each absolute path into C(root) leading into C(stage) instead."""
    pattern = rb"(?<![\w./-])" + re.escape(os.fsencode(root)) + rb"(?=/|[\s;\"'}]|$)"
    return re.sub(pattern, lambda match: os.fsencode(stage), content)


def stage_copy(root: str, stage: str, todo: list[Change]) -> None:
    """Make C(stage) what C(root) would be after the changes; all in it refers to C(stage) itself. Raises OSError."""
    if os.path.isdir(root):
        try:
            shutil.copytree(root, stage, symlinks=True, dirs_exist_ok=True)
        except shutil.Error as error:
            # It names each file that failed, of which one is enough.
            source, _target, why = error.args[0][0]
            raise OSError(f"{source}: {why}") from error
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


class Applied:
    """Changes that were put in place, and can be taken back until they are kept."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def undo(self) -> None:
        """Have everything as it was."""
        for kept, path in reversed(self.done):
            if kept:
                # Two links to one file, where nothing had taken its place yet, are both left by a renaming.
                os.rename(kept, path)
                if os.path.lexists(kept):
                    os.unlink(kept)
            elif os.path.lexists(path):
                os.unlink(path)
        self.done = []

    def keep(self) -> None:
        """Forget what was there before."""
        for kept, _path in self.done:
            if kept:
                os.unlink(kept)
        self.done = []


def apply(root: str, todo: list[Change], rename: Callable[[str, str], None] = os.rename) -> Applied:
    """Put the changes in place: all is written beside its place first, and undone if one renaming fails."""
    ready: list[tuple[str, str]] = []
    applied = Applied()
    try:
        for change in todo:
            path = os.path.join(root, change.wanted.path)
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            if change.wanted.content is not None:
                new = _beside(path, "new")
                ready.append((new, path))
                _write(new, change.wanted.content, change.wanted.mode)
        try:
            for change in todo:
                path = os.path.join(root, change.wanted.path)
                kept = ""
                if os.path.lexists(path):
                    kept = _beside(path, "old")
                    os.link(path, kept, follow_symlinks=False)
                applied.done.append((kept, path))
                if change.wanted.content is None and kept:
                    os.unlink(path)
            for new, path in ready:
                rename(new, path)
        except OSError:
            applied.undo()
            raise
    except OSError as error:
        raise StackError(NOT_WRITTEN, root=root, problem=error.strerror or str(error)) from error
    finally:
        for new, _path in ready:
            if os.path.lexists(new):
                os.unlink(new)
    return applied


def sweep(root: str, paths: list[str]) -> None:
    """Take away what a run left beside the files when it was killed."""
    for path in paths:
        for kind in ("new", "old"):
            left = _beside(os.path.join(root, path), kind)
            if os.path.lexists(left):
                os.unlink(left)


def identity(root: str, paths: list[str]) -> str:
    """A name for these files as they lie there: each write, also one of the same content, makes another one.

    The time of the last change is the kernel's own, which nobody can set.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        if os.path.lexists(os.path.join(root, path)):
            state = os.lstat(os.path.join(root, path))
            digest.update(os.fsencode(f"{path}\0{state.st_ino} {state.st_ctime_ns} {state.st_size}\n"))
    return digest.hexdigest()


def _beside(path: str, kind: str) -> str:
    """A name beside the file that nothing reads: Nginx includes C(*.conf) and the like, or whole folders."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{kind}")


def _write(new: str, content: bytes, mode: int) -> None:
    if os.path.lexists(new):
        os.unlink(new)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def is_stock(path: str, conffiles: str) -> bool:
    """Whether the package's own file is unchanged, by the checksums that dpkg keeps."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
    except OSError:
        return False
    return any(line.split()[:2] == [path, digest] for line in conffiles.splitlines())
