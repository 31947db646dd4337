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
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Source
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import MADE
from ansible_collections.mistralrs.stack.plugins.module_utils._store import companion_files
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.check import ggufs
from ansible_collections.mistralrs.stack.plugins.module_utils._store.companion_files import Staged
from ansible_collections.mistralrs.stack.plugins.module_utils._store.disk_space import needed_space, store_errors
from ansible_collections.mistralrs.stack.plugins.module_utils._store.entry import Entry
from ansible_collections.mistralrs.stack.plugins.module_utils._store.fetch import fetch
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import clean, make_directories, remove
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import (
    FILE_MODE,
    Report,
    Wanted,
    model_path,
    no_report,
    store_path,
    template_name,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.lock import locked
from ansible_collections.mistralrs.stack.plugins.module_utils._store.outcome import Outcome, model_facts, state_now
from ansible_collections.mistralrs.stack.plugins.module_utils._store.plan import (
    CHECKS,
    Prepared,
    content_is_here,
    model_files,
    plan_model,
    prepare,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.predict import predict, provenance, unchanged
from ansible_collections.mistralrs.stack.plugins.module_utils._store.publish import write_small
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import record_text
from ansible_collections.mistralrs.stack.plugins.module_utils._store.structure import inspect_stored

_RESUMABLE = ("part", "part.json", "set")


def _do(prepared: Prepared, access: Access, report: Report) -> Outcome:
    """Do what is planned. The order matters: what C(.store/) says about the model is written last."""
    wanted, plan = prepared.wanted, prepared.plan
    entry = plan.entry
    before = state_now(wanted, entry)
    sidecar = dict(entry.sidecar) if entry and not plan.adopt else {}
    verified_by = entry.verified_by if entry else "hash"
    files: dict[str, Any] = dict(sidecar.get("files") or {})
    if plan.fetch or entry is None:
        sha256, files, gguf, origin, staged = fetch(prepared, access, report)
        verified_by = "hash"
        # The model had the other form before: one file, or a directory.
        other = model_path(wanted, directory=not files)
        if entry is not None and entry.directory != bool(files):
            remove(other)
    else:
        sha256 = entry.sha256
        origin = sidecar.get("origin") or (local.origin(prepared.source.path) if prepared.source.kind == "file" else {})
        gguf = ({} if plan.summary else sidecar.get("gguf")) or inspect_stored(wanted, entry)
        staged = Staged({kind: sidecar.get(kind) for kind in MADE}, ())
        if plan.adopt or plan.companions:
            report(wanted.name, 0, None, "making the tokenizer")
            folder = model_path(wanted, directory=True)
            paths = ggufs({name: os.path.join(folder, name) for name in files}, model_path(wanted))
            staged = companion_files.stage(wanted, paths, staged.records if plan.companions else {})
        for path in model_files(wanted, files):
            if plan.mode:
                os.chmod(path, FILE_MODE)
            # Whoever copied it here is not to alter it afterwards.
            if (plan.adopt or not entry.is_ours) and os.geteuid() == 0:
                os.chown(path, 0, 0)
    made = companion_files.publish(wanted, staged) if plan.fetch or plan.adopt or plan.companions else staged.records
    if plan.template:
        name = template_name(wanted)
        if wanted.chat_template:
            content = wanted.chat_template.encode("utf-8", "surrogateescape")
            write_small(wanted, "template", content, name)
        else:
            os.unlink(store_path(wanted, name))
    fresh = plan.fetch or plan.adopt or plan.refresh
    written: dict[str, Any] = {
        **provenance(prepared, gguf, _identities(wanted, files)),
        "format": 1,
        "checks": CHECKS,
        "sha256": sha256,
        "origin": origin,
        "verified_at": int(time.time()) if fresh else sidecar.get("verified_at"),
        **made,
    }
    if not (plan.fetch or written["revision"]):
        written["revision"] = sidecar.get("revision", "")
    if access.seal or "sealed" in sidecar:
        sealed = "" if verified_by == "hash" else sidecar.get("sealed")
        paths = model_files(wanted, files)
        digest_of = local.seal if access.seal else local.sealed_digest
        # All of them are sealed; the digest of the first is told.
        written["sealed"] = sealed or [digest_of(path) for path in paths][0]
        written["seal_refused"] = access.seal and not written["sealed"] and local.can_be_sealed(paths[0])
    if files:
        written["size"] = sum(record["size"] for record in written["files"].values())
    else:
        written.update(local.identity(os.lstat(model_path(wanted))))
    write_small(wanted, "json", record_text(written), ".store", wanted.file + ".json")
    clean(wanted)
    stored = Entry(written["size"], sha256, written, verified_by, FILE_MODE, bool(files))
    facts = model_facts(wanted, stored.size, sha256, written, verified_by, stored.directory)
    return Outcome(plan.changed, before, state_now(wanted, stored), facts)


def _identities(wanted: Wanted, files: Mapping[str, Any]) -> dict[str, Any]:
    """The record of each file as it lies there now."""
    folder = model_path(wanted, directory=True)
    return {name: {**record, **local.identity(os.lstat(os.path.join(folder, name)))} for name, record in files.items()}


def apply(prepared: Prepared, access: Access, report: Report = no_report) -> Outcome:
    """Do what is missing, under the model's lock. A run that changes nothing takes no lock."""
    wanted = prepared.wanted
    if prepared.idle and prepared.plan.entry is not None:
        return unchanged(wanted, prepared.plan.entry)
    with store_errors(wanted):
        make_directories(wanted)
        with locked(wanted, lambda holder: report(wanted.name, 0, None, "waiting", holder)):
            # Another run may have done it while this one waited.
            plan = plan_model(wanted, prepared.source, access.seal)
            if plan.entry is not None and plan.is_idle:
                clean(wanted)
                return unchanged(wanted, plan.entry)
            if prepared.resolved is not None and plan.fetch and content_is_here(plan, prepared.resolved):
                plan = plan._replace(fetch=False, refresh=True)
            clean(wanted, keep=_RESUMABLE if plan.fetch else ())
            current = prepared._replace(plan=plan)
            if plan.fetch and prepared.resolved is None:
                # It was there when it was looked for, and is gone or another one now.
                current = prepare(wanted, prepared.source, access)._replace(plan=plan)
            try:
                return _do(current, access, report)
            except BaseException:
                # What can't go on is of no use to the next run.
                with suppress(OSError):
                    clean(wanted, keep=_RESUMABLE)
                raise


def present(wanted: Wanted, source: Source, access: Access, check: bool, report: Report = no_report) -> Outcome:
    """Have one model in the store."""
    prepared = prepare(wanted, source, access, read=check)
    if prepared.plan.fetch:
        needed_space(prepared.wanted, prepared.size)
    return predict(prepared) if check else apply(prepared, access, report)
