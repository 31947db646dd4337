# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done for a model; nothing of it is done here.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import any_source, huggingface
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import (
    Client,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Resolved, Source
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.transport import (
    PROXY_REFUSED,
    PROXY_UNREACHABLE,
    SOURCE_UNREACHABLE,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import MADE, check_distinct
from ansible_collections.mistralrs.stack.plugins.module_utils._store import companion_files
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.chat_template import (
    check_template,
    installed_template,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.checksum import expected_sha256
from ansible_collections.mistralrs.stack.plugins.module_utils._store.disk_space import needed_space, store_errors
from ansible_collections.mistralrs.stack.plugins.module_utils._store.entry import Entry, read_entry
from ansible_collections.mistralrs.stack.plugins.module_utils._store.hashing import Counter
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import left_behind, occupied
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import (
    AUTO,
    FILE_MODE,
    Wanted,
    lock_path,
    made_path,
    model_path,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.local_source import probe_file
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import plain_status
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import is_same_source
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
    "Set 'sha256' to its sha256 to keep it, or remove it to have the model fetched.",
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
    # Of a file that stays, or its owner.
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
    """A plan with what the source said.

    C(expected) is the sha256 of the whole model, '' if nobody says it; a single file has it as its promise, too.
    C(size) is the number of bytes still to be fetched, C(summary) what the header says.
    """

    wanted: Wanted
    source: Source
    plan: Plan
    resolved: Resolved | None = None
    expected: str = ""
    size: int = 0
    summary: Mapping[str, Any] = {}
    idle: bool = False

    def with_source(self, resolved: Resolved) -> Prepared:
        """The same with what the source has. Raises C(model.checksum_mismatch) if that is not what is wanted."""
        expected = expected_sha256(self.wanted, self.source, resolved)
        if not resolved.directory:
            resolved = resolved._replace(files=(resolved.files[0]._replace(sha256=expected), *resolved.files[1:]))
        return self._replace(resolved=resolved, expected=expected)


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


def plan_model(wanted: Wanted, source: Source, seal: bool, seen: Counter | None = None) -> Plan:
    """What has to be done, by what the store has; C(seen) is told how much of it is read."""
    for kind in MADE:
        plain_status(wanted, made_path(wanted, kind))
    template = installed_template(wanted) != wanted.chat_template
    entry = read_entry(wanted, seen=seen)
    if entry is None:
        return Plan(fetch=True, template=template)
    sidecar = entry.sidecar
    mode = entry.mode != FILE_MODE or (os.geteuid() == 0 and not entry.is_ours)
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
        return Plan(fetch=True, entry=entry, template=template, mode=mode)
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
        mode=mode,
        seal=seal and _is_to_be_sealed(wanted, entry),
        summary=is_old,
    )


def _missing_bytes(wanted: Wanted, resolved: Resolved) -> int:
    """What of a download is not here yet."""
    here = sum(occupied(path) for path in left_behind(wanted))
    return max(0, sum(remote.size or 0 for remote in resolved.files) - here)


def content_is_here(prepared: Prepared) -> bool:
    """Whether what the source has now is what is in the store, by what the source says of it."""
    entry, resolved = prepared.plan.entry, prepared.resolved
    if entry is None or resolved is None or entry.directory != resolved.directory:
        return False
    return bool(prepared.expected) and entry.sha256 == prepared.expected


def without_fetch(planned: Prepared) -> Prepared:
    """The plan for content that is in the store already; that it is of this source is what changes."""
    entry = planned.plan.entry
    # A run may have been killed after it published this content: then the record is of what was there before.
    known = entry is not None and entry.sidecar.get("sha256") == entry.sha256
    return planned._replace(plan=planned.plan._replace(fetch=False, refresh=True, adopt=not known))


def check_adoption(planned: Prepared) -> None:
    """Refuse a file that was put into the store by hand if its source has another one."""
    wanted, entry, want = planned.wanted, planned.plan.entry, planned.expected
    if planned.plan.adopt and entry is not None and want and entry.sha256 != want:
        path, shown = model_path(wanted), planned.source.shown
        raise StackError(NOT_OF_SOURCE, name=wanted.name, path=path, source=shown, got=entry.sha256, want=want)


def _compared(planned: Prepared, client: Client, access: Access) -> Prepared:
    """Compare a file that was put into the store by hand with what its source has.

    Where the source does not answer, or not to us, the file is taken as it is: it may be there just for that.
    """
    wanted, source = planned.wanted, planned.source
    if wanted.sha256 or source.kind in ("file", "http", "https") or access.http.offline:
        return planned
    try:
        resolved = any_source.resolve(client, source, wanted.name, wanted.quantization, access.hub, to_read=False)
    except StackError as error:
        if error.id in _SILENT:
            return planned
        raise
    found = planned.with_source(resolved)
    if resolved.directory or not found.expected:
        return planned
    check_adoption(found)
    return found


def prepare(wanted: Wanted, source: Source, access: Access, read: bool = False) -> Prepared:
    """Ask and check all that can be known before the first byte; nothing is changed.

    With C(read) a file of this host is hashed too. A model that is in the store costs a few stats.
    """
    check_template(wanted)
    with store_errors(wanted):
        client = Client(wanted.name, access.http)
        if wanted.quantization == AUTO:
            wanted = chosen_before(wanted, source) or choose(wanted, source, client, access)
        planned = Prepared(wanted, source, plan_model(wanted, source, access.seal))
        if not planned.plan.fetch:
            # A killed run leaves its lock's file behind, and perhaps more.
            left = os.path.lexists(lock_path(wanted)) or bool(left_behind(wanted))
            planned = _compared(planned, client, access) if planned.plan.adopt else planned
            return planned._replace(idle=planned.plan.is_idle and not left)
        if source.kind == "file":
            resolved, summary = probe_file(wanted, source, read)
            planned = planned.with_source(resolved)
            check_support(wanted.name, summary, access.fit)
            if summary.get("version"):
                size = sum(each.size or 0 for each in resolved.files)
                check_memory(wanted.name, candidate_of(size, summary), access.fit)
        else:
            resolved = any_source.resolve(client, source, wanted.name, wanted.quantization, access.hub)
            planned = planned.with_source(resolved)
            if content_is_here(planned):
                return without_fetch(planned)
            summary = check_fit(wanted, source, resolved, client, access.fit, access.hub)
        return planned._replace(size=_missing_bytes(wanted, resolved), summary=summary)


def prepare_all(wanted: Sequence[Wanted], sources: Sequence[Source], access: Access, read: bool) -> list[Prepared]:
    """Everything that can be known before the first byte of the first model, also that all of them fit on the disk."""
    prepared = [prepare(each, source, access, read) for each, source in zip(wanted, sources)]
    # What 'auto' has chosen may be what another one is.
    check_distinct((each.wanted.name, each.wanted.file) for each in prepared)
    size = sum(each.size for each in prepared if each.plan.fetch)
    if size:
        needed_space(max(prepared, key=lambda each: each.size).wanted, size)
    return prepared
