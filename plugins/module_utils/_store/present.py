# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a model in the store: find out what is missing, fetch it, check it, publish it.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

C(prepare) asks and checks without changing anything, C(predict) tells the outcome from that, C(apply) does it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import (
    downloader,
    huggingface,
    model_files,
    resolve,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import (
    HTTP_ANSWER,
    INTERRUPTED,
    Client,
    Settings,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote, Resolved, Source
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.transport import (
    PROXY_REFUSED,
    PROXY_UNREACHABLE,
    SOURCE_UNREACHABLE,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._files.atomic import sync_directory
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import (
    gguf_header,
    gguf_model,
    safetensors_header,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._model import fitting, gguf_support
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import MADE, check_path, store_file_name
from ansible_collections.mistralrs.stack.plugins.module_utils._store import companion_files, model_store
from ansible_collections.mistralrs.stack.plugins.module_utils._store.companion_files import Staged
from ansible_collections.mistralrs.stack.plugins.module_utils._store.model_store import Entry, Outcome, Report, Wanted

NOT_OF_SOURCE = Fault(
    "model.not_of_source",
    "Model {name}: {path} was put there by hand and is not what {source} has: its sha256 is {got}, not {want}.",
    "Give its sha256 ('sha256') to keep it, or remove it, and it is fetched.",
)
_MODE = 0o644
_MAX_CONFIG = 1 << 20
_QUANTIZED = (".gguf", ".uqff")
# After these nobody knows what the source has.
_SILENT = (
    SOURCE_UNREACHABLE.id,
    PROXY_UNREACHABLE.id,
    PROXY_REFUSED.id,
    huggingface.UNAUTHORIZED.id,
)
_RESUMABLE = ("part", "part.json", "set")
# Raised when content that was accepted before may be refused, or when a summary tells more: the headers of stored
# models are then read once more.
_CHECKS = 1


class Fit(NamedTuple):
    """What the model has to fit: each GPU's memory in bytes, tokens of context, sequences at once, engine's version."""

    gpu_memory: tuple[int, ...] = ()
    context_length: int = 0
    batch_size: int = 1
    engine_version: str = ""


class Access(NamedTuple):
    """How models are reached and what is done with them."""

    http: Settings
    hub: huggingface.HubSettings
    fit: Fit = Fit()
    seal: bool = False


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


def _no_report(name: str, done: int, total: int | None = None, phase: str = "", waiting_for: str = "") -> None:
    """Nobody looks."""


def source_id(source: Source) -> str:
    """What tells one source from another, without what may be secret in it."""
    exact = source.url if source.kind in ("https", "http", "file") else ""
    parts = (source.kind, source.host, source.repository, source.revision, source.path, exact)
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _is_same_source(source: Source, sidecar: Mapping[str, Any]) -> bool:
    known = sidecar.get("source_id")
    return bool(known == source_id(source)) if known else sidecar.get("source") == source.shown


def _paths(wanted: Wanted, files: Mapping[str, Any]) -> list[str]:
    """The model's file, or all of them in the order of their names."""
    path = model_store.model_path(wanted, directory=bool(files))
    return [os.path.join(path, name) for name in sorted(files)] or [path]


def _is_to_be_sealed(wanted: Wanted, entry: Entry) -> bool:
    """Where sealing was tried in vain it is tried again only if the file system has learned it since."""
    sidecar = entry.sidecar
    if "sealed" not in sidecar:
        return True
    # A file that had to be read again may be another one with the same content.
    if sidecar["sealed"] and entry.verified_by != "hash":
        return False
    path = _paths(wanted, sidecar.get("files") or {})[0]
    return not sidecar.get("seal_refused") and local.can_be_sealed(path)


def _plan(wanted: Wanted, source: Source, seal: bool) -> Plan:
    for kind in MADE:
        model_store.plain_status(wanted, model_store.made_path(wanted, kind))
    template = model_store.installed_template(wanted) != wanted.chat_template
    entry = model_store.read_entry(wanted)
    if entry is None:
        return Plan(fetch=True, template=template)
    sidecar = entry.sidecar
    if wanted.sha256:
        fetch = entry.sha256 != wanted.sha256
    elif sidecar:
        # Without a sha256 the same source stands for the same content, unless a file was seen to be replaced.
        origin = local.origin(source.path) if source.kind == "file" else {}
        replaced = bool(origin) and bool(sidecar.get("origin")) and origin != sidecar["origin"]
        fetch = entry.sha256 != sidecar["sha256"] or not _is_same_source(source, sidecar) or replaced
    else:
        fetch = False
    if fetch:
        return Plan(fetch=True, entry=entry, template=template)
    # A record of other content says nothing about this one: a run may have been killed after it published the model.
    known = sidecar.get("sha256") == entry.sha256
    summary = sidecar["gguf"] if known else {}
    # An earlier release's record: of content that it checked less, perhaps.
    is_old = known and sidecar.get("checks") != _CHECKS
    if is_old:
        summary = model_store.inspect(wanted, entry)
    return Plan(
        fetch=False,
        entry=entry,
        adopt=not known,
        refresh=entry.verified_by == "hash" or not _is_same_source(source, sidecar),
        companions=known and not companion_files.are_current(wanted, sidecar, summary),
        template=template,
        mode=entry.mode != _MODE or (os.geteuid() == 0 and not entry.is_ours),
        seal=seal and _is_to_be_sealed(wanted, entry),
        summary=is_old,
    )


def _chosen_before(wanted: Wanted, source: Source) -> Wanted | None:
    """The model that an earlier run chose for C(quantization=auto)."""
    found = [each for each in model_store.chosen(wanted) if _is_same_source(source, model_store.read_sidecar(each))]
    return found[0] if found else None


def _choose(wanted: Wanted, source: Source, client: Client, access: Access) -> Wanted:
    """The best quantization that fits, for C(quantization=auto)."""
    offered = model_files.quantizations(client, source, wanted.name, access.hub)
    sizes = {label: sum(remote.size or 0 for remote in files) for label, files in offered.items()}
    summary: Mapping[str, Any] = {}
    if sizes:
        # All of them share the architecture: the smallest one's header is enough.
        smallest = offered[min(sizes, key=lambda label: sizes[label])][0]
        summary = _remote_summary(model_store.label(wanted), smallest, client)
    fit = access.fit
    candidates = [fitting.Candidate(label, sizes[label], dict(summary)) for label in sorted(sizes)]
    choice = fitting.choose(candidates, list(fit.gpu_memory), fit.context_length, fit.batch_size, wanted.name)
    label = choice.label.lower()
    return wanted._replace(quantization=label, file=store_file_name(wanted.name, label), asked=model_store.AUTO)


class Offer(NamedTuple):
    """A quantization that a source offers; sizes are in bytes. C(fits) is None if no GPUs are known."""

    label: str
    files: tuple[Remote, ...]
    size: int
    loadable: bool
    needs: int
    fits: bool | None


def offers(source: Source, name: str, access: Access) -> tuple[list[Offer], dict[str, Any]]:
    """What a hub's repository offers as GGUF, the smallest first, and the summary of the smallest one's header."""
    client = Client(name, access.http)
    offered = model_files.quantizations(client, source, name, access.hub)
    sizes = {label: sum(remote.size or 0 for remote in files) for label, files in offered.items()}
    ordered = sorted(offered, key=lambda label: sizes[label])
    if not ordered:
        return [], {}
    summary = _remote_summary(f"Model {name}", offered[ordered[0]][0], client)
    fit, found = access.fit, []
    for label in ordered:
        candidate = fitting.Candidate(label, sizes[label], summary)
        needs = fitting.estimate(candidate, fit.gpu_memory, fit.context_length, fit.batch_size).total
        fits = needs <= sum(fit.gpu_memory) if fit.gpu_memory else None
        loadable = gguf_support.is_loadable_label(label, str(summary.get("architecture") or ""))
        found.append(Offer(label, offered[label], sizes[label], loadable, needs, fits))
    return found, summary


def inspect_remote(source: Source, name: str, quantization: str, access: Access) -> tuple[Resolved, dict[str, Any]]:
    """The files that a source stands for, and the summary of the first model's header; nothing else is transferred."""
    client = Client(name, access.http)
    if source.kind == "file":
        return _probe_file(Wanted("/", name, quantization, "model.gguf", "", ""), source, read=False)
    resolved = resolve.resolve(client, source, name, quantization, access.hub)
    label, ggufs = f"Model {name}", [remote for remote in resolved.files if remote.name.endswith(".gguf")]
    if ggufs:
        return resolved, gguf_model.merged([_summary(label, resolved, each, client) for each in ggufs], label)
    tensors = [remote for remote in resolved.files if remote.name.endswith(".safetensors")]
    return resolved, _summary(label, resolved, tensors[0], client) if tensors else {}


def _summary(label: str, resolved: Resolved, remote: Remote, client: Client) -> dict[str, Any]:
    """What the header of a file says, wherever that is."""
    if resolved.local and not resolved.directory:
        return gguf_model.inspect_file(resolved.local, label)
    return _remote_summary(label, remote, client)


def _remote_summary(label: str, remote: Remote, client: Client) -> dict[str, Any]:
    """What the header of a file says that is not here yet."""

    def read_range(start: int, end: int) -> bytes:
        return resolve.read_range(client, remote, start, end)

    inspect = safetensors_header.inspect_remote if remote.name.endswith(".safetensors") else gguf_model.inspect_remote
    return dict(inspect(remote.size or 0, read_range, label))


def _tensors_summary(wanted: Wanted, resolved: Resolved, client: Client) -> dict[str, Any]:
    """What the headers of SafeTensors and the settings beside them say."""

    def reader(remote: Remote) -> Callable[[int, int], bytes]:
        return lambda start, end: resolve.read_range(client, remote, start, end)

    files = [(each.size or 0, reader(each)) for each in resolved.files if each.name.endswith(".safetensors")]
    by_name = {remote.name: remote for remote in resolved.files}
    config, content = by_name.get("config.json"), b"{}"
    if config is not None and 0 < (config.size or 0) <= _MAX_CONFIG:
        answer, body = client.text("GET", config.url, limit=_MAX_CONFIG)
        content = body if answer.status == 200 else content
    has_template = "chat_template.jinja" in by_name
    return safetensors_header.inspect_remote_set(files, content, model_store.label(wanted), has_template)


def _check_support(name: str, summary: Mapping[str, Any], fit: Fit) -> None:
    """Refuse a GGUF that the engine can't load."""
    if fit.engine_version and summary.get("version"):
        gguf_support.check(summary, fit.engine_version, name)


def _check_fit(
    wanted: Wanted,
    source: Source,
    resolved: Resolved,
    client: Client,
    fit: Fit,
    hub: huggingface.HubSettings,
) -> dict[str, Any]:
    """Refuse a GGUF that this engine can't load or that can't fit, before the first byte; the header's summary.

    SafeTensors may be wanted to be converted on this host, so that L{doubt} only warns of them.
    """
    models = [remote for remote in resolved.files if remote.name.endswith(".gguf")]
    tensors = [remote for remote in resolved.files if remote.name.endswith(".safetensors")]
    if any(each.size is None for each in models or tensors) or not (fit.engine_version or fit.gpu_memory):
        return {}
    try:
        if not models:
            return _tensors_summary(wanted, resolved, client) if tensors else {}
        label = model_store.label(wanted)
        summary = gguf_model.merged([_summary(label, resolved, each, client) for each in models], label)
    except StackError as error:
        if error.id == HTTP_ANSWER.id or not models:
            # The server gives out whole files only, or it is nothing to refuse them for: they are looked at when here.
            return {}
        raise
    _check_support(wanted.name, summary, fit)

    def offered() -> list[fitting.Candidate]:
        others = model_files.quantizations(client, source, wanted.name, hub)
        return [
            fitting.Candidate(label, sum(each.size or 0 for each in files), summary) for label, files in others.items()
        ]

    _check_memory(wanted.name, _candidate(sum(each.size or 0 for each in models), summary), fit, offered)
    return summary


def _candidate(size: int, summary: Mapping[str, Any], quantization: str = "") -> fitting.Candidate | None:
    """What the engine loads; None if that can't be told. SafeTensors it quantizes on the way, as the label says."""
    stored = str(summary.get("quantization", ""))
    if not summary or summary.get("version"):
        return fitting.Candidate(stored, size, dict(summary)) if summary else None
    loaded = fitting.loaded_bytes(size, stored, quantization)
    return None if loaded is None else fitting.Candidate(quantization.upper() or stored, loaded, dict(summary))


def _check_memory(
    name: str, asked: fitting.Candidate | None, fit: Fit, offered: Callable[[], Sequence[fitting.Candidate]] = list
) -> None:
    """Refuse what can't fit the GPUs; C(offered) are the quantizations that there are besides."""
    gpus = fit.gpu_memory
    if asked and gpus and fitting.estimate(asked, gpus, fit.context_length, fit.batch_size).total > sum(gpus):
        raise fitting.refusal(asked, offered(), gpus, fit.context_length, fit.batch_size, name)


def doubt(facts: Mapping[str, Any], fit: Fit) -> StackError | None:
    """Why the engine will not load a model of the store with the settings and GPUs of now; None if it can."""
    size, summary = facts["size"], facts["gguf"]

    def offered() -> list[fitting.Candidate]:
        """The other ways to quantize SafeTensors while they are loaded."""
        ways = [] if summary.get("version") else [_candidate(size, summary, label) for label in fitting.IN_SITU]
        return [way for way in ways if way and way.bytes < size]

    try:
        _check_support(facts["name"], summary, fit)
        _check_memory(facts["name"], _candidate(size, summary, facts["quantization"]), fit, offered)
    except StackError as error:
        return error
    return None


def _probe_file(wanted: Wanted, source: Source, read: bool) -> tuple[Resolved, dict[str, Any]]:
    """What a file or directory of this host is; with C(read) it is also hashed where a sha256 is wanted."""
    if os.path.isdir(source.path):
        return _probe_directory(wanted, source, read)
    with local.opened(wanted.name, source.path) as (_descriptor, status):
        summary = gguf_model.inspect(source.path, model_store.label(wanted))
        companion_files.check([source.path], model_store.label(wanted))
        if read and wanted.sha256:
            got = local.hash_file(os.path.realpath(source.path))
            _check_sha256(wanted, source, got, status.st_size)
        remote = Remote(wanted.file, source.url, size=status.st_size, sha256=wanted.sha256)
        return Resolved((remote,), local=source.path), summary


def _probe_directory(wanted: Wanted, source: Source, read: bool) -> tuple[Resolved, dict[str, Any]]:
    """What a directory of this host is: SafeTensors, the shards of a GGUF, or what the engine's quantize wrote."""
    names = sorted(name for name in os.listdir(source.path) if model_files.is_wanted(name) or name.endswith(_QUANTIZED))
    resolve.check_files(names, source, wanted.name)
    paths = {name: os.path.join(source.path, name) for name in names}
    remotes = []
    for name, path in paths.items():
        check_path(name)
        with local.opened(wanted.name, path) as (_descriptor, status):
            version = f"{status.st_mtime_ns}-{status.st_ino}"
            remotes.append(Remote(name, path, size=status.st_size, etag=version))
    summary = model_store.inspect_files(wanted, paths)
    companion_files.check([paths[name] for name in names if name.endswith(".gguf")], model_store.label(wanted))
    if read and wanted.sha256:
        digests = dict(zip(names, model_store.hash_files(paths.values())))
        total = sum(remote.size or 0 for remote in remotes)
        _check_sha256(wanted, source, model_store.set_digest(digests), total)
    return Resolved(tuple(remotes), directory=True, local=source.path), summary


def _missing_bytes(wanted: Wanted, resolved: Resolved) -> int:
    """What of a download is not here yet."""
    here = sum(model_store.occupied(path) for path in model_store.left_behind(wanted))
    return max(0, sum(remote.size or 0 for remote in resolved.files) - here)


def _content_is_here(plan: Plan, resolved: Resolved) -> bool:
    """Whether what the source has now is what is in the store, by what the source says of it."""
    if plan.entry is None or not all(remote.sha256 for remote in resolved.files):
        return False
    if resolved.directory:
        digest = model_store.set_digest({remote.name: remote.sha256 for remote in resolved.files})
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
        resolved = resolve.resolve(client, source, wanted.name, wanted.quantization, access.hub, to_read=False)
    except StackError as error:
        if error.id in _SILENT:
            return None
        raise
    want = resolved.files[0].sha256
    if resolved.directory or not want or plan.entry is None:
        return None
    if plan.entry.sha256 != want:
        path = model_store.model_path(wanted)
        raise StackError(
            NOT_OF_SOURCE, name=wanted.name, path=path, source=source.shown, got=plan.entry.sha256, want=want
        )
    return resolved


def prepare(wanted: Wanted, source: Source, access: Access, read: bool = False) -> Prepared:
    """Ask and check all that can be known before the first byte; nothing is changed.

    With C(read) a file of this host is hashed too. A model that is in the store costs a few stats.
    """
    model_store.check_template(wanted)
    with model_store.store_errors(wanted):
        client = Client(wanted.name, access.http)
        if wanted.quantization == model_store.AUTO:
            wanted = _chosen_before(wanted, source) or _choose(wanted, source, client, access)
        plan = _plan(wanted, source, access.seal)
        if not plan.fetch:
            # A killed run leaves its lock's file behind, and perhaps more.
            left = os.path.lexists(model_store.lock_path(wanted)) or bool(model_store.left_behind(wanted))
            origin = _compared(wanted, source, plan, client, access) if plan.adopt else None
            return Prepared(wanted, source, plan, origin, idle=plan.is_idle and not left)
        if source.kind == "file":
            resolved, summary = _probe_file(wanted, source, read)
            _check_support(wanted.name, summary, access.fit)
            if summary.get("version"):
                size = sum(each.size or 0 for each in resolved.files)
                _check_memory(wanted.name, _candidate(size, summary), access.fit)
        else:
            resolved = resolve.resolve(client, source, wanted.name, wanted.quantization, access.hub)
            promised = resolved.files[0].sha256 if not resolved.directory else ""
            if wanted.sha256 and promised and promised != wanted.sha256:
                _check_sha256(wanted, source, promised, resolved.files[0].size or 0)
            if _content_is_here(plan, resolved):
                return Prepared(wanted, source, plan._replace(fetch=False, refresh=True), resolved)
            summary = _check_fit(wanted, source, resolved, client, access.fit, access.hub)
        return Prepared(wanted, source, plan, resolved, _missing_bytes(wanted, resolved), summary)


def _check_sha256(wanted: Wanted, source: Source, got: str, size: int) -> None:
    if wanted.sha256 and got != wanted.sha256:
        raise StackError(
            downloader.CHECKSUM_MISMATCH, name=wanted.name, source=source.shown, got=got, size=size, want=wanted.sha256
        )


def predict(prepared: Prepared) -> Outcome:
    """The outcome of a run, without changing anything."""
    wanted, plan, resolved = prepared.wanted, prepared.plan, prepared.resolved
    before = model_store.state_now(wanted, plan.entry)
    if plan.entry is not None and not plan.changed and not plan.summary:
        return _unchanged(wanted, plan.entry)
    if (plan.fetch or plan.entry is None) and resolved is not None:
        size = sum(remote.size or 0 for remote in resolved.files)
        known = {remote.name: remote.sha256 for remote in resolved.files}
        sha256 = wanted.sha256 or (resolved.files[0].sha256 if not resolved.directory else "")
        if resolved.directory and all(known.values()):
            sha256 = model_store.set_digest(known)
        record = _record(prepared, prepared.summary, known if resolved.directory else {})
        facts = model_store.facts(wanted, size, sha256, record, "none", resolved.directory)
    else:
        entry = plan.entry
        if entry is None:
            raise ValueError("a plan without a model fetches it")
        recorded = {} if plan.adopt or plan.summary else entry.sidecar.get("gguf")
        gguf = recorded or model_store.inspect(wanted, entry)
        tokenizer = {} if plan.adopt else {"tokenizer": entry.sidecar.get("tokenizer")}
        record = {**_record(prepared, gguf, entry.sidecar.get("files") or {}), **tokenizer}
        facts = model_store.facts(wanted, entry.size, entry.sha256, record, entry.verified_by, entry.directory)
    made = [facts[kind] for kind in MADE if facts[kind]]
    after = model_store.state(facts["size"], facts["sha256"], made, wanted.chat_template)
    return Outcome(plan.changed, before, after, facts)


def _record(prepared: Prepared, gguf: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
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


def _unchanged(wanted: Wanted, entry: Entry) -> Outcome:
    now = model_store.state_now(wanted, entry)
    facts = model_store.facts(wanted, entry.size, entry.sha256, entry.sidecar, entry.verified_by, entry.directory)
    return Outcome(False, now, now, facts)


def _check_start(wanted: Wanted, remote: Remote, alone: bool) -> Callable[[bytes], None]:
    """Refuses what is no model by its first bytes, before the rest of it is transferred; a file C(alone) is a GGUF."""

    def check(start: bytes) -> None:
        name = f"{model_store.label(wanted)}, file {remote.name}" if "/" in remote.name else model_store.label(wanted)
        if (alone or remote.name.endswith(".gguf")) and start[:4] != b"GGUF":
            gguf_header.parse_header(start, len(start), name)
        if remote.name.endswith(".safetensors") or start.startswith(b"version https://git-lfs"):
            safetensors_header.check_start(start, name)

    return check


class _Fetched(NamedTuple):
    """A model that was fetched: its sha256, the record of its files if they are several, the header's summary.

    C(staged) is what was made for it.
    """

    sha256: str
    files: dict[str, dict[str, Any]]
    gguf: dict[str, Any]
    origin: dict[str, int]
    staged: Staged


def _accepted(
    wanted: Wanted, folder: str, files: Mapping[str, Any], path: str, access: Access, report: Report
) -> tuple[dict[str, Any], Staged]:
    """Read all of a model that has no final name yet: the file C(path), or C(files) in a folder.

    The header's summary and what was made for it. Whatever there is to refuse is refused here: it must not take the
    place of a good model.
    """
    paths = {name: os.path.join(folder, name) for name in files}
    label = model_store.label(wanted)
    gguf = model_store.inspect_files(wanted, paths) if files else gguf_model.inspect(path, label)
    _check_support(wanted.name, gguf, access.fit)
    report(wanted.name, 0, None, "making the tokenizer")
    return gguf, companion_files.stage(wanted, _ggufs(paths, path), {})


def _ggufs(paths: Mapping[str, str], path: str) -> list[str]:
    """The GGUFs among the files of a model, the one with its vocabulary first; or its one file."""
    return [paths[name] for name in sorted(paths) if name.endswith(".gguf")] if paths else [path]


def _fetch_local(wanted: Wanted, source: Source, path: str, access: Access, report: Report) -> _Fetched:
    """Take over a file of this host."""
    with local.opened(wanted.name, path) as (descriptor, status):
        with model_store.incoming(wanted, "copy") as (target, written):
            sha256, size = local.copy(
                descriptor,
                written,
                status.st_size + 1,
                lambda done: report(wanted.name, done, status.st_size, "copying"),
            )
            if size != status.st_size:
                raise StackError(
                    INTERRUPTED,
                    name=wanted.name,
                    source=source.shown,
                    got=size,
                    want=status.st_size,
                    why="",
                )
            _check_sha256(wanted, source, sha256, size)
            gguf, staged = _accepted(wanted, "", {}, target, access, report)
            model_store.publish(wanted, target, written, wanted.file)
        return _Fetched(sha256, {}, gguf, {"size": status.st_size, "mtime_ns": status.st_mtime_ns}, staged)


def _copy(wanted: Wanted, path: str, part: str, report: Any) -> tuple[str, int]:
    """Copy a file of this host; the copy's sha256 and size."""
    with local.opened(wanted.name, path) as (descriptor, status), open(part, "wb") as target:
        try:
            copied = local.copy(
                descriptor, target.fileno(), status.st_size + 1, lambda done: report(done, status.st_size, "copying")
            )
            os.fsync(target.fileno())
        except BaseException:
            # It does not go on later.
            model_store.remove(part)
            raise
    return copied


def _copied(wanted: Wanted, source: Source, remote: Remote, part: str, report: Any) -> str:
    """Copy one file of a directory of this host; its sha256."""
    sha256, size = _copy(wanted, remote.url, part, report)
    if size != remote.size:
        model_store.remove(part)
        raise StackError(INTERRUPTED, name=wanted.name, source=source.shown, got=size, want=remote.size, why="")
    return sha256


def _kept(prepared: Prepared, remote: Remote, part: str, report: Any) -> str:
    """Copy a file out of the model that is replaced, if it has the wanted content; its sha256, or ''."""
    wanted, entry = prepared.wanted, prepared.plan.entry
    files = entry.sidecar.get("files") or {} if entry else {}
    same = [name for name, known in files.items() if remote.sha256 and known.get("sha256") == remote.sha256]
    for name in same[:1]:
        with suppress(StackError):
            path = os.path.join(model_store.model_path(wanted, directory=True), name)
            if _copy(wanted, path, part, report)[0] == remote.sha256:
                return remote.sha256
            model_store.remove(part)
    return ""


def _received(prepared: Prepared, remote: Remote, part: str, client: Client, access: Access, report: Any) -> str:
    """Have one file in C(part), from afar or from this host; its sha256."""
    wanted, source = prepared.wanted, prepared.source
    if prepared.resolved is not None and prepared.resolved.local:
        return _copied(wanted, source, remote, part, report)

    # A branch may have moved on since: all files are those of the commit that was resolved first.
    pinned = source._replace(revision=remote.commit) if source.kind == "hf" and remote.commit else source

    def again() -> Remote:
        found = resolve.resolve(client, pinned, wanted.name, wanted.quantization, access.hub)
        return next(other for other in found.files if other.name == remote.name)

    alone = not (prepared.resolved and prepared.resolved.directory)
    expected = remote.sha256 or (wanted.sha256 if alone else "")
    check = _check_start(wanted, remote, alone)
    got = downloader.download(client, remote, part, wanted.name, expected, report, check, again)
    return got.sha256


def _fetch_one(prepared: Prepared, remote: Remote, client: Client, access: Access, report: Report) -> _Fetched:
    """Download a model that is one file."""
    wanted = prepared.wanted
    part = model_store.incoming_path(wanted, "part")

    def shown(done: int, total: int | None, phase: str) -> None:
        report(wanted.name, done, total, phase)

    sha256 = _received(prepared, remote, part, client, access, shown)
    try:
        _check_sha256(wanted, prepared.source, sha256, os.lstat(part).st_size)
        gguf, staged = _accepted(wanted, "", {}, part, access, report)
    except StackError:
        model_store.clean(wanted)
        raise
    descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        model_store.publish(wanted, part, descriptor, wanted.file)
    finally:
        os.close(descriptor)
    return _Fetched(sha256, {}, gguf, {}, staged)


def _fetch_set(prepared: Prepared, client: Client, access: Access, report: Report) -> _Fetched:
    """Fetch a model of several files; each is kept when it is complete, all are published at once."""
    wanted, resolved = prepared.wanted, prepared.resolved
    if resolved is None:
        raise ValueError("nothing was resolved")
    folder = model_store.incoming_path(wanted, "set")
    os.makedirs(folder, mode=0o755, exist_ok=True)
    journal = os.path.join(folder, ".verified.json")
    try:
        verified = json.loads(model_store.read_small(journal, 1 << 23) or b"{}")
    except ValueError:
        verified = {}
    sizes = {remote.name: remote.size or 0 for remote in resolved.files}
    total = sum(sizes.values()) if all(remote.size is not None for remote in resolved.files) else None
    before = 0
    kept: dict[str, dict[str, Any]] = {}
    for remote in resolved.files:
        path = os.path.join(folder, remote.name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        status = model_store.plain_status(wanted, path)
        known = verified.get(remote.name) if isinstance(verified, dict) else None
        complete = (
            status is not None
            and isinstance(known, dict)
            and all(known.get(key) == value for key, value in local.identity(status).items())
            and known.get("promise") == [remote.sha256, remote.git_sha1, remote.etag, remote.commit]
        )
        if not complete:

            def shown(done: int, _total: int | None, phase: str, base: int = before) -> None:
                report(wanted.name, base + done, total, phase)

            sha256 = _kept(prepared, remote, path + ".part", shown)
            sha256 = sha256 or _received(prepared, remote, path + ".part", client, access, shown)
            os.chmod(path + ".part", _MODE)
            os.replace(path + ".part", path)
            model_store.remove(path + ".part.json")
            promise = [remote.sha256, remote.git_sha1, remote.etag, remote.commit]
            known = {**local.identity(os.lstat(path)), "sha256": sha256, "promise": promise}
        kept[remote.name] = dict(known or {})
        temporary = journal + ".new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(kept, file)
        os.replace(temporary, journal)
        before += sizes[remote.name]
    files = {name: {key: value for key, value in record.items() if key != "promise"} for name, record in kept.items()}
    sha256 = model_store.set_digest({name: record["sha256"] for name, record in files.items()})
    try:
        _check_sha256(wanted, prepared.source, sha256, before)
        gguf, staged = _accepted(wanted, folder, files, "", access, report)
    except StackError:
        model_store.clean(wanted)
        raise
    _publish_set(wanted, folder, set(files))
    return _Fetched(sha256, files, gguf, local.origin(resolved.local) if resolved.local else {}, staged)


def _publish_set(wanted: Wanted, folder: str, names: set[str]) -> None:
    """Give a complete directory its final name; what was there before goes after that."""
    for parent, _folders, found in os.walk(folder):
        for name in found:
            path = os.path.join(parent, name)
            if os.path.relpath(path, folder) not in names:
                model_store.remove(path)
        os.chmod(parent, 0o755)
        sync_directory(parent)
    target = model_store.model_path(wanted, directory=True)
    old = model_store.incoming_path(wanted, "old")
    model_store.remove(old)
    if os.path.lexists(target):
        os.rename(target, old)
    os.rename(folder, target)
    sync_directory(wanted.store)
    model_store.remove(old)


def _fetch(prepared: Prepared, access: Access, report: Report) -> _Fetched:
    wanted, source, resolved = prepared.wanted, prepared.source, prepared.resolved
    if resolved is None:
        raise ValueError("nothing was resolved")
    client = Client(wanted.name, access.http)
    if resolved.local and not resolved.directory:
        exact = wanted if wanted.sha256 else wanted._replace(sha256=resolved.files[0].sha256)
        try:
            return _fetch_local(exact, source, resolved.local, access, report)
        except StackError as error:
            if source.kind != "ollama" or error.id != downloader.CHECKSUM_MISMATCH.id or access.http.offline:
                raise
        # The blob in the local Ollama's store is damaged; its registry has the right one.
        registry = access.hub._replace(ollama_models=())
        resolved = resolve.resolve(client, source, wanted.name, wanted.quantization, registry)
        prepared = prepared._replace(resolved=resolved)
    if resolved.directory:
        return _fetch_set(prepared, client, access, report)
    return _fetch_one(prepared, resolved.files[0], client, access, report)


def _do(prepared: Prepared, access: Access, report: Report) -> Outcome:
    """Do what is planned. The order matters: what C(.store/) says about the model is written last."""
    wanted, plan = prepared.wanted, prepared.plan
    entry = plan.entry
    before = model_store.state_now(wanted, entry)
    sidecar = dict(entry.sidecar) if entry and not plan.adopt else {}
    verified_by = entry.verified_by if entry else "hash"
    files: dict[str, Any] = dict(sidecar.get("files") or {})
    if plan.fetch or entry is None:
        sha256, files, gguf, origin, staged = _fetch(prepared, access, report)
        verified_by = "hash"
        # The model had the other form before: one file, or a directory.
        other = model_store.model_path(wanted, directory=not files)
        if entry is not None and entry.directory != bool(files):
            model_store.remove(other)
    else:
        sha256 = entry.sha256
        origin = sidecar.get("origin") or (local.origin(prepared.source.path) if prepared.source.kind == "file" else {})
        gguf = ({} if plan.summary else sidecar.get("gguf")) or model_store.inspect(wanted, entry)
        staged = Staged({kind: sidecar.get(kind) for kind in MADE}, ())
        if plan.adopt or plan.companions:
            report(wanted.name, 0, None, "making the tokenizer")
            folder = model_store.model_path(wanted, directory=True)
            paths = _ggufs({name: os.path.join(folder, name) for name in files}, model_store.model_path(wanted))
            staged = companion_files.stage(wanted, paths, staged.records if plan.companions else {})
        for path in _paths(wanted, files):
            if plan.mode:
                os.chmod(path, _MODE)
            # Whoever copied it here is not to alter it afterwards.
            if (plan.adopt or not entry.is_ours) and os.geteuid() == 0:
                os.chown(path, 0, 0)
    made = companion_files.publish(wanted, staged) if plan.fetch or plan.adopt or plan.companions else staged.records
    if plan.template:
        name = model_store.template_name(wanted)
        if wanted.chat_template:
            content = wanted.chat_template.encode("utf-8", "surrogateescape")
            model_store.write_small(wanted, "template", content, name)
        else:
            os.unlink(model_store.store_path(wanted, name))
    fresh = plan.fetch or plan.adopt or plan.refresh
    written: dict[str, Any] = {
        **_record(prepared, gguf, _identities(wanted, files)),
        "format": 1,
        "checks": _CHECKS,
        "sha256": sha256,
        "origin": origin,
        "verified_at": int(time.time()) if fresh else sidecar.get("verified_at"),
        **made,
    }
    if not (plan.fetch or written["revision"]):
        written["revision"] = sidecar.get("revision", "")
    if access.seal or "sealed" in sidecar:
        sealed = "" if verified_by == "hash" else sidecar.get("sealed")
        paths = _paths(wanted, files)
        digest_of = local.seal if access.seal else local.sealed_digest
        # All of them are sealed; the digest of the first is told.
        written["sealed"] = sealed or [digest_of(path) for path in paths][0]
        written["seal_refused"] = access.seal and not written["sealed"] and local.can_be_sealed(paths[0])
    if files:
        written["size"] = sum(record["size"] for record in written["files"].values())
    else:
        written.update(local.identity(os.lstat(model_store.model_path(wanted))))
    model_store.write_small(wanted, "json", model_store.record_text(written), ".store", wanted.file + ".json")
    model_store.clean(wanted)
    stored = Entry(written["size"], sha256, written, verified_by, _MODE, bool(files))
    facts = model_store.facts(wanted, stored.size, sha256, written, verified_by, stored.directory)
    return Outcome(plan.changed, before, model_store.state_now(wanted, stored), facts)


def _identities(wanted: Wanted, files: Mapping[str, Any]) -> dict[str, Any]:
    """The record of each file as it lies there now."""
    folder = model_store.model_path(wanted, directory=True)
    return {name: {**record, **local.identity(os.lstat(os.path.join(folder, name)))} for name, record in files.items()}


def apply(prepared: Prepared, access: Access, report: Report = _no_report) -> Outcome:
    """Do what is missing, under the model's lock. A run that changes nothing takes no lock."""
    wanted = prepared.wanted
    if prepared.idle and prepared.plan.entry is not None:
        return _unchanged(wanted, prepared.plan.entry)
    with model_store.store_errors(wanted):
        model_store.make_directories(wanted)
        with model_store.locked(wanted, lambda holder: report(wanted.name, 0, None, "waiting", holder)):
            # Another run may have done it while this one waited.
            plan = _plan(wanted, prepared.source, access.seal)
            if plan.entry is not None and plan.is_idle:
                model_store.clean(wanted)
                return _unchanged(wanted, plan.entry)
            if prepared.resolved is not None and plan.fetch and _content_is_here(plan, prepared.resolved):
                plan = plan._replace(fetch=False, refresh=True)
            model_store.clean(wanted, keep=_RESUMABLE if plan.fetch else ())
            current = prepared._replace(plan=plan)
            if plan.fetch and prepared.resolved is None:
                # It was there when it was looked for, and is gone or another one now.
                current = prepare(wanted, prepared.source, access)._replace(plan=plan)
            try:
                return _do(current, access, report)
            except BaseException:
                # What can't go on is of no use to the next run.
                with suppress(OSError):
                    model_store.clean(wanted, keep=_RESUMABLE)
                raise


def present(wanted: Wanted, source: Source, access: Access, check: bool, report: Report = _no_report) -> Outcome:
    """Have one model in the store."""
    prepared = prepare(wanted, source, access, read=check)
    if prepared.plan.fetch:
        model_store.needed_space(prepared.wanted, prepared.size)
    return predict(prepared) if check else apply(prepared, access, report)
