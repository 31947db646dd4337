# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that the store makes from a GGUF's header, because the engine needs them beside it.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

C(tokenizer): the right C(tokenizer.json) where the engine would make a wrong one. C(tokenizer_config): the chat
template and the special tokens, which engines up to 0.9.0 need with it. C(config): the C(config.json) that engines from
0.9.1 on need for Mistral's models. C(.store/) says what was made, so that a store of an earlier release shows what it
lacks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._files.atomic import sync_directory
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_config, gguf_header, gguf_tokenizer
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import MADE
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import incoming
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import (
    Wanted,
    incoming_path,
    made_path,
    model_label,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import is_ours, plain_status
from ansible_collections.mistralrs.stack.plugins.module_utils._store.publish import make_durable

_Write = Callable[[IO[str]], object]


def _is_as_made(wanted: Wanted, kind: str, record: Mapping[str, Any] | None) -> bool:
    status = plain_status(wanted, made_path(wanted, kind))
    if not record or status is None or not is_ours(status):
        return False
    return all(record.get(key) == value for key, value in local.identity(status).items())


def made_for(summary: Mapping[str, Any]) -> list[str]:
    """What has to be made for a model, by the summary of its header."""
    affected = summary.get("tokenizer") in gguf_tokenizer.AFFECTED
    needed = {"tokenizer": affected, "tokenizer_config": affected, "config": bool(summary.get("needs_config"))}
    return [kind for kind in MADE if needed[kind]]


def are_current(wanted: Wanted, sidecar: Mapping[str, Any], summary: Mapping[str, Any]) -> bool:
    """Whether all that the model needs is there as it was made, and no more is recorded."""
    needed = made_for(summary)
    return all(
        _is_as_made(wanted, kind, sidecar.get(kind)) if kind in needed else not sidecar.get(kind) for kind in MADE
    )


class Staged(NamedTuple):
    """What was written for a model but has no final name yet: the record of each kind, None where it needs none."""

    records: dict[str, dict[str, Any] | None]
    new: tuple[str, ...]


def _needed(paths: Sequence[str], label: str) -> tuple[dict[str, _Write], int]:
    """What has to be written for the GGUFs of a model, in order, and the number of the prompt's tokens.

    Raises C(model.tokenizer_unusable) or C(model.config_unusable).
    """
    writes: dict[str, _Write] = {}
    expected = 0
    with ExitStack() as stack:
        opened = [stack.enter_context(gguf_header.opened(path)) for path in paths]
        headers = [gguf_header.parse_header(data, size, label) for data, size in opened]
        if headers and gguf_tokenizer.is_affected(headers[0]):
            vocabulary = gguf_tokenizer.read_vocabulary(headers[0], opened[0][0], label)
            expected = gguf_tokenizer.count_tokens(vocabulary, gguf_tokenizer.PROMPT)
            text = gguf_config.as_text(gguf_config.tokenizer_config(headers[0], opened[0][0], vocabulary))
            writes["tokenizer"] = lambda file: gguf_tokenizer.write_tokenizer(vocabulary, file)
            writes["tokenizer_config"] = lambda file: file.write(text)
        config = gguf_config.config(headers, opened[0][0], label) if headers else None
    if config is not None:
        writes["config"] = lambda file: file.write(gguf_config.as_text(config))
    return writes, expected


def ggufs(paths: Mapping[str, str], path: str) -> list[str]:
    """The GGUFs among the files of a model, the one with its vocabulary first; or its one file."""
    return [paths[name] for name in sorted(paths) if name.endswith(".gguf")] if paths else [path]


def check(paths: Sequence[str], label: str) -> None:
    """Refuse GGUFs out of which what the model needs can't be made; nothing is written."""
    _needed(paths, label)


def _written(wanted: Wanted, kind: str, write: _Write) -> dict[str, Any]:
    """Write one of the files; its record."""
    with incoming(wanted, kind) as (new, descriptor):
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", newline="\n", closefd=False) as file:
            write(file)
        make_durable(descriptor)
    record = {"file": os.path.basename(made_path(wanted, kind)), "sha256": local.hash_file(new)}
    return {**record, **local.identity(os.lstat(new))}


def stage(wanted: Wanted, paths: Sequence[str], recorded: Mapping[str, Any]) -> Staged:
    """Write what a model needs besides, by its GGUFs in order, wherever they are; the store shows nothing of it yet.

    C(recorded) is what was made for this content before: what is still as it was made is left alone.
    """
    writes, expected = _needed(paths, model_label(wanted))
    records: dict[str, dict[str, Any] | None] = dict.fromkeys(MADE)
    new = []
    for kind, write in writes.items():
        if _is_as_made(wanted, kind, recorded.get(kind)):
            records[kind] = dict(recorded[kind])
        else:
            records[kind] = _written(wanted, kind, write)
            new.append(kind)
    tokenizer = records["tokenizer"]
    if tokenizer:
        tokenizer["prompt_tokens"] = expected
    return Staged(records, tuple(new))


def publish(wanted: Wanted, staged: Staged) -> dict[str, dict[str, Any] | None]:
    """Give what was staged its final names, and remove what the model does not need; the records."""
    for kind in MADE:
        path = made_path(wanted, kind)
        if kind in staged.new:
            os.rename(incoming_path(wanted, kind), path)
        elif staged.records[kind] is None and plain_status(wanted, path) is not None:
            os.unlink(path)
    sync_directory(wanted.store)
    return staged.records
