# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outcome of a plan, without doing it.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import MADE
from ansible_collections.mistralrs.stack.plugins.module_utils._store.entry import Entry
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.outcome import (
    Outcome,
    model_facts,
    model_state,
    state_now,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.plan import Prepared
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import source_id
from ansible_collections.mistralrs.stack.plugins.module_utils._store.structure import inspect_stored


def provenance(prepared: Prepared, gguf: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
    """What C(.store/) will say of where the model comes from."""
    wanted, source = prepared.wanted, prepared.source
    return {
        "name": wanted.name,
        "quantization": wanted.quantization,
        "asked": wanted.asked or wanted.quantization,
        "source": source.shown,
        "source_id": source_id(source),
        "revision": prepared.resolved.revision if prepared.resolved else "",
        "gguf": dict(gguf),
        "files": dict(files),
    }


def unchanged(wanted: Wanted, entry: Entry) -> Outcome:
    """The outcome of a run that does nothing."""
    now = state_now(wanted, entry)
    facts = model_facts(wanted, entry.size, entry.sha256, entry.sidecar, entry.verified_by, entry.directory)
    return Outcome(False, now, now, facts)


def predict(prepared: Prepared) -> Outcome:
    """The outcome of a run, without changing anything."""
    wanted, plan, resolved = prepared.wanted, prepared.plan, prepared.resolved
    before = state_now(wanted, plan.entry)
    if plan.entry is not None and not plan.changed and not plan.summary:
        return unchanged(wanted, plan.entry)
    if (plan.fetch or plan.entry is None) and resolved is not None:
        size = sum(remote.size or 0 for remote in resolved.files)
        known = {remote.name: remote.sha256 for remote in resolved.files}
        record = provenance(prepared, prepared.summary, known if resolved.directory else {})
        facts = model_facts(wanted, size, prepared.expected, record, "none", resolved.directory)
    else:
        entry = plan.entry
        if entry is None:
            raise ValueError("a plan without a model fetches it")
        recorded = {} if plan.adopt or plan.summary else entry.sidecar.get("gguf")
        gguf = recorded or inspect_stored(wanted, entry)
        tokenizer = {} if plan.adopt else {"tokenizer": entry.sidecar.get("tokenizer")}
        record = {**provenance(prepared, gguf, entry.sidecar.get("files") or {}), **tokenizer}
        facts = model_facts(wanted, entry.size, entry.sha256, record, entry.verified_by, entry.directory)
    made = [facts[kind] for kind in MADE if facts[kind]]
    after = model_state(facts["size"], facts["sha256"], made, wanted.chat_template)
    return Outcome(plan.changed, before, after, facts)
