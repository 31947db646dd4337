# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What C(.store/) says of each model: what was verified, and where it came from.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Source
from ansible_collections.mistralrs.stack.plugins.module_utils._model import record as _model_record
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import is_store_file
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import AUTO, Wanted, store_path
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import is_ours, read_small
from ansible_collections.mistralrs.stack.plugins.module_utils._store.publish import write_small

_MAX_SIDECAR = 8 << 20


def _sidecar_of(path: str) -> dict[str, Any]:
    """A record; {} if there is none, or none that can be believed."""
    try:
        if not is_ours(os.lstat(path)):
            return {}
        return _model_record.check(json.loads(read_small(path, _MAX_SIDECAR)))
    except (OSError, ValueError, RecursionError, _model_record.InvalidRecord, StackError):
        return {}


def read_sidecar(wanted: Wanted) -> dict[str, Any]:
    """What an earlier run verified of the model; {} if that is not known."""
    return _sidecar_of(store_path(wanted, ".store", wanted.file + ".json"))


def read_sidecars(store: str) -> dict[str, dict[str, Any]]:
    """What is known of each model of the store, by C(<stem>.gguf)."""
    folder = os.path.join(store, ".store")
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    files = [name[: -len(".json")] for name in names if name.endswith(".json")]
    found = {file: _sidecar_of(os.path.join(folder, file + ".json")) for file in files if is_store_file(file)}
    return {file: sidecar for file, sidecar in found.items() if sidecar}


def chosen(wanted: Wanted) -> list[Wanted]:
    """The models of the store that were chosen for this name with C(quantization=auto)."""
    return [
        wanted._replace(quantization=str(sidecar.get("quantization", "")), file=file, asked=AUTO)
        for file, sidecar in read_sidecars(wanted.store).items()
        if sidecar.get("name") == wanted.name and sidecar.get("asked") == AUTO
    ]


def write_record(wanted: Wanted, sidecar: Mapping[str, Any]) -> None:
    """Replace what C(.store/) says of a model; its lock is held."""
    content = (json.dumps(sidecar, indent=2, sort_keys=True) + "\n").encode()
    write_small(wanted, "json", content, ".store", wanted.file + ".json")


def set_digest(files: Mapping[str, str]) -> str:
    """One sha256 for a model of several files: that of the list that C(sha256sum) prints, sorted by name."""
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def source_id(source: Source) -> str:
    """What tells one source from another, without what may be secret in it."""
    exact = source.url if source.kind in ("https", "http", "file") else ""
    parts = (source.kind, source.host, source.repository, source.revision, source.path, exact)
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def is_same_source(source: Source, sidecar: Mapping[str, Any]) -> bool:
    """Whether a model was fetched from this source."""
    known = sidecar.get("source_id")
    return bool(known == source_id(source)) if known else sidecar.get("source") == source.shown
