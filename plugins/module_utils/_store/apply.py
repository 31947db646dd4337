# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do what is planned: fetch, check, publish, record.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Source
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import MADE
from ansible_collections.mistralrs.stack.plugins.module_utils._store import companion_files
from ansible_collections.mistralrs.stack.plugins.module_utils._store.acceptance import check_arrived
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.chat_template import put_template
from ansible_collections.mistralrs.stack.plugins.module_utils._store.disk_space import store_errors
from ansible_collections.mistralrs.stack.plugins.module_utils._store.entry import Entry, bytes_to_read, take_over
from ansible_collections.mistralrs.stack.plugins.module_utils._store.fetch import fetch
from ansible_collections.mistralrs.stack.plugins.module_utils._store.hashing import Counter
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import clean, make_directories, remove
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import (
    FILE_MODE,
    Report,
    Wanted,
    model_path,
    no_report,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.lock import locked
from ansible_collections.mistralrs.stack.plugins.module_utils._store.outcome import Outcome, model_facts, state_now
from ansible_collections.mistralrs.stack.plugins.module_utils._store.plan import (
    CHECKS,
    Prepared,
    check_adoption,
    content_is_here,
    model_files,
    plan_model,
    prepare,
    prepare_all,
    without_fetch,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.predict import predict, provenance, unchanged
from ansible_collections.mistralrs.stack.plugins.module_utils._store.publish import publish_model
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import write_record
from ansible_collections.mistralrs.stack.plugins.module_utils._store.structure import inspect_stored

_RESUMABLE = ("part", "part.json", "set")


class _Stored(NamedTuple):
    """A model under its final name, before it is recorded; C(prepared) is what was done."""

    prepared: Prepared
    sha256: str
    verified_by: str
    files: Mapping[str, Any]
    gguf: Mapping[str, Any]
    origin: Mapping[str, int]
    made: Mapping[str, Any]


def _fetched(prepared: Prepared, access: Access, report: Report) -> _Stored:
    """Fetch the model, check it and publish it with all that is made for it."""
    wanted, entry = prepared.wanted, prepared.plan.entry
    arrived = fetch(prepared, access, report)
    gguf, staged = check_arrived(arrived, access.fit, report)
    publish_model(wanted, arrived.path, arrived.files.keys())
    # The model had the other form before: one file, or a directory.
    if entry is not None and entry.directory != bool(arrived.files):
        remove(model_path(wanted, directory=entry.directory))
    made = companion_files.publish(wanted, staged)
    return _Stored(arrived.prepared, arrived.sha256, "hash", arrived.files, gguf, arrived.origin, made)


def _kept(prepared: Prepared, entry: Entry, report: Report) -> _Stored:
    """Leave the model where it is, and make for it what it lacks."""
    wanted, source, plan = prepared.wanted, prepared.source, prepared.plan
    sidecar = {} if plan.adopt else entry.sidecar
    files = {name: {"sha256": digest} for name, digest in entry.digests.items()}
    gguf = ({} if plan.summary else sidecar.get("gguf")) or inspect_stored(wanted, entry)
    made = {kind: sidecar.get(kind) for kind in MADE}
    staged = None
    if plan.adopt or plan.companions:
        report(wanted.name, 0, None, "making the tokenizer")
        folder = model_path(wanted, directory=True)
        paths = companion_files.ggufs({name: os.path.join(folder, name) for name in files}, model_path(wanted))
        staged = companion_files.stage(wanted, paths, made if plan.companions else {})
    if plan.adopt or plan.mode:
        take_over(wanted)
    if staged:
        made = companion_files.publish(wanted, staged)
    origin = sidecar.get("origin") or (local.origin(source.path) if source.kind == "file" else {})
    return _Stored(prepared, entry.sha256, entry.verified_by, files, gguf, origin, made)


def _sealed(stored: _Stored, sidecar: Mapping[str, Any], seal: bool) -> dict[str, Any]:
    """Seal the model if that is wanted, and say whether it is sealed, unless nobody ever asked for it."""
    if not seal and "sealed" not in sidecar:
        return {}
    paths = model_files(stored.prepared.wanted, stored.files)
    digest = "" if stored.verified_by == "hash" else sidecar.get("sealed")
    if not digest:
        digests = []
        for path in paths:
            digests.append(local.seal(path) if seal else local.sealed_digest(path))
        digest = digests[0]
    return {"sealed": digest, "seal_refused": seal and not digest and local.can_be_sealed(paths[0])}


def _record(stored: _Stored, seal: bool) -> dict[str, Any]:
    """What C(.store/) says of the model from now on."""
    prepared = stored.prepared
    wanted, plan = prepared.wanted, prepared.plan
    sidecar = plan.entry.sidecar if plan.entry and not plan.adopt else {}
    is_read = plan.fetch or plan.adopt or plan.refresh
    folder = model_path(wanted, directory=True)
    files = {
        name: {**known, **local.identity(os.lstat(os.path.join(folder, name)))} for name, known in stored.files.items()
    }
    record: dict[str, Any] = {
        **provenance(prepared, stored.gguf, files),
        "format": 1,
        "checks": CHECKS,
        "sha256": stored.sha256,
        "origin": dict(stored.origin),
        "verified_at": int(time.time()) if is_read else sidecar.get("verified_at"),
        **stored.made,
        **_sealed(stored, sidecar, seal),
    }
    if not (plan.fetch or record["revision"]):
        record["revision"] = sidecar.get("revision", "")
    if files:
        return {**record, "size": sum(known["size"] for known in files.values())}
    return {**record, **local.identity(os.lstat(model_path(wanted)))}


def _do(prepared: Prepared, access: Access, report: Report) -> Outcome:
    """Do what is planned. The order matters: what C(.store/) says about the model is written last."""
    wanted, plan = prepared.wanted, prepared.plan
    before = state_now(wanted, plan.entry)
    if plan.fetch or plan.entry is None:
        stored = _fetched(prepared, access, report)
    else:
        stored = _kept(prepared, plan.entry, report)
    if plan.template:
        put_template(wanted)
    record = _record(stored, access.seal)
    write_record(wanted, record)
    clean(wanted)
    entry = Entry(record["size"], stored.sha256, record, stored.verified_by, FILE_MODE, bool(stored.files))
    facts = model_facts(wanted, entry.size, entry.sha256, record, entry.verified_by, entry.directory)
    return Outcome(plan.changed, before, state_now(wanted, entry), facts)


def _planned_now(prepared: Prepared, seal: bool, report: Report) -> Prepared:
    """The plan under the model's lock: another run may have done it while this one waited."""
    wanted = prepared.wanted

    def planned() -> Prepared:
        seen = Counter(report, [wanted], bytes_to_read(wanted))
        now = prepared._replace(plan=plan_model(wanted, prepared.source, seal, seen))
        return without_fetch(now) if now.plan.fetch and content_is_here(now) else now

    now = planned()
    foreign = now.plan.entry
    if foreign is not None and not foreign.is_ours and not now.plan.fetch and take_over(wanted):
        # Whoever put it there could alter it until now, so that it is read only now.
        now = planned()
        entry = now.plan.entry._replace(mode=foreign.mode) if now.plan.entry else None
        now = now._replace(plan=now.plan._replace(entry=entry, mode=True))
    check_adoption(now)
    return now


def apply(prepared: Prepared, access: Access, report: Report = no_report) -> Outcome:
    """Do what is missing, under the model's lock. A run that changes nothing takes no lock."""
    wanted = prepared.wanted
    if prepared.idle and prepared.plan.entry is not None:
        return unchanged(wanted, prepared.plan.entry)
    with store_errors(wanted):
        make_directories(wanted)
        with locked(wanted, lambda holder: report(wanted.name, 0, None, "waiting", holder)):
            now = _planned_now(prepared, access.seal, report)
            if now.plan.entry is not None and now.plan.is_idle:
                clean(wanted)
                return unchanged(wanted, now.plan.entry)
            clean(wanted, keep=_RESUMABLE if now.plan.fetch else ())
            if now.plan.fetch and now.resolved is None:
                # It was there when it was looked for, and is gone or another one now.
                now = prepare(wanted, now.source, access)._replace(plan=now.plan)
            try:
                return _do(now, access, report)
            except BaseException:
                # What can't go on is of no use to the next run.
                with suppress(OSError):
                    clean(wanted, keep=_RESUMABLE)
                raise


def present(wanted: Wanted, source: Source, access: Access, check: bool, report: Report = no_report) -> Outcome:
    """Have one model in the store."""
    prepared = prepare_all([wanted], [source], access, read=check)[0]
    return predict(prepared) if check else apply(prepared, access, report)
