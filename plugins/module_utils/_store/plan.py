# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done for a model; nothing of it is done here.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import huggingface
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import (
    PROXY_REFUSED,
    PROXY_UNREACHABLE,
    SOURCE_UNREACHABLE,
    Client,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Resolved, Source
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import MADE
from ansible_collections.mistralrs.stack.plugins.module_utils._store import companion_files
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.chat_template import (
    check_template,
    installed_template,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.disk_space import store_errors
from ansible_collections.mistralrs.stack.plugins.module_utils._store.entry import Entry, read_entry
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import left_behind, occupied
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import (
    AUTO,
    FILE_MODE,
    Wanted,
    lock_path,
    made_path,
    model_path,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.local_source import check_sha256, probe_file
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import plain_status
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import is_same_source, set_digest
from ansible_collections.mistralrs.stack.plugins.module_utils._store.selection import choose, chosen_before
from ansible_collections.mistralrs.stack.plugins.module_utils._store.structure import inspect_stored
from ansible_collections.mistralrs.stack.plugins.module_utils._store.suitability import (
    candidate_of,
    check_fit,
    check_memory,
    check_support,
)

NOT_OF_SOURCE = Fault(
    "model.not_of_source",
    "Model {name}: {path} was put there by hand and is not what {source} has: its sha256 is {got}, not {want}.",
    "Give its sha256 ('sha256') to keep it, or remove it, and it is fetched.",
)
# After these nobody knows what the source has.
_SILENT = (
    SOURCE_UNREACHABLE.id,
    PROXY_UNREACHABLE.id,
    PROXY_REFUSED.id,
    huggingface.UNAUTHORIZED.id,
)
# Raised when content that was accepted before may be refused, or when a summary tells more: the headers of stored
# models are then read once more.
CHECKS = 1


class Plan(NamedTuple):
    """What has to be done; nothing of it is done yet."""

    fetch: bool
    entry: Entry | None = None
    adopt: bool = False
    refresh: bool = False
    companions: bool = False
    template: bool = False
    mode: bool = False
    seal: bool = False
    # The record is an earlier release's.
    summary: bool = False

    @property
    def changed(self) -> bool:
        """Whether the store will be another one."""
        return self.fetch or self.adopt or self.companions or self.template or self.mode or self.seal

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be written, not even a record."""
        return not (self.changed or self.refresh or self.summary)


class Prepared(NamedTuple):
    """A plan with what the source said. C(size) is still to be fetched, C(summary) is what the header says."""

    wanted: Wanted
    source: Source
    plan: Plan
    resolved: Resolved | None = None
    size: int = 0
    summary: Mapping[str, Any] = {}
    idle: bool = False


def model_files(wanted: Wanted, files: Mapping[str, Any]) -> list[str]:
    """The model's file, or all of them in the order of their names."""
    path = model_path(wanted, directory=bool(files))
    return [os.path.join(path, name) for name in sorted(files)] or [path]


def _is_to_be_sealed(wanted: Wanted, entry: Entry) -> bool:
    """Where sealing was tried in vain it is tried again only if the file system has learned it since."""
    sidecar = entry.sidecar
    if "sealed" not in sidecar:
        return True
    # A file that had to be read again may be another one with the same content.
    if sidecar["sealed"] and entry.verified_by != "hash":
        return False
    path = model_files(wanted, sidecar.get("files") or {})[0]
    return not sidecar.get("seal_refused") and local.can_be_sealed(path)


def plan_model(wanted: Wanted, source: Source, seal: bool) -> Plan:
    for kind in MADE:
        plain_status(wanted, made_path(wanted, kind))
    template = installed_template(wanted) != wanted.chat_template
    entry = read_entry(wanted)
    if entry is None:
        return Plan(fetch=True, template=template)
    sidecar = entry.sidecar
    if wanted.sha256:
        fetch = entry.sha256 != wanted.sha256
    elif sidecar:
        # Without a sha256 the same source stands for the same content, unless a file was seen to be replaced.
        origin = local.origin(source.path) if source.kind == "file" else {}
        replaced = bool(origin) and bool(sidecar.get("origin")) and origin != sidecar["origin"]
        fetch = entry.sha256 != sidecar["sha256"] or not is_same_source(source, sidecar) or replaced
    else:
        fetch = False
    if fetch:
        return Plan(fetch=True, entry=entry, template=template)
    # A record of other content says nothing about this one: a run may have been killed after it published the model.
    known = sidecar.get("sha256") == entry.sha256
    summary = sidecar["gguf"] if known else {}
    # An earlier release's record: of content that it checked less, perhaps.
    is_old = known and sidecar.get("checks") != CHECKS
    if is_old:
        summary = inspect_stored(wanted, entry)
    return Plan(
        fetch=False,
        entry=entry,
        adopt=not known,
        refresh=entry.verified_by == "hash" or not is_same_source(source, sidecar),
        companions=known and not companion_files.are_current(wanted, sidecar, summary),
        template=template,
        mode=entry.mode != FILE_MODE or (os.geteuid() == 0 and not entry.is_ours),
        seal=seal and _is_to_be_sealed(wanted, entry),
        summary=is_old,
    )


def _missing_bytes(wanted: Wanted, resolved: Resolved) -> int:
    """What of a download is not here yet."""
    here = sum(occupied(path) for path in left_behind(wanted))
    return max(0, sum(remote.size or 0 for remote in resolved.files) - here)


def content_is_here(plan: Plan, resolved: Resolved) -> bool:
    """Whether what the source has now is what is in the store, by what the source says of it."""
    if plan.entry is None or not all(remote.sha256 for remote in resolved.files):
        return False
    if resolved.directory:
        digest = set_digest({remote.name: remote.sha256 for remote in resolved.files})
        return plan.entry.directory and plan.entry.sha256 == digest
    return not plan.entry.directory and plan.entry.sha256 == resolved.files[0].sha256


def _compared(wanted: Wanted, source: Source, plan: Plan, client: Client, access: Access) -> Resolved | None:
    """Refuse a file that was put into the store by hand if its source has another one; what the source has.

    None if the source does not say. Where it does not answer, or not to us, the file is taken as it is: it may be
    there just for that.
    """
    if wanted.sha256 or source.kind in ("file", "http", "https") or access.http.offline:
        return None
    try:
        resolved = huggingface.resolve(client, source, wanted.name, wanted.quantization, "", access.hub, to_read=False)
    except StackError as error:
        if error.id in _SILENT:
            return None
        raise
    want = resolved.files[0].sha256
    if resolved.directory or not want or plan.entry is None:
        return None
    if plan.entry.sha256 != want:
        path = model_path(wanted)
        raise StackError(
            NOT_OF_SOURCE, name=wanted.name, path=path, source=source.shown, got=plan.entry.sha256, want=want
        )
    return resolved


def prepare(wanted: Wanted, source: Source, access: Access, read: bool = False) -> Prepared:
    """Ask and check all that can be known before the first byte; nothing is changed.

    With C(read) a file of this host is hashed too. A model that is in the store costs a few stats.
    """
    check_template(wanted)
    with store_errors(wanted):
        client = Client(wanted.name, access.http)
        if wanted.quantization == AUTO:
            wanted = chosen_before(wanted, source) or choose(wanted, source, client, access)
        plan = plan_model(wanted, source, access.seal)
        if not plan.fetch:
            # A killed run leaves its lock's file behind, and perhaps more.
            left = os.path.lexists(lock_path(wanted)) or bool(left_behind(wanted))
            origin = _compared(wanted, source, plan, client, access) if plan.adopt else None
            return Prepared(wanted, source, plan, origin, idle=plan.is_idle and not left)
        if source.kind == "file":
            resolved, summary = probe_file(wanted, source, read)
            check_support(wanted.name, summary, access.fit)
            if summary.get("version"):
                size = sum(each.size or 0 for each in resolved.files)
                check_memory(wanted.name, candidate_of(size, summary), access.fit)
        else:
            resolved = huggingface.resolve(client, source, wanted.name, wanted.quantization, wanted.sha256, access.hub)
            promised = resolved.files[0].sha256 if not resolved.directory else ""
            if wanted.sha256 and promised and promised != wanted.sha256:
                check_sha256(wanted, source, promised, resolved.files[0].size or 0)
            if content_is_here(plan, resolved):
                return Prepared(wanted, source, plan._replace(fetch=False, refresh=True), resolved)
            summary = check_fit(wanted, source, resolved, client, access.fit, access.hub)
        return Prepared(wanted, source, plan, resolved, _missing_bytes(wanted, resolved), summary)
