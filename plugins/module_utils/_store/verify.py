# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hash stored models again; nothing is fetched.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError, StackErrors
from ansible_collections.mistralrs.stack.plugins.module_utils._files.local import hash_file, sealed_digest
from ansible_collections.mistralrs.stack.plugins.module_utils._files.lock import Locked
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import MADE
from ansible_collections.mistralrs.stack.plugins.module_utils._store.chat_template import installed_template
from ansible_collections.mistralrs.stack.plugins.module_utils._store.disk_space import store_errors
from ansible_collections.mistralrs.stack.plugins.module_utils._store.entry import Entry, bytes_to_read, read_entry
from ansible_collections.mistralrs.stack.plugins.module_utils._store.hashing import Counter, workers
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import make_directories
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import (
    Report,
    Wanted,
    made_path,
    model_path,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.lock import model_lock
from ansible_collections.mistralrs.stack.plugins.module_utils._store.outcome import Outcome, model_facts, state_now
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import plain_status
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import read_sidecar, write_record
from ansible_collections.mistralrs.stack.plugins.module_utils._store.structure import inspect_stored

CORRUPT = Fault(
    "model.corrupt",
    "Model {name}: the sha256 of {path} is {got}, expected {want}.",
    "Use 'state: present', which fetches or makes it again.",
)
NOT_STORED = Fault(
    "model.not_stored",
    "Model {name}: there is no {path} to verify.",
    "Use 'state: present', which fetches it.",
)
NOT_RECORDED = Fault(
    "model.not_recorded",
    "Model {name}: {path} can't be verified, because nothing says what it should be.",
    "Give 'sha256', or run 'state: present' first.",
)
# A time that no file has.
_NEVER = {"mtime_ns": -1}


def _note(wanted: Wanted, entry: Entry, is_right: bool, wrong: Iterable[str]) -> None:
    """Remember what reading showed, unless another run is working on the model. C(wrong): of what was made for it.

    What is wrong gets a time that no file has: C(state=present) then reads it, too, and replaces it.
    """
    with suppress(Locked), model_lock(wanted):
        if read_sidecar(wanted) != entry.sidecar:
            return
        noted = dict(entry.sidecar)
        if is_right and not wrong:
            noted["verified_at"] = int(time.time())
        if not is_right and entry.directory:
            noted["files"] = {name: {**known, **_NEVER} for name, known in noted["files"].items()}
        elif not is_right:
            noted.update(_NEVER)
        noted.update({kind: {**noted[kind], **_NEVER} for kind in wrong})
        make_directories(wanted)
        write_record(wanted, noted)


def _altered(wanted: Wanted, sidecar: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """What was made for the model and is no longer as it was made: its sha256, and the one that it had."""
    found = {}
    for kind in MADE:
        want = str((sidecar.get(kind) or {}).get("sha256") or "")
        path = made_path(wanted, kind)
        if want:
            got = hash_file(path) if plain_status(wanted, path) is not None else "missing"
            if got != want:
                found[kind] = (got, want)
    return found


def verified(wanted: Wanted, check: bool = False, seen: Counter | None = None) -> Outcome:
    """Hash the stored model again; nothing is fetched. Without C(check) it is remembered how the model is."""
    with store_errors(wanted):
        entry = read_entry(wanted, rehash=True, seen=seen)
        path = model_path(wanted, entry.directory if entry else False)
        if entry is None:
            raise StackError(NOT_STORED, name=wanted.name, path=path)
        want = wanted.sha256 or entry.sidecar.get("sha256")
        if not want:
            raise StackError(NOT_RECORDED, name=wanted.name, path=path)
        altered = _altered(wanted, entry.sidecar)
        if entry.sidecar and not check:
            # A store that can only be read is verified all the same.
            with suppress(OSError):
                _note(wanted, entry, entry.sha256 == entry.sidecar["sha256"], list(altered))
        if entry.sha256 != want:
            raise StackError(CORRUPT, name=wanted.name, path=path, got=entry.sha256, want=want)
        for kind, (got, want) in altered.items():
            raise StackError(CORRUPT, name=wanted.name, path=made_path(wanted, kind), got=got, want=want)
        sidecar = {**entry.sidecar, "gguf": inspect_stored(wanted, entry)}
        if entry.sidecar.get("sealed"):
            first = sorted(entry.sidecar.get("files") or {})[:1]
            sidecar["sealed"] = sealed_digest(os.path.join(path, *first))
        now = state_now(wanted, entry)
        kept = wanted._replace(chat_template=installed_template(wanted))
        found = model_facts(kept, entry.size, entry.sha256, sidecar, "hash", entry.directory)
        # In a store of an earlier release they may be needed and not made yet.
        found.update({kind: "" for kind in MADE if not entry.sidecar.get(kind)})
        return Outcome(False, now, now, found)


def verified_all(wanted: Sequence[Wanted], check: bool = False, report: Report | None = None) -> list[Outcome]:
    """Hash stored models again, on all cores. Raises StackErrors with every one that is not right."""

    def attempt(each: Wanted) -> Outcome | StackError:
        try:
            return verified(each, check, seen)
        except StackError as error:
            return error

    # A model of several files keeps all cores busy by itself.
    several = [bool(read_sidecar(each).get("files")) for each in wanted]
    seen = Counter(report, wanted, sum(bytes_to_read(each, rehash=True) for each in wanted))
    with workers(seen) as pool:
        singles = pool.map(attempt, [each for each, is_set in zip(wanted, several) if not is_set])
        found = [None if is_set else next(singles) for is_set in several]
        done = [result or attempt(each) for each, result in zip(wanted, found)]
    errors = [result for result in done if isinstance(result, StackError)]
    if errors:
        raise StackErrors(errors)
    return [result for result in done if isinstance(result, Outcome)]
