# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a store, of this host or a mirror, says of a model in C(.store/<stem>.gguf.json): checked before it is believed.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

A record decides which files are changed, removed and given out, so that nothing in it is taken for what it should be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import MADE, UNSAFE_NAME, check_path

# The most files that a model can have: a record of them is still read whole.
MAX_FILES = 4_096
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_TEXTS = ("name", "quantization", "asked", "source", "source_id", "revision", "sealed")
_MAX_TEXT = 4_096
_MAX_VALUES = 256


class InvalidRecord(Exception):
    """Why it is not a record of a model."""


def _is_whole(value: object, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 1 << 63


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_TEXT


def _check_content(record: object) -> None:
    """The size and the sha256 that a file had, and what told it from another one then."""
    if not isinstance(record, Mapping) or not _is_whole(record.get("size")):
        raise InvalidRecord("it does not say the size and sha256 of each file")
    if not isinstance(record.get("sha256"), str) or not _SHA256.match(record["sha256"]):
        raise InvalidRecord("it does not say the size and sha256 of each file")
    if not all(_is_whole(record.get(key, 0), least=-1) for key in ("mtime_ns", "inode")):
        raise InvalidRecord("it has a time or an inode that no file has")


def files_of(data: object) -> dict[str, Mapping[str, Any]]:
    """The files of a model that lie in its directory, each with its record; {} if the model is one file.

    Raises InvalidRecord, and C(model.unsafe_name) for a name that would leave the directory.
    """
    if not isinstance(data, Mapping) or data.get("format") != 1 or not isinstance(data.get("files", {}), Mapping):
        raise InvalidRecord("it is not the record of a model")
    files = data.get("files", {})
    if len(files) > MAX_FILES:
        raise InvalidRecord(f"it names {len(files)} files, more than {MAX_FILES}")
    for name, record in files.items():
        check_path(name)
        if "/" in name:
            raise StackError(UNSAFE_NAME, what="file of the source", name=name[:80], why="it is not a plain file name")
        _check_content(record)
    if not files:
        _check_content(data)
    return dict(files)


def _check_summary(summary: object) -> None:
    """What a header said: texts, numbers and a list of types."""
    if not isinstance(summary, Mapping) or len(summary) > _MAX_VALUES:
        raise InvalidRecord("it does not say what the header says")
    types = summary.get("tensor_types", [])
    if not isinstance(types, list) or len(types) > _MAX_VALUES or not all(map(_is_text, types)):
        raise InvalidRecord("its types of tensors are invalid")
    for key, value in summary.items():
        if key != "tensor_types" and not (isinstance(value, bool) or _is_whole(value) or _is_text(value)):
            raise InvalidRecord(f"its {str(key)[:40]!r} is neither a text nor a number")


def check(data: object) -> dict[str, Any]:
    """The record of a model of this host. Raises InvalidRecord or C(model.unsafe_name)."""
    files_of(data)
    if not isinstance(data, dict) or not isinstance(data.get("sha256"), str) or not _SHA256.match(data["sha256"]):
        raise InvalidRecord("it does not say the sha256")
    if not _is_whole(data.get("size", 0)) or not _is_whole(data.get("verified_at") or 0):
        raise InvalidRecord("its size or its time is invalid")
    if not all(_is_text(data.get(key, "")) for key in _TEXTS):
        raise InvalidRecord("one of its texts is invalid")
    _check_summary(data.get("gguf"))
    for kind in MADE:
        made = data.get(kind)
        if made is not None:
            _check_content(made)
            if not _is_whole(made.get("prompt_tokens", 0)):
                raise InvalidRecord("its number of tokens is invalid")
    return data
