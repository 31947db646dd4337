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
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import IO, Any

from ansible_collections.mistralrs.stack.plugins.module_utils import (
    _gguf,
    _gguf_config,
    _gguf_tokenizer,
    _local_file,
    _model_store,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._model_names import MADE
from ansible_collections.mistralrs.stack.plugins.module_utils._model_store import Wanted

_Write = Callable[[IO[str]], object]


def summary_is_current(summary: Mapping[str, Any]) -> bool:
    """Whether a record's summary tells what is to be made. An earlier release's does not; SafeTensors need nothing."""
    return "needs_config" in summary or not summary.get("version")


def _is_as_made(wanted: Wanted, kind: str, record: Mapping[str, Any] | None) -> bool:
    status = _model_store.plain_status(wanted, _model_store.made_path(wanted, kind))
    if not record or status is None:
        return False
    return all(record.get(key) == value for key, value in _local_file.identity(status).items())


def are_current(wanted: Wanted, sidecar: Mapping[str, Any], summary: Mapping[str, Any]) -> bool:
    """Whether all that the model needs is there as it was made, and no more is recorded."""
    needed = _model_store.made_for(summary)
    return all(
        _is_as_made(wanted, kind, sidecar.get(kind)) if kind in needed else not sidecar.get(kind) for kind in MADE
    )


def _paths(wanted: Wanted, files: Mapping[str, Any]) -> list[str]:
    """The GGUFs of the model, the one with its vocabulary first; [] if it is none."""
    path = _model_store.model_path(wanted, directory=bool(files))
    return [os.path.join(path, name) for name in sorted(files) if name.endswith(".gguf")] if files else [path]


def _published(wanted: Wanted, kind: str, write: _Write) -> dict[str, Any]:
    """Write one of the files; its record."""
    path = _model_store.made_path(wanted, kind)
    with _model_store.incoming(wanted, kind) as (new, descriptor):
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", newline="\n", closefd=False) as file:
            write(file)
        _model_store.publish(wanted, new, descriptor, os.path.basename(path))
    record = {"file": os.path.basename(path), "sha256": _local_file.hash_file(path)}
    return {**record, **_local_file.identity(os.lstat(path))}


def make(wanted: Wanted, files: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, dict[str, Any] | None]:
    """Have beside a stored model what it needs and nothing else; the record of each kind, or None.

    C(recorded) is what was made for this content before: what is still as it was made is left alone.
    """
    label = _model_store.label(wanted)
    writes: dict[str, _Write] = {}
    expected = 0
    # All of it is known before the first file is written.
    with ExitStack() as stack:
        opened = [stack.enter_context(_gguf.opened(path)) for path in _paths(wanted, files)]
        headers = [_gguf.parse_header(data, size, label) for data, size in opened]
        if headers and _gguf_tokenizer.is_affected(headers[0]):
            vocabulary = _gguf_tokenizer.read_vocabulary(headers[0], opened[0][0], label)
            expected = _gguf_tokenizer.count_tokens(vocabulary, _gguf_tokenizer.PROMPT)
            text = _gguf_config.as_text(_gguf_config.tokenizer_config(headers[0], opened[0][0], vocabulary))
            writes["tokenizer"] = lambda file: _gguf_tokenizer.write_tokenizer(vocabulary, file)
            writes["tokenizer_config"] = lambda file: file.write(text)
        config = _gguf_config.config(headers, opened[0][0], label) if headers else None
    if config is not None:
        writes["config"] = lambda file: file.write(_gguf_config.as_text(config))
    made: dict[str, dict[str, Any] | None] = {}
    for kind in MADE:
        path = _model_store.made_path(wanted, kind)
        exists = _model_store.plain_status(wanted, path) is not None
        if kind in writes and _is_as_made(wanted, kind, recorded.get(kind)):
            made[kind] = dict(recorded[kind])
        elif kind in writes:
            made[kind] = _published(wanted, kind, writes[kind])
        else:
            made[kind] = None
            if exists:
                os.unlink(path)
    tokenizer = made["tokenizer"]
    return {**made, "tokenizer": {**tokenizer, "prompt_tokens": expected} if tokenizer else None}
