# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory that holds given symbolic links and nothing else.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Only links and empty directories are ever removed: whatever else lies in the tree was put there by somebody else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

UNSAFE_LINK = Fault(
    "links.unsafe_name",
    "The link {name!r} can't be made in {root}: {why}.",
    "Give a relative path without '..' and without empty parts, and an absolute target.",
)
IN_THE_WAY = Fault(
    "links.in_the_way",
    "{path} is {what}, but {root} may hold only links.",
    "Move it elsewhere: it is not removed, because this collection did not put it there.",
)
NOT_A_DIRECTORY = Fault(
    "links.not_a_directory",
    "{root} exists, but is not a directory.",
    "Move it elsewhere, or choose another path.",
)

_STAGED = ".staged-"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Steps(NamedTuple):
    """What has to be done, in this order."""

    make_directories: list[str]
    link: list[tuple[str, str]]
    unlink: list[str]
    remove_directories: list[str]

    def __bool__(self) -> bool:
        return any(tuple(self))


class Tree(NamedTuple):
    """What is there: links with their targets, and directories; paths are relative to the root."""

    links: dict[str, str]
    directories: set[str]


def check_names(root: str, links: Mapping[str, str]) -> None:
    """Refuse names that lead out of the tree or contradict each other."""
    directories = {parent for name in links for parent in _parents(name)}
    for name, target in links.items():
        parts = name.split("/")
        why = ""
        if not name or any(part in ("", ".", "..") for part in parts):
            why = "its path is not plain"
        elif _CONTROL.search(name) or _CONTROL.search(target):
            why = "it contains a control character"
        elif any(part.startswith(_STAGED) for part in parts):
            why = "its name is used for staging"
        elif not target.startswith("/"):
            why = f"its target {target!r} is not absolute"
        elif name in directories:
            why = "another link lies below it"
        if why:
            raise StackError(UNSAFE_LINK, name=name, root=root, why=why)


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


def read(root: str) -> Tree:
    """What is in the tree. Raises StackError when something else than links and directories is there."""
    tree = Tree({}, set())
    if not os.path.lexists(root):
        return tree
    if os.path.islink(root) or not os.path.isdir(root):
        raise StackError(NOT_A_DIRECTORY, root=root)
    pending = [""]
    while pending:
        inner = pending.pop()
        with os.scandir(os.path.join(root, inner)) as entries:
            for entry in entries:
                name = f"{inner}/{entry.name}" if inner else entry.name
                if entry.is_symlink():
                    tree.links[name] = os.readlink(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    tree.directories.add(name)
                    pending.append(name)
                else:
                    what = "a file" if entry.is_file(follow_symlinks=False) else "no plain file"
                    raise StackError(IN_THE_WAY, path=entry.path, what=what, root=root)
    return tree


def plan(root: str, tree: Tree, wanted: Mapping[str, str]) -> Steps:
    """The steps from what is there to what is wanted."""
    directories = {parent for name in wanted for parent in _parents(name)}
    for name in wanted:
        if name in tree.directories:
            # Renaming a link over a directory is impossible, so there would be a moment without either.
            raise StackError(IN_THE_WAY, path=f"{root}/{name}", what="a directory", root=root)
    for name in directories:
        if name in tree.links:
            raise StackError(IN_THE_WAY, path=f"{root}/{name}", what="a link to elsewhere", root=root)
    return Steps(
        make_directories=sorted(directories - tree.directories),
        link=sorted((name, target) for name, target in wanted.items() if tree.links.get(name) != target),
        unlink=sorted(name for name in tree.links if name not in wanted),
        remove_directories=sorted(tree.directories - directories, reverse=True),
    )


def apply(root: str, steps: Steps, mode: int = 0o755) -> None:
    """Do the steps. Every link is there or not, with its old or its new target: never half."""
    missing = []
    folder = root
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for folder in reversed(missing):
        os.mkdir(folder)
        os.chmod(folder, mode)
    for name in steps.make_directories:
        path = os.path.join(root, name)
        os.mkdir(path)
        os.chmod(path, mode)
    for name, target in steps.link:
        path = os.path.join(root, name)
        folder, file = os.path.split(path)
        staged = os.path.join(folder, f"{_STAGED}{os.getpid()}-{file}"[:255])
        os.symlink(target, staged)
        os.replace(staged, path)
    for name in steps.unlink:
        os.unlink(os.path.join(root, name))
    for name in steps.remove_directories:
        os.rmdir(os.path.join(root, name))


def identity(paths: Iterable[str]) -> str:
    """A digest of which files lie at the paths: it costs a stat of each, and no reading."""
    found = sorted(_status(file) for path in set(paths) for file in _files(path))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(folder, name) for folder, _folders, names in os.walk(path) for name in names]


def _status(path: str) -> tuple[str, int, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return path, -1, -1, -1
    return path, status.st_size, status.st_mtime_ns, status.st_ino


def shown(root: str, links: Mapping[str, str]) -> str:
    """The tree as text, for diffs."""
    return "".join(f"{root}/{name} -> {links[name]}\n" for name in sorted(links))
