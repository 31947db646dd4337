# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user wants in the store, and where it lies there.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

C(<stem>.gguf), or the directory C(<stem>) for a model of several files, what was made for it (C(<stem>.tokenizer.json),
C(<stem>.tokenizer_config.json), C(<stem>.config.json)) and C(<stem>.jinja) lie in the store;
C(.store/<stem>.gguf.json) says what was verified. New files are written in C(.store/incoming/),
checked, synced, and renamed when all of a model's are there; what C(.store/) says is written last, so that after a
crash at any point the next run sees what is not finished. All writing is done under a lock. What of a download arrived
is kept until it can go on.
"""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol

from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import MADE, TEMPLATE, model_id

FILE_MODE = 0o644
AUTO = "auto"


class Report(Protocol):
    """Is told how far the work is: bytes done, bytes in all (or None), what is done, and what it waits for."""

    def __call__(
        self, name: str, done: int, total: int | None = None, phase: str = "", waiting_for: str = ""
    ) -> None: ...


def no_report(name: str, done: int, total: int | None = None, phase: str = "", waiting_for: str = "") -> None:
    """For work whose progress nobody watches."""


class Wanted(NamedTuple):
    """What the user asks for. C(asked) is the quantization as it was asked for, which may be 'auto'."""

    store: str
    name: str
    quantization: str
    file: str
    sha256: str
    chat_template: str
    asked: str = ""


def store_path(wanted: Wanted, *parts: str) -> str:
    """A path in the store."""
    return os.path.join(wanted.store, *parts)


def model_path(wanted: Wanted, directory: bool = False) -> str:
    """Where the model is or will be."""
    return store_path(wanted, model_id(wanted.file) if directory else wanted.file)


def lock_path(wanted: Wanted) -> str:
    """The file that says who is working on the model."""
    return store_path(wanted, ".store", wanted.file + ".lock")


def made_path(wanted: Wanted, kind: str) -> str:
    """Where a file is or will be that is made for the model."""
    return store_path(wanted, model_id(wanted.file) + MADE[kind])


def incoming_path(wanted: Wanted, kind: str) -> str:
    """Where something of the model is written before it is published."""
    return store_path(wanted, ".store", "incoming", f"{wanted.file}.{kind}")


def template_name(wanted: Wanted) -> str:
    """The file name of the model's chat template."""
    return model_id(wanted.file) + TEMPLATE


def model_label(wanted: Wanted) -> str:
    """What messages call the model."""
    return f"Model {wanted.name}"
