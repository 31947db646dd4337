# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model store: a flat directory in which a file under its final name is always complete and verified.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

C(<file>.gguf), C(<stem>.tokenizer.json) and C(<stem>.jinja) lie in the store; C(.store/<file>.json) says what was
verified. New files are written in C(.store/incoming/), checked, synced and renamed; what C(.store/) says is written
last, so that after a crash at any point the next run sees what is not finished. All writing is done under a lock.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils import _fetch, _gguf, _gguf_tokenizer
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model_names import aliases, model_id

CHECKSUM_MISMATCH = Fault(
    "model.checksum_mismatch",
    "Model {name}: the sha256 of {source} is {got} ({size} bytes), expected {want}; it was not put into the store.",
    "Correct 'sha256' if the publisher replaced the file; otherwise don't use that source.",
)
NO_SPACE = Fault(
    "model.no_space",
    "Model {name}: {path} has {free} free, {need} are needed.",
    "Make room or put 'mistral_models_path' on a larger disk.",
)
DESTINATION_UNSAFE = Fault(
    "model.destination_unsafe",
    "Model {name}: {path} is {what}, not a plain file of the store.",
    "Move it away; the store replaces only files of its own.",
)
STORE_UNUSABLE = Fault(
    "model.store_unusable",
    "Model {name}: {path} can't be used: {why}.",
    "Check the disk, its mount options and the permissions of the store.",
)
CORRUPT = Fault(
    "model.corrupt",
    "Model {name}: the sha256 of {path} is {got}, expected {want}.",
    "Remove the file or use 'state: present', which fetches it again.",
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
TEMPLATE_INVALID = Fault(
    "model.chat_template_invalid",
    "Model {name}: the chat template {why}.",
    "It must be the Jinja text that the model's publisher calls chat template.",
)

_CHUNK = 4 << 20
_SPARE = 64 << 20
_MODE = 0o644
_MAX_SIDECAR = 1 << 20
_MAX_TEMPLATE = 1 << 20


class Wanted(NamedTuple):
    """What the user asks for."""

    store: str
    name: str
    quantization: str
    file: str
    sha256: str
    chat_template: str


class Entry(NamedTuple):
    """What is in the store now."""

    size: int
    sha256: str
    sidecar: dict[str, Any]
    verified_by: str
    mode: int


class Outcome(NamedTuple):
    """What was, or in check mode would be, done."""

    changed: bool
    before: dict[str, Any]
    after: dict[str, Any]
    facts: dict[str, Any]


def _path(wanted: Wanted, *parts: str) -> str:
    return os.path.join(wanted.store, *parts)


def _model_path(wanted: Wanted) -> str:
    return _path(wanted, wanted.file)


def _lock_path(wanted: Wanted) -> str:
    return _path(wanted, ".store", wanted.file + ".lock")


def _tokenizer_name(wanted: Wanted) -> str:
    return model_id(wanted.file) + ".tokenizer.json"


def _template_name(wanted: Wanted) -> str:
    return model_id(wanted.file) + ".jinja"


def _label(wanted: Wanted) -> str:
    return f"Model {wanted.name}"


def _bytes(count: int) -> str:
    amount, units = float(count), ["bytes", "KB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.3g} {units[0]}" if amount < 1000 else f"{amount:.0f} {units[0]}"


def check_store(wanted: Wanted) -> None:
    """Refuse a store that is not named plainly."""
    if not os.path.isabs(wanted.store):
        raise StackError(STORE_UNUSABLE, name=wanted.name, path=wanted.store, why="it is not an absolute path")


def template_problem(text: str) -> str:
    """Why a text can't be a chat template; '' if it can."""
    if len(text) > _MAX_TEMPLATE:
        return "is larger than 1 MB"
    if not text.strip():
        return "is empty"
    if "{{" not in text and "{%" not in text:
        return "contains no Jinja expression"
    return ""


def check_template(wanted: Wanted) -> None:
    """Refuse what can't be a chat template."""
    problem = template_problem(wanted.chat_template) if wanted.chat_template else ""
    if problem:
        raise StackError(TEMPLATE_INVALID, name=wanted.name, why=problem)


@contextmanager
def _store_errors(wanted: Wanted) -> Iterator[None]:
    """Turn errors of the file system into faults."""
    try:
        yield
    except OSError as error:
        path = str(error.filename or wanted.store)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = _free_bytes(wanted.store)
            raise StackError(NO_SPACE, name=wanted.name, path=wanted.store, free=_bytes(free), need="more") from None
        raise StackError(STORE_UNUSABLE, name=wanted.name, path=path, why=error.strerror or error) from None


def _free_bytes(path: str) -> int:
    """Free space where a directory is or will be."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _lstat(wanted: Wanted, path: str) -> os.stat_result | None:
    """The status of a plain file of the store, or None; anything else under that name is refused."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    what = ""
    if stat.S_ISLNK(status.st_mode):
        what = "a symbolic link"
    elif stat.S_ISDIR(status.st_mode):
        what = "a directory"
    elif not stat.S_ISREG(status.st_mode):
        what = "a special file"
    elif status.st_nlink > 1:
        what = f"one of {status.st_nlink} hard links"
    if what:
        raise StackError(DESTINATION_UNSAFE, name=wanted.name, path=path, what=what)
    return status


def _read_small(path: str, limit: int) -> bytes:
    """The content of a small file, without following a link; b'' if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit)


def _read_sidecar(wanted: Wanted) -> dict[str, Any]:
    try:
        data = json.loads(_read_small(_path(wanted, ".store", wanted.file + ".json"), _MAX_SIDECAR) or b"{}")
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict) or data.get("format") != 1:
        return {}
    good = isinstance(data.get("sha256"), str) and isinstance(data.get("gguf"), dict)
    return data if good else {}


def _identity(status: os.stat_result) -> dict[str, int]:
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}


def hash_file(path: str) -> str:
    """The sha256 of a file."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    with open(path, "rb", buffering=0) as file:
        while True:
            count = file.readinto(buffer)
            if not count:
                return digest.hexdigest()
            digest.update(buffer[:count])


def read_entry(wanted: Wanted, rehash: bool = False) -> Entry | None:
    """Look up the model; its file is read only if its size, time or inode are not those that were verified."""
    path = _model_path(wanted)
    # Another run may replace the file while it is read here: then the new one counts.
    for _attempt in range(2):
        status = _lstat(wanted, path)
        if status is None:
            return None
        sidecar = _read_sidecar(wanted)
        mode = stat.S_IMODE(status.st_mode)
        same = all(sidecar.get(key) == value for key, value in _identity(status).items())
        if same and not rehash:
            return Entry(status.st_size, sidecar["sha256"], sidecar, "sidecar", mode)
        sha256 = hash_file(path)
        after = _lstat(wanted, path)
        if after is not None and _identity(after) == _identity(status):
            return Entry(status.st_size, sha256, sidecar, "hash", mode)
    raise StackError(STORE_UNUSABLE, name=wanted.name, path=path, why="it was changed while it was read")


def _lock(path: str, wait: bool) -> int:
    """Take a lock and return its descriptor, or -1 if somebody else has it and waiting is not wanted."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever gives a lock back removes its file: then this is not the one that others see.
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return -1
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _unlock(path: str, descriptor: int) -> None:
    os.unlink(path)
    os.close(descriptor)


@contextmanager
def _locked(wanted: Wanted) -> Iterator[bool]:
    """Only one run at a time changes what belongs to one model; a second one waits here.

    Gives whether an interrupted run had left something of this model behind.
    """
    path = _lock_path(wanted)
    descriptor = _lock(path, wait=True)
    try:
        yield _clean(wanted)
    finally:
        _unlock(path, descriptor)


def _clean(wanted: Wanted) -> bool:
    """Remove what interrupted runs left behind: of this model, and of others that nobody is working on."""
    own = False
    incoming = _path(wanted, ".store", "incoming")
    for name in os.listdir(incoming):
        path = os.path.join(incoming, name)
        owner = name.rpartition(".")[0]
        if owner == wanted.file:
            with suppress(FileNotFoundError):
                os.unlink(path)
            own = True
            continue
        lock = _path(wanted, ".store", owner + ".lock")
        descriptor = _lock(lock, wait=False)
        if descriptor >= 0:
            with suppress(FileNotFoundError):
                os.unlink(path)
            _unlock(lock, descriptor)
    return own


def _make_directories(wanted: Wanted) -> None:
    if not os.path.isdir(wanted.store):
        os.makedirs(wanted.store, exist_ok=True)
        os.chmod(wanted.store, 0o755)
    for path in (_path(wanted, ".store"), _path(wanted, ".store", "incoming")):
        try:
            os.mkdir(path)
            os.chmod(path, 0o755)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise StackError(DESTINATION_UNSAFE, name=wanted.name, path=path, what="not a directory") from None


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _incoming(wanted: Wanted, kind: str) -> Iterator[tuple[str, int]]:
    """A new file in C(.store/incoming/); it does not outlive an error."""
    path = _path(wanted, ".store", "incoming", f"{wanted.file}.{kind}")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            yield path, descriptor
        finally:
            os.close(descriptor)
    except BaseException:
        os.unlink(path)
        raise


def _publish(wanted: Wanted, path: str, descriptor: int, *final: str) -> None:
    """Make a finished file durable and give it its final name."""
    os.fchmod(descriptor, _MODE)
    os.fsync(descriptor)
    target = _path(wanted, *final)
    os.rename(path, target)
    _sync_directory(os.path.dirname(target))


def _write_small(wanted: Wanted, kind: str, content: bytes, *final: str) -> None:
    with _incoming(wanted, kind) as (path, descriptor):
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        _publish(wanted, path, descriptor, *final)


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _check_space(wanted: Wanted, size: int | None) -> None:
    free = _free_bytes(wanted.store)
    if size is not None and size + _SPARE > free:
        need = _bytes(size + _SPARE)
        raise StackError(NO_SPACE, name=wanted.name, path=wanted.store, free=_bytes(free), need=need)


def _check_start(wanted: Wanted, start: bytes) -> None:
    """Refuse what is no model before the rest of it is transferred."""
    if start[:4] != b"GGUF":
        _gguf.parse_header(start, len(start), _label(wanted))


def _fetch_model(
    wanted: Wanted, source: _fetch.Source, settings: _fetch.Settings
) -> tuple[str, dict[str, int], dict[str, object]]:
    """Fetch, check and publish the model; returns its sha256, the source's identity and the GGUF summary."""
    digest = hashlib.sha256()
    done = 0
    with _fetch.opened(wanted.name, source, settings, wanted.sha256) as stream, _store_errors(wanted):
        _check_space(wanted, stream.size)
        with _incoming(wanted, "part") as (path, descriptor):
            buffer = memoryview(bytearray(_CHUNK))
            while True:
                count = _fetch.read_into(wanted.name, source, stream, buffer, done)
                if count == 0:
                    break
                if done == 0 and count >= 4:
                    _check_start(wanted, bytes(buffer[: min(count, 512)]))
                digest.update(buffer[:count])
                _write_all(descriptor, buffer[:count])
                done += count
            if stream.size is not None and done != stream.size:
                raise StackError(
                    _fetch.INTERRUPTED, name=wanted.name, source=source.shown, got=done, want=stream.size, why=""
                )
            got = digest.hexdigest()
            _check_sha256(wanted, source, got, done)
            summary = _gguf.inspect(path, _label(wanted))
            _publish(wanted, path, descriptor, wanted.file)
        return got, stream.origin, summary


def _make_tokenizer(wanted: Wanted) -> dict[str, Any] | None:
    """Write the tokenizer.json beside a model that needs one; returns its name and identity."""
    name = _tokenizer_name(wanted)
    target = _path(wanted, name)
    exists = _lstat(wanted, target) is not None
    with _gguf.opened(_model_path(wanted)) as (data, size):
        header = _gguf.parse_header(data, size, _label(wanted))
        if not _gguf_tokenizer.is_affected(header):
            if exists:
                os.unlink(target)
            return None
        vocabulary = _gguf_tokenizer.read_vocabulary(header, data, _label(wanted))
    with _incoming(wanted, "tokenizer") as (path, descriptor):
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", newline="\n", closefd=False) as file:
            _gguf_tokenizer.write_tokenizer(vocabulary, file)
        _publish(wanted, path, descriptor, name)
    return {"file": name, **_identity(os.lstat(target))}


def _tokenizer_is_current(wanted: Wanted, recorded: dict[str, Any] | None) -> bool:
    status = _lstat(wanted, _path(wanted, _tokenizer_name(wanted)))
    if recorded is None:
        return True
    return status is not None and all(recorded.get(key) == value for key, value in _identity(status).items())


def _installed_template(wanted: Wanted) -> str:
    path = _path(wanted, _template_name(wanted))
    if _lstat(wanted, path) is None:
        return ""
    return _read_small(path, 4 * _MAX_TEMPLATE).decode("utf-8", "replace")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest() if text else ""


class _Plan(NamedTuple):
    """What has to be done; nothing of it is done yet."""

    fetch: bool
    entry: Entry | None
    adopt: bool
    refresh: bool
    tokenizer: bool
    template: bool
    mode: bool

    @property
    def changed(self) -> bool:
        return self.fetch or self.adopt or self.tokenizer or self.template or self.mode


def _plan(wanted: Wanted, source: _fetch.Source) -> _Plan:
    _lstat(wanted, _path(wanted, _tokenizer_name(wanted)))
    template = _installed_template(wanted) != wanted.chat_template
    entry = read_entry(wanted)
    if entry is None:
        return _Plan(True, None, False, False, False, template, False)
    sidecar = entry.sidecar
    if wanted.sha256:
        fetch = entry.sha256 != wanted.sha256
    elif sidecar:
        # Without a sha256 the same source stands for the same content, unless a file was seen to be replaced.
        origin = _fetch.file_origin(source)
        replaced = bool(origin) and bool(sidecar.get("origin")) and origin != sidecar["origin"]
        fetch = entry.sha256 != sidecar["sha256"] or sidecar.get("source") != source.shown or replaced
    else:
        fetch = False
    if fetch:
        return _Plan(True, entry, False, False, False, template, False)
    # A record of other content says nothing about this one: a run may have been killed after it published the model.
    known = sidecar.get("sha256") == entry.sha256
    return _Plan(
        fetch=False,
        entry=entry,
        adopt=not known,
        refresh=entry.verified_by == "hash" or sidecar.get("source") != source.shown,
        tokenizer=known and not _tokenizer_is_current(wanted, sidecar.get("tokenizer")),
        template=template,
        mode=entry.mode != _MODE,
    )


def _state(size: int, sha256: str, tokenizer: str, template: str, mode: int = _MODE) -> dict[str, Any]:
    return {
        "size": size,
        "sha256": sha256,
        "mode": f"0{mode:o}",
        "tokenizer": tokenizer,
        "chat_template_sha256": _digest(template),
    }


def _state_now(wanted: Wanted, entry: Entry | None) -> dict[str, Any]:
    template = _installed_template(wanted)
    if entry is None:
        return {"chat_template_sha256": _digest(template)} if template else {}
    name = _tokenizer_name(wanted)
    tokenizer = name if _lstat(wanted, _path(wanted, name)) is not None else ""
    return _state(entry.size, entry.sha256, tokenizer, template, entry.mode)


def _facts(
    wanted: Wanted, size: int, sha256: str, gguf: dict[str, Any], verified_by: str, source: str
) -> dict[str, Any]:
    affected = gguf.get("tokenizer") in _gguf_tokenizer.AFFECTED
    return {
        "name": wanted.name,
        "quantization": wanted.quantization,
        "id": model_id(wanted.file),
        "aliases": aliases(wanted.name, wanted.quantization, wanted.file),
        "file": wanted.file,
        "path": _model_path(wanted),
        "sha256": sha256,
        "size": size,
        "tokenizer": _path(wanted, _tokenizer_name(wanted)) if affected else "",
        "chat_template": _path(wanted, _template_name(wanted)) if wanted.chat_template else "",
        "embedded_chat_template": bool(gguf.get("chat_template")),
        "gguf": gguf,
        "verified_by": verified_by,
        "source": source,
    }


def _probe(wanted: Wanted, source: _fetch.Source, settings: _fetch.Settings, read: bool) -> tuple[int, dict[str, Any]]:
    """What can be known about a source without transferring it: its size, and what a local file is."""
    with _fetch.opened(wanted.name, source, settings, wanted.sha256, probe=True) as stream:
        with _store_errors(wanted):
            _check_space(wanted, stream.size)
        size = stream.size or 0
        if source.scheme != "file":
            return size, {}
        summary = _gguf.inspect(source.path, _label(wanted))
        if read and wanted.sha256:
            _check_sha256(wanted, source, hash_file(source.path), size)
        return size, summary


def _check_sha256(wanted: Wanted, source: _fetch.Source, got: str, size: int) -> None:
    want = wanted.sha256
    if want and got != want:
        raise StackError(CHECKSUM_MISMATCH, name=wanted.name, source=source.shown, got=got, size=size, want=want)


def _predict(wanted: Wanted, source: _fetch.Source, settings: _fetch.Settings, plan: _Plan) -> Outcome:
    """The outcome of a run that changes something, without changing it."""
    before = _state_now(wanted, plan.entry)
    if plan.fetch or plan.entry is None:
        size, gguf = _probe(wanted, source, settings, read=True)
        facts = _facts(wanted, size, wanted.sha256, gguf, "none", source.shown)
    else:
        recorded = {} if plan.adopt else plan.entry.sidecar.get("gguf")
        gguf = recorded or _gguf.inspect(_model_path(wanted), _label(wanted))
        facts = _facts(wanted, plan.entry.size, plan.entry.sha256, gguf, plan.entry.verified_by, source.shown)
    tokenizer = os.path.basename(facts["tokenizer"])
    after = _state(facts["size"], facts["sha256"], tokenizer, wanted.chat_template)
    return Outcome(plan.changed, before, after, facts)


def _unchanged(wanted: Wanted, entry: Entry) -> Outcome:
    now = _state_now(wanted, entry)
    gguf, source = entry.sidecar["gguf"], entry.sidecar["source"]
    return Outcome(False, now, now, _facts(wanted, entry.size, entry.sha256, gguf, entry.verified_by, source))


def _apply(wanted: Wanted, source: _fetch.Source, settings: _fetch.Settings, plan: _Plan) -> Outcome:
    """Do what is planned. The order matters: what C(.store/) says about the model is written last."""
    before = _state_now(wanted, plan.entry)
    sidecar = dict(plan.entry.sidecar) if plan.entry and not plan.adopt else {}
    verified_by = plan.entry.verified_by if plan.entry else "hash"
    if plan.fetch or plan.entry is None:
        sha256, origin, gguf = _fetch_model(wanted, source, settings)
        verified_by = "hash"
    else:
        sha256 = plan.entry.sha256
        origin = sidecar.get("origin") or _fetch.file_origin(source)
        gguf = sidecar.get("gguf") or _gguf.inspect(_model_path(wanted), _label(wanted))
        if plan.mode:
            os.chmod(_model_path(wanted), _MODE)
    tokenizer = sidecar.get("tokenizer")
    if plan.fetch or plan.adopt or plan.tokenizer:
        tokenizer = _make_tokenizer(wanted)
    if plan.template:
        if wanted.chat_template:
            content = wanted.chat_template.encode("utf-8", "surrogateescape")
            _write_small(wanted, "template", content, _template_name(wanted))
        else:
            os.unlink(_path(wanted, _template_name(wanted)))
    status = os.lstat(_model_path(wanted))
    fresh = plan.fetch or plan.adopt or plan.refresh
    written: dict[str, Any] = {
        "format": 1,
        **_identity(status),
        "sha256": sha256,
        "source": source.shown,
        "origin": origin,
        "verified_at": int(time.time()) if fresh else sidecar.get("verified_at"),
        "gguf": gguf,
        "tokenizer": tokenizer,
    }
    text = json.dumps(written, indent=2, sort_keys=True) + "\n"
    _write_small(wanted, "json", text.encode(), ".store", wanted.file + ".json")
    entry = Entry(status.st_size, sha256, written, verified_by, stat.S_IMODE(status.st_mode))
    facts = _facts(wanted, entry.size, sha256, gguf, verified_by, source.shown)
    return Outcome(plan.changed, before, _state_now(wanted, entry), facts)


def present(wanted: Wanted, source: _fetch.Source, settings: _fetch.Settings, check: bool) -> Outcome:
    """Have the model in the store. A run that changes nothing costs a few stats and takes no lock."""
    check_template(wanted)
    with _store_errors(wanted):
        plan = _plan(wanted, source)
        # A killed run leaves its lock's file behind, and perhaps more.
        idle = not plan.refresh and not os.path.lexists(_lock_path(wanted))
        if plan.entry is not None and not plan.changed and (check or idle):
            return _unchanged(wanted, plan.entry)
        if check:
            return _predict(wanted, source, settings, plan)
        if plan.fetch and source.scheme == "file":
            # Say what is wrong with the file before the first directory is made.
            _probe(wanted, source, settings, read=False)
        _make_directories(wanted)
        with _locked(wanted):
            # Another run may have done it while this one waited.
            plan = _plan(wanted, source)
            if plan.entry is not None and not plan.changed and not plan.refresh:
                return _unchanged(wanted, plan.entry)
            return _apply(wanted, source, settings, plan)


def verified(wanted: Wanted) -> Outcome:
    """Hash the stored model again; nothing is fetched."""
    with _store_errors(wanted):
        entry = read_entry(wanted, rehash=True)
        if entry is None:
            raise StackError(NOT_STORED, name=wanted.name, path=_model_path(wanted))
        want = wanted.sha256 or entry.sidecar.get("sha256")
        if not want:
            raise StackError(NOT_RECORDED, name=wanted.name, path=_model_path(wanted))
        if entry.sha256 != want:
            raise StackError(CORRUPT, name=wanted.name, path=_model_path(wanted), got=entry.sha256, want=want)
        gguf = _gguf.inspect(_model_path(wanted), _label(wanted))
        now = _state_now(wanted, entry)
        kept = wanted._replace(chat_template=_installed_template(wanted))
        facts = _facts(kept, entry.size, entry.sha256, gguf, "hash", entry.sidecar.get("source", ""))
        return Outcome(False, now, now, facts)


def _left_behind(wanted: Wanted) -> list[str]:
    """What a run writes, or a killed one left, of this model in C(.store/incoming/)."""
    incoming = _path(wanted, ".store", "incoming")
    try:
        names = os.listdir(incoming)
    except FileNotFoundError:
        return []
    return [os.path.join(incoming, name) for name in names if name.rpartition(".")[0] == wanted.file]


def _belongings(wanted: Wanted) -> tuple[list[str], dict[str, Any]]:
    """The files of a model that are there, and its state. The model is first: what is left is never taken for one."""
    model = _lstat(wanted, _model_path(wanted))
    names = [wanted.file, _tokenizer_name(wanted), _template_name(wanted)]
    paths = [_path(wanted, name) for name in names] + [_path(wanted, ".store", wanted.file + ".json")]
    known = _read_sidecar(wanted).get("sha256", "")
    before = _state(model.st_size, known, "", "", stat.S_IMODE(model.st_mode)) if model else {}
    return [path for path in paths if _lstat(wanted, path) is not None], before


def absent(wanted: Wanted, check: bool) -> Outcome:
    """Remove the model and everything that was made for it."""
    with _store_errors(wanted):
        there, before = _belongings(wanted)
        changed = bool(there or _left_behind(wanted))
        # Where a lock is, another run may be about to write the model.
        if not check and (changed or os.path.lexists(_lock_path(wanted))):
            _make_directories(wanted)
            with _locked(wanted) as cleaned:
                there, before = _belongings(wanted)
                for path in there:
                    with suppress(FileNotFoundError):
                        os.unlink(path)
                _sync_directory(wanted.store)
                changed = cleaned or bool(there)
        return Outcome(changed, before, {}, {"name": wanted.name, "file": wanted.file, "path": _model_path(wanted)})
