# Reads the recordings of GPUs and drivers that imitate hosts which can't be had here.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded answers of nvidia-smi, and the files of the host beside them.

A recording begins with comments on where it comes from. C(@ /path) begins a file of the host, or a symbolic link if its
text is C(-> target); C($ nvidia-smi ARGUMENTS) begins an answer, whose first line is C(? RETURN CODE); an answer to
C(*) is for all arguments that have none of their own.

As a program, C(recording.py NAME DIRECTORY) puts the files of a recording below a directory.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent / "recordings"


class Recording(NamedTuple):
    """C(files): path -> text; C(answers): arguments -> (return code, text)."""

    files: dict[str, str]
    answers: dict[str, tuple[int, str]]


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def parse(text: str) -> Recording:
    recording = Recording({}, {})
    for part in ("\n" + text).replace("\n$ nvidia-smi ", "\n\0$").replace("\n@ ", "\n\0@").split("\0")[1:]:
        head, _, body = part.partition("\n")
        if head.startswith("@"):
            recording.files[head[1:]] = body
        else:
            code, _, said = body.partition("\n")
            recording.answers[head[1:]] = (int(code[2:]), said)
    return recording


def load(name: str) -> Recording:
    """The recording of that name, or in the file with that path."""
    path = Path(name) if "/" in name else FOLDER / f"{name}.txt"
    return parse(path.read_text())


def plant(files: dict[str, str], root: Path) -> None:
    """Write the files below C(root)."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.exists():
            path.unlink()
        if text.startswith("-> "):
            path.symlink_to(text[3:].strip())
        else:
            path.write_text(text)


if __name__ == "__main__":
    plant(load(sys.argv[1]).files, Path(sys.argv[2]))
