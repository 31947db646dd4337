# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of models: what people type, the file in the store, the id in the engine.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

A file name ends up in file systems, in the engine's configuration and in URLs, so only characters that are
plain in all of them are allowed: the engine splits file names at spaces and semicolons, for example.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

UNSAFE_NAME = Fault(
    "model.unsafe_name",
    "The {what} {name!r} can't be used: {why}.",
    "Use letters, digits and . _ - + @ : only, starting with a letter or a digit, at most 200 bytes.",
)
RESERVED_NAME = Fault(
    "model.reserved_name",
    "The model name {name!r} is what the engine calls its default model.",
    "Choose another name.",
)

DUPLICATE = Fault(
    "model.duplicate",
    "The models {first!r} and {second!r} would both be stored as {file}.",
    "Give one of them another name or quantization, or remove it.",
)

SUFFIX = ".gguf"
# What the store makes from a model's header, and how its file's name ends: behind the model's id.
MADE = {
    "tokenizer": ".tokenizer.json",
    "tokenizer_config": ".tokenizer_config.json",
    "config": ".config.json",
}
TEMPLATE = ".jinja"
_OWN_ENDINGS = (TEMPLATE, *MADE.values())
_MAX_BYTES = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@:-]*\Z")
_QUANTIZATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


def _check(what: str, name: str, pattern: re.Pattern[str]) -> None:
    why = ""
    if not name:
        why = "it is empty"
    elif len(name.encode("utf-8", "surrogateescape")) > _MAX_BYTES:
        why = "it is too long"
    elif "/" in name or "\\" in name:
        why = "it contains a path separator"
    elif ".." in name:
        why = "it contains '..'"
    elif name[0] in ".-":
        why = "it starts with a dot or a dash"
    elif not pattern.match(name):
        why = "it contains a character that is not allowed"
    if why:
        raise StackError(UNSAFE_NAME, what=what, name=name[:80], why=why)


def check_path(path: str) -> None:
    """Refuse a name out of a listing that would leave the model's directory, or that a disk can't have."""
    segments = path.split("/")
    why = ""
    if len(path.encode("utf-8", "surrogateescape")) > 255:
        why = "it is too long"
    elif not path.isprintable() or "\\" in path:
        why = "it contains a character that is not allowed"
    elif any(segment in ("", ".", "..") for segment in segments):
        why = "it is not a plain relative path"
    if why:
        raise StackError(UNSAFE_NAME, what="file of the source", name=path[:80], why=why)


def is_store_file(file: str) -> bool:
    """Whether C(<stem>.gguf) is a name that the store itself gives."""
    try:
        _check("model name", file, _NAME)
    except StackError:
        return False
    return file.endswith(SUFFIX)


def store_file_name(name: str, quantization: str | None) -> str:
    """The flat store's file name of a model: C(qwen2.5-coder:32b), C(Q5_K_M) gives C(qwen2.5-coder-32b-q5_k_m.gguf).

    A name that ends in C(.gguf) is the file name already.
    """
    _check("model name", name, _NAME)
    stem = name.replace(":", "-")
    if stem.lower().endswith(SUFFIX):
        stem = stem[: -len(SUFFIX)]
    elif quantization:
        _check("quantization", quantization, _QUANTIZATION)
        label = "-" + quantization.lower()
        if not stem.lower().endswith(label):
            stem += label
    file = stem + SUFFIX
    _check("model name", file, _NAME)
    if stem.lower() == "default":
        raise StackError(RESERVED_NAME, name=name)
    ending = next((each for each in _OWN_ENDINGS if stem.lower().endswith(each)), "")
    if ending or SUFFIX in stem.lower():
        why = f"{ending} is the ending of what the store makes for another model" if ending else "it says .gguf twice"
        raise StackError(UNSAFE_NAME, what="model name", name=name[:80], why=why)
    return file


def check_distinct(models: Iterable[tuple[str, str]]) -> None:
    """Refuse names of models that are stored under one name: C((name, C(<stem>.gguf))) of each.

    Some file systems make no difference between large and small letters.
    """
    seen: dict[str, str] = {}
    for name, file in models:
        if file.lower() in seen:
            raise StackError(DUPLICATE, first=seen[file.lower()], second=name, file=file)
        seen[file.lower()] = name


def model_id(file: str) -> str:
    """The engine's id of a store file: its name without C(.gguf)."""
    return file[: -len(SUFFIX)] if file.lower().endswith(SUFFIX) else file


def aliases(name: str, quantization: str | None, file: str) -> list[str]:
    """Every name that clients may use for a model; the id comes first, none comes twice."""
    names = [model_id(file), file, name]
    if quantization and not name.lower().endswith((SUFFIX, "-" + quantization.lower())):
        names.append(f"{name}-{quantization.lower()}")
    return list(dict.fromkeys(names))
