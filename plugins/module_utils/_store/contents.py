# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List what the store has, and remove models from it.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._files.atomic import sync_directory
from ansible_collections.mistralrs.stack.plugins.module_utils._files.local import identity
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import MADE, TEMPLATE, model_id
from ansible_collections.mistralrs.stack.plugins.module_utils._store.disk_space import free_bytes, store_errors
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import (
    clean,
    left_behind,
    make_directories,
    model_of,
    occupied,
    remove,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import (
    Wanted,
    lock_path,
    made_path,
    model_path,
    store_path,
    template_name,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.lock import locked
from ansible_collections.mistralrs.stack.plugins.module_utils._store.outcome import Outcome, model_state
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import directory_status, plain_status
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import read_sidecar, read_sidecars


def _belongings(wanted: Wanted) -> tuple[list[str], dict[str, Any]]:
    """What of a model is there, and its state. The model is first: what is left is never taken for one."""
    sidecar = read_sidecar(wanted)
    paths = [store_path(wanted, wanted.file), *(made_path(wanted, kind) for kind in MADE)]
    paths += [store_path(wanted, template_name(wanted)), store_path(wanted, ".store", wanted.file + ".json")]
    there = [path for path in paths if plain_status(wanted, path) is not None]
    before: dict[str, Any] = {}
    status = plain_status(wanted, model_path(wanted))
    if status is not None:
        before = model_state(status.st_size, sidecar.get("sha256", ""), (), "", stat.S_IMODE(status.st_mode))
    elif sidecar.get("files") and directory_status(wanted) is not None:
        there.insert(0, model_path(wanted, directory=True))
        before = model_state(int(sidecar.get("size", 0)), sidecar["sha256"], (), "")
    return there, before


def absent(wanted: Wanted, check: bool) -> Outcome:
    """Remove the model and everything that was made for it."""
    with store_errors(wanted):
        there, before = _belongings(wanted)
        changed = bool(there or left_behind(wanted))
        # Where a lock is, another run may be about to write the model.
        if not check and (changed or os.path.lexists(lock_path(wanted))):
            make_directories(wanted)
            with locked(wanted) as leftovers:
                clean(wanted)
                there, before = _belongings(wanted)
                for path in there:
                    remove(path)
                sync_directory(wanted.store)
                changed = leftovers or bool(there)
        return Outcome(changed, before, {}, {"name": wanted.name, "file": wanted.file, "path": model_path(wanted)})


def surplus(store: str, files: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The models of the store that are none of C(files), and what of them takes space: C(file), C(size) in bytes.

    Only what the store's own records name is listed, and parts of downloads: other files are somebody else's.
    The keys are the names that the records have, which are those of single files.
    """
    named = {file.lower() for file in files}
    found: dict[str, dict[str, Any]] = {}
    for file, sidecar in read_sidecars(store).items():
        if file.lower() not in named:
            shown = model_id(file) if sidecar.get("files") else file
            found[file] = {"file": shown, "size": int(sidecar.get("size") or 0)}
    folder = os.path.join(store, ".store", "incoming")
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(folder):
            owner = model_of(name)
            if owner and owner.lower() not in named:
                entry = found.setdefault(owner, {"file": owner, "size": 0})
                entry["size"] += occupied(os.path.join(folder, name))
    return {file: found[file] for file in sorted(found)}


def listing(store: str) -> dict[str, Any]:
    """What the store has, as C(models), C(others) without a record, and C(free) space in bytes. Nothing is hashed."""
    known = read_sidecars(store)
    models = []
    for file, sidecar in known.items():
        files = sidecar.get("files") or {}
        path = os.path.join(store, model_id(file) if files else file)
        checked = {os.path.join(path, name): record for name, record in files.items()} or {path: sidecar}
        models.append(
            {
                "name": str(sidecar.get("name") or ""),
                "quantization": str(sidecar.get("quantization") or ""),
                "file": os.path.basename(path),
                "directory": bool(files),
                "size": int(sidecar.get("size") or 0),
                "sha256": sidecar["sha256"],
                "present": all(_is_present(each, record) for each, record in checked.items()),
                "verified_at": int(sidecar.get("verified_at") or 0),
                "source": str(sidecar.get("source") or ""),
                "revision": str(sidecar.get("revision") or ""),
                "sealed": str(sidecar.get("sealed") or ""),
                "gguf": sidecar["gguf"],
            }
        )
    own = {".store"}
    for file in known:
        own.update((file, *(model_id(file) + suffix for suffix in ("", TEMPLATE, *MADE.values()))))
    with suppress(FileNotFoundError, NotADirectoryError):
        return {"models": models, "others": sorted(set(os.listdir(store)) - own), "free": free_bytes(store)}
    return {"models": models, "others": [], "free": free_bytes(store)}


def _is_present(path: str, record: Mapping[str, Any]) -> bool:
    try:
        return all(record.get(key) == value for key, value in identity(os.lstat(path)).items())
    except OSError:
        return False
