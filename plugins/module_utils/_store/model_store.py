# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model store: a flat directory in which a model under its final name is always complete and verified.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

C(<stem>.gguf), or the directory C(<stem>) for a model of several files, what was made for it (C(<stem>.tokenizer.json),
C(<stem>.tokenizer_config.json), C(<stem>.config.json)) and C(<stem>.jinja) lie in the store;
C(.store/<stem>.gguf.json) says what was verified. New files are written in C(.store/incoming/),
checked, synced, and renamed when all of a model's are there; what C(.store/) says is written last, so that after a
crash at any point the next run sees what is not finished. All writing is done under a lock. What of a download arrived
is kept until it can go on.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pwd
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple, Protocol

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError, StackErrors
from ansible_collections.mistralrs.stack.plugins.module_utils._files.atomic import sync_directory
from ansible_collections.mistralrs.stack.plugins.module_utils._files.local import (
    hash_file,
    identity,
    readable,
    reserve,
    sealed_digest,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._files.lock import FileLock, Locked
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import (
    gguf_model,
    gguf_tokenizer,
    safetensors_header,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._model import record as _model_record
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import (
    MADE,
    TEMPLATE,
    aliases,
    is_store_file,
    model_id,
)

NO_SPACE = Fault(
    "model.no_space",
    "Model {name}: {path} has {free} free, {need} are needed.",
    "Make room or put 'mistral_models_path' on a larger disk.",
)
QUOTA_EXCEEDED = Fault(
    "model.quota_exceeded",
    "Model {name}: the disk quota for {path} is used up, although the disk itself has {free} free.",
    "Raise the quota of the user who runs the module, or put 'mistral_models_path' where there is none.",
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
STORE_UNTRUSTED = Fault(
    "model.store_untrusted",
    "Model {name}: the store's directory {path} can't be relied on: {why}.",
    "Give it to root and take the right to write from all others (chown root, chmod go-w), or use another directory.",
)
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
UQFF_SHARDS = Fault(
    "model.uqff_shards",
    "Model {name}: its UQFF files are not those of one model, numbered from 0 on: {found}.",
    "Give a directory that holds what one run of the engine's quantize wrote.",
)
TEMPLATE_INVALID = Fault(
    "model.chat_template_invalid",
    "Model {name}: the chat template {why}.",
    "It must be the Jinja text that the model's publisher calls chat template.",
)

AUTO = "auto"
_MODE = 0o644
_MAX_SIDECAR = 8 << 20
_MAX_TEMPLATE = 1 << 20
_LOCK_SECONDS = 0.2


class Report(Protocol):
    """Is told how far the work is: bytes done, bytes in all (or None), what is done, and what it waits for."""

    def __call__(
        self, name: str, done: int, total: int | None = None, phase: str = "", waiting_for: str = ""
    ) -> None: ...


class Wanted(NamedTuple):
    """What the user asks for. C(asked) is the quantization as it was asked for, which may be 'auto'."""

    store: str
    name: str
    quantization: str
    file: str
    sha256: str
    chat_template: str
    asked: str = ""


class Entry(NamedTuple):
    """What is in the store now. Sizes are in bytes; of a model of several files they are summed up."""

    size: int
    sha256: str
    sidecar: dict[str, Any]
    verified_by: str
    mode: int
    directory: bool = False
    # Whether only root or this user may write to its files.
    is_ours: bool = True


class Outcome(NamedTuple):
    """What was, or in check mode would be, done."""

    changed: bool
    before: dict[str, Any]
    after: dict[str, Any]
    facts: dict[str, Any]


def store_path(wanted: Wanted, *parts: str) -> str:
    """A path in the store."""
    return os.path.join(wanted.store, *parts)


def model_path(wanted: Wanted, directory: bool = False) -> str:
    """Where the model is or will be."""
    return store_path(wanted, model_id(wanted.file) if directory else wanted.file)


def lock_path(wanted: Wanted) -> str:
    """The file that says who is working on the model."""
    return store_path(wanted, ".store", wanted.file + ".lock")


def made_path(wanted: Wanted, kind: str) -> str:
    """Where a file is or will be that is made for the model."""
    return store_path(wanted, model_id(wanted.file) + MADE[kind])


def made_for(summary: Mapping[str, Any]) -> list[str]:
    """What has to be made for a model, by the summary of its header."""
    affected = summary.get("tokenizer") in gguf_tokenizer.AFFECTED
    needed = {"tokenizer": affected, "tokenizer_config": affected, "config": bool(summary.get("needs_config"))}
    return [kind for kind in MADE if needed[kind]]


def template_name(wanted: Wanted) -> str:
    """The file name of the model's chat template."""
    return model_id(wanted.file) + TEMPLATE


def label(wanted: Wanted) -> str:
    """What messages call the model."""
    return f"Model {wanted.name}"


def _user(number: int) -> str:
    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"the user {number}"


def is_ours(status: os.stat_result) -> bool:
    """Whether a file belongs to root or to this user, and only its owner may write to it."""
    # A group of the owner's own number is the owner's alone.
    writers = 0o002 if status.st_gid == status.st_uid else 0o022
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & writers


def _distrust(status: os.stat_result) -> str:
    """Why nothing in a directory can be relied on; '' if it can."""
    if status.st_uid not in (0, os.geteuid()):
        return f"it belongs to {_user(status.st_uid)}"
    return "" if is_ours(status) else f"others than its owner may write to it (mode {stat.S_IMODE(status.st_mode):04o})"


def check_store(wanted: Wanted) -> None:
    """Refuse a store that is not named plainly, or in which others could exchange files behind the records.

    Raises C(model.store_unusable) and C(model.store_untrusted).
    """
    if not os.path.isabs(wanted.store):
        raise StackError(STORE_UNUSABLE, name=wanted.name, path=wanted.store, why="it is not an absolute path")
    own = store_path(wanted, ".store")
    for path in (wanted.store, own, os.path.join(own, "incoming"), os.path.join(own, "jobs")):
        with store_errors(wanted), suppress(FileNotFoundError, NotADirectoryError):
            # The store itself may be a link, if it is root's.
            link, status = os.lstat(path), os.stat(path) if path == wanted.store else os.lstat(path)
            why = _distrust(status) if stat.S_ISDIR(status.st_mode) else ""
            if not why and stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
                why = f"it is a link that belongs to {_user(link.st_uid)}"
            if why:
                raise StackError(STORE_UNTRUSTED, name=wanted.name, path=path, why=why)
    path = os.path.realpath(wanted.store)
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        with suppress(OSError):
            mode = os.stat(path).st_mode
            # Where the sticky bit is set only the owner of a directory can rename it.
            if mode & 0o002 and not mode & stat.S_ISVTX:
                why = f"everybody may exchange what is in {path} (mode {stat.S_IMODE(mode):04o})"
                raise StackError(STORE_UNTRUSTED, name=wanted.name, path=wanted.store, why=why)


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
def store_errors(wanted: Wanted) -> Iterator[None]:
    """Turn errors of the file system into faults."""
    try:
        yield
    except OSError as error:
        path = str(error.filename or wanted.store)
        if error.errno == errno.EDQUOT:
            free = readable(free_bytes(wanted.store))
            raise StackError(QUOTA_EXCEEDED, name=wanted.name, path=wanted.store, free=free) from None
        if error.errno == errno.ENOSPC:
            free = readable(free_bytes(wanted.store))
            raise StackError(NO_SPACE, name=wanted.name, path=wanted.store, free=free, need="more") from None
        raise StackError(STORE_UNUSABLE, name=wanted.name, path=path, why=error.strerror or error) from None


def _existing(path: str) -> str:
    """Where a directory is or will be."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path


def free_bytes(path: str) -> int:
    """Free space where a directory is or will be."""
    status = os.statvfs(_existing(path))
    return status.f_bavail * status.f_frsize


def needed_space(wanted: Wanted, size: int | None) -> None:
    """Refuse what does not fit on the disk; C(size) is what is still to be written."""
    free, spare = free_bytes(wanted.store), reserve(os.statvfs(_existing(wanted.store)))
    if size is not None and size + spare > free:
        need = readable(size + spare)
        raise StackError(NO_SPACE, name=wanted.name, path=wanted.store, free=readable(free), need=need)


def plain_status(wanted: Wanted, path: str) -> os.stat_result | None:
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


def _directory_status(wanted: Wanted) -> os.stat_result | None:
    """The status of the directory of a model of several files, or None."""
    path = model_path(wanted, directory=True)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        raise StackError(DESTINATION_UNSAFE, name=wanted.name, path=path, what="not a directory")
    if why := _distrust(status):
        raise StackError(STORE_UNTRUSTED, name=wanted.name, path=path, why=why)
    return status


def read_small(path: str, limit: int) -> bytes:
    """The content of a small file, without following a link; b'' if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit)


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


def set_digest(files: Mapping[str, str]) -> str:
    """One sha256 for a model of several files: that of the list that C(sha256sum) prints, sorted by name."""
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


# What this process, or the one that it was forked from, has read: by path the identity and the sha256. A file that was
# put there by hand is looked at before a job and again under its lock.
_HASHED: dict[str, tuple[dict[str, int], str]] = {}


class Counter:
    """Says how much of C(total) bytes has been read, and ends the reading of all threads when it is stopped."""

    def __init__(self, report: Report | None = None, wanted: Sequence[Wanted] = (), total: int = 0) -> None:
        self._report = report
        self._name = wanted[0].name if len(wanted) == 1 else f"{len(wanted)} models"
        self._total = total
        self._done = 0
        self._is_stopped = False
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        if self._is_stopped:
            raise RuntimeError("nobody waits for it any more")
        with self._lock:
            self._done += count
            if self._report:
                self._report(self._name, self._done, self._total, "checking")

    def stop(self) -> None:
        """The next one who reports is stopped."""
        self._is_stopped = True


@contextmanager
def _workers(seen: Counter) -> Iterator[ThreadPoolExecutor]:
    """Threads on all cores, which read no further if the one that waits for them is stopped."""
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        try:
            yield pool
        except BaseException:
            seen.stop()
            raise


def hash_files(paths: Iterable[str], seen: Counter | None = None) -> list[str]:
    """The sha256 of each file, on all cores."""
    seen = seen or Counter()
    with _workers(seen) as pool:
        return list(pool.map(lambda path: hash_file(path, seen), paths))


def _known_hash(path: str, status: os.stat_result) -> str:
    """What this process has read already; '' if that is another file, or none."""
    found = _HASHED.get(path)
    return found[1] if found and found[0] == identity(status) else ""


def _is_as_recorded(status: os.stat_result, record: Mapping[str, Any]) -> bool:
    """Whether a file need not be read again; who else may write to it can alter it and set its time back."""
    return is_ours(status) and all(record.get(key) == value for key, value in identity(status).items())


def _files_of(wanted: Wanted) -> dict[str, Mapping[str, Any]]:
    """The model's files that there should be, each with its record."""
    sidecar = read_sidecar(wanted)
    folder = model_path(wanted, directory=True)
    files = {os.path.join(folder, name): record for name, record in (sidecar.get("files") or {}).items()}
    return files or {model_path(wanted): sidecar}


def bytes_to_read(wanted: Wanted, rehash: bool = False) -> int:
    """How much of the model L{read_entry} would hash."""
    count = 0
    for path, record in _files_of(wanted).items():
        with suppress(OSError):
            status = os.lstat(path)
            if rehash or not _is_as_recorded(status, record):
                count += status.st_size
    return count


def read_ahead(wanted: Sequence[Wanted], report: Report) -> None:
    """Hash what was put into the store by hand, on all cores, so that L{read_entry} knows it afterwards."""
    sizes = {each: bytes_to_read(each) for each in wanted}
    unread = [each for each, size in sizes.items() if size]

    def read(each: Wanted) -> None:
        with store_errors(each):
            read_entry(each, seen=seen)

    seen = Counter(report, unread, sum(sizes.values()))
    with _workers(seen) as pool:
        list(pool.map(read, unread))


def _read_files(wanted: Wanted, sidecar: dict[str, Any], rehash: bool, seen: Counter | None) -> Entry | None:
    """The entry of a model of several files."""
    known = sidecar["files"]
    folder = model_path(wanted, directory=True)
    if _directory_status(wanted) is None:
        return None
    statuses = {name: plain_status(wanted, os.path.join(folder, name)) for name in known}
    if any(status is None for status in statuses.values()):
        return None
    found = {name: status for name, status in statuses.items() if status is not None}
    stale = [name for name, status in found.items() if rehash or not _is_as_recorded(status, known[name])]
    digests = {name: str(record.get("sha256", "")) for name, record in known.items()}
    paths = {name: os.path.join(folder, name) for name in stale}
    digests.update({name: "" if rehash else _known_hash(path, found[name]) for name, path in paths.items()})
    unread = {name: path for name, path in paths.items() if not digests[name]}
    digests.update(zip(unread, hash_files(unread.values(), seen)))
    _HASHED.update({path: (identity(found[name]), digests[name]) for name, path in unread.items()})
    modes = {stat.S_IMODE(status.st_mode) for status in found.values()}
    return Entry(
        size=sum(status.st_size for status in found.values()),
        sha256=set_digest(digests),
        sidecar=sidecar,
        verified_by="hash" if stale else "sidecar",
        mode=_MODE if modes == {_MODE} else min(modes - {_MODE}),
        directory=True,
        is_ours=all(map(is_ours, found.values())),
    )


def read_entry(wanted: Wanted, rehash: bool = False, seen: Counter | None = None) -> Entry | None:
    """Look up the model; its files are read only if size, time or inode are not those that were verified."""
    sidecar = read_sidecar(wanted)
    if sidecar.get("files"):
        return _read_files(wanted, sidecar, rehash, seen)
    path = model_path(wanted)
    # Another run may replace the file while it is read here: then the new one counts.
    for _attempt in range(2):
        status = plain_status(wanted, path)
        if status is None:
            return None
        sidecar = read_sidecar(wanted)
        mode = stat.S_IMODE(status.st_mode)
        owned = is_ours(status)
        if _is_as_recorded(status, sidecar) and not rehash:
            return Entry(status.st_size, sidecar["sha256"], sidecar, "sidecar", mode)
        if not rehash and (sha256 := _known_hash(path, status)):
            return Entry(status.st_size, sha256, sidecar, "hash", mode, is_ours=owned)
        sha256 = hash_file(path, seen or Counter())
        after = plain_status(wanted, path)
        if after is not None and identity(after) == identity(status):
            _HASHED[path] = (identity(status), sha256)
            return Entry(status.st_size, sha256, sidecar, "hash", mode, is_ours=owned)
    raise StackError(STORE_UNUSABLE, name=wanted.name, path=path, why="it was changed while it was read")


@contextmanager
def locked(wanted: Wanted, waiting: Callable[[str], None] = lambda _holder: None) -> Iterator[bool]:
    """Only one run at a time changes what belongs to one model; a second one waits here.

    C(waiting) is told who it waits for, again and again. Gives whether an interrupted run had left something of this
    model behind.
    """
    lock = FileLock(lock_path(wanted), named=True)
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock)
                break
            except Locked as other:
                if other.holder:
                    waiting(other.holder)
            time.sleep(_LOCK_SECONDS)
        yield bool(left_behind(wanted))


def _owner(name: str) -> str:
    """The model's C(<stem>.gguf) that a file in C(incoming/) belongs to."""
    stem, suffix, _rest = name.partition(".gguf.")
    return stem + ".gguf" if suffix and is_store_file(stem + ".gguf") else ""


def left_behind(wanted: Wanted) -> list[str]:
    """What a run writes, or an interrupted one left, of this model in C(.store/incoming/)."""
    incoming = store_path(wanted, ".store", "incoming")
    try:
        names = os.listdir(incoming)
    except FileNotFoundError:
        return []
    return [os.path.join(incoming, name) for name in names if _owner(name) == wanted.file]


def occupied(path: str) -> int:
    """The bytes that a file or a directory of files takes on the disk; another run may remove it meanwhile."""
    taken = 0
    with suppress(FileNotFoundError):
        for each in [os.path.join(path, name) for name in os.listdir(path)] if os.path.isdir(path) else [path]:
            with suppress(FileNotFoundError):
                taken += os.lstat(each).st_blocks * 512
    return taken


def remove(path: str) -> None:
    """Remove a file or a directory of the store, if it is there."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def clean(wanted: Wanted, keep: Iterable[str] = ()) -> None:
    """Remove what is left in C(incoming/) of this model, but for the named suffixes; its lock is held."""
    kept = {f"{wanted.file}.{suffix}" for suffix in keep}
    for path in left_behind(wanted):
        if os.path.basename(path) not in kept:
            remove(path)


def make_directories(wanted: Wanted) -> None:
    if not os.path.isdir(wanted.store):
        os.makedirs(wanted.store, exist_ok=True)
        os.chmod(wanted.store, 0o755)
    for path in (store_path(wanted, ".store"), store_path(wanted, ".store", "incoming")):
        try:
            os.mkdir(path)
            os.chmod(path, 0o755)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise StackError(DESTINATION_UNSAFE, name=wanted.name, path=path, what="not a directory") from None


def incoming_path(wanted: Wanted, kind: str) -> str:
    """Where something of the model is written before it is published."""
    return store_path(wanted, ".store", "incoming", f"{wanted.file}.{kind}")


@contextmanager
def incoming(wanted: Wanted, kind: str) -> Iterator[tuple[str, int]]:
    """A new file in C(.store/incoming/); it does not outlive an error."""
    path = incoming_path(wanted, kind)
    remove(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            yield path, descriptor
        finally:
            os.close(descriptor)
    except BaseException:
        # It may have its final name already; the error is what counts.
        with suppress(FileNotFoundError):
            os.unlink(path)
        raise


def make_durable(descriptor: int) -> None:
    """Have a finished file on the disk, with its final mode."""
    os.fchmod(descriptor, _MODE)
    os.fsync(descriptor)


def publish(wanted: Wanted, path: str, descriptor: int, *final: str) -> None:
    """Make a finished file durable and give it its final name."""
    make_durable(descriptor)
    target = store_path(wanted, *final)
    os.rename(path, target)
    sync_directory(os.path.dirname(target))


def write_small(wanted: Wanted, kind: str, content: bytes, *final: str) -> None:
    """Publish a small file."""
    with incoming(wanted, kind) as (path, descriptor):
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        publish(wanted, path, descriptor, *final)


def installed_template(wanted: Wanted) -> str:
    """The text of the chat template in the store, or ''."""
    path = store_path(wanted, template_name(wanted))
    if plain_status(wanted, path) is None:
        return ""
    return read_small(path, 4 * _MAX_TEMPLATE).decode("utf-8", "replace")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest() if text else ""


def state(size: int, sha256: str, made: Iterable[str], template: str, mode: int = _MODE) -> dict[str, Any]:
    """What a diff shows of a model; C(made) are the paths of what was made for it."""
    names = {kind: "" for kind in MADE}
    for path in made:
        names.update({kind: os.path.basename(path) for kind, suffix in MADE.items() if path.endswith(suffix)})
    return {
        "size": size,
        "sha256": sha256,
        "mode": f"0{mode:o}",
        **names,
        "chat_template_sha256": _digest(template),
    }


def state_now(wanted: Wanted, entry: Entry | None) -> dict[str, Any]:
    template = installed_template(wanted)
    if entry is None:
        return {"chat_template_sha256": _digest(template)} if template else {}
    paths = [made_path(wanted, kind) for kind in MADE]
    made = [path for path in paths if plain_status(wanted, path) is not None]
    return state(entry.size, entry.sha256, made, template, entry.mode)


def facts(
    wanted: Wanted, size: int, sha256: str, sidecar: Mapping[str, Any], verified_by: str, directory: bool = False
) -> dict[str, Any]:
    """What the module returns of a model."""
    gguf = sidecar.get("gguf") or {}
    needed = made_for(gguf)
    prompt_tokens = (sidecar.get("tokenizer") or {}).get("prompt_tokens") if "tokenizer" in needed else 0
    return {
        "name": wanted.name,
        "quantization": wanted.quantization,
        "id": model_id(wanted.file),
        "aliases": aliases(wanted.name, wanted.quantization, wanted.file),
        "file": model_id(wanted.file) if directory else wanted.file,
        "path": model_path(wanted, directory),
        "directory": directory,
        "files": sorted(sidecar.get("files") or {}),
        "sha256": sha256,
        "size": size,
        **{kind: made_path(wanted, kind) if kind in needed else "" for kind in MADE},
        "chat_template": store_path(wanted, template_name(wanted)) if wanted.chat_template else "",
        "prompt_tokens": int(prompt_tokens or 0),
        "embedded_chat_template": bool(gguf.get("chat_template")),
        "gguf": gguf,
        "verified_by": verified_by,
        "sealed": str(sidecar.get("sealed") or ""),
        "source": str(sidecar.get("source") or ""),
        "revision": str(sidecar.get("revision") or ""),
    }


def _inspect_uqff(wanted: Wanted, paths: Mapping[str, str]) -> dict[str, Any]:
    """The engine's own format: C(<stem>-<n>.uqff) from 0 on, the other tensors in C(residual.safetensors).

    Only what lies beside the quantized layers is read: what is in them is known to the version that wrote them. Source:
    the engine's reference of the format.
    """
    shards = [name for name in paths if name.endswith(".uqff")]
    stem = shards[0].rpartition("-")[0] or shards[0][: -len(".uqff")]
    expected = [f"{stem}-{number}.uqff" for number in range(len(shards))]
    if sorted(shards) != sorted(expected) and shards != [f"{stem}.uqff"]:
        found = ", ".join(sorted(shards)[:12])
        raise StackError(UQFF_SHARDS, name=wanted.name, found=found)
    if not all(os.path.getsize(paths[name]) for name in shards):
        raise StackError(UQFF_SHARDS, name=wanted.name, found="an empty one")
    summary = dict(safetensors_header.inspect_set(paths, label(wanted)))
    return {**summary, "quantization": stem.rpartition(".")[2].upper(), "parameters": 0, "shards": len(shards)}


def inspect_files(wanted: Wanted, paths: Mapping[str, str]) -> dict[str, Any]:
    """Check the structure of a model of several files, by their names in the model, and summarize it."""
    if any(name.endswith(".uqff") for name in paths):
        return _inspect_uqff(wanted, paths)
    shards = {name: path for name, path in paths.items() if name.endswith(".gguf")}
    if not shards:
        return dict(safetensors_header.inspect_set(paths, label(wanted)))
    return gguf_model.inspect_shards(shards, label(wanted))


def inspect(wanted: Wanted, entry: Entry) -> dict[str, Any]:
    """Check the structure of a stored model and summarize it."""
    if entry.directory:
        folder = model_path(wanted, directory=True)
        return inspect_files(wanted, {name: os.path.join(folder, name) for name in entry.sidecar["files"]})
    return gguf_model.inspect(model_path(wanted), label(wanted))


# A time that no file has.
_NEVER = {"mtime_ns": -1}


def _note(wanted: Wanted, entry: Entry, is_right: bool, wrong: Iterable[str]) -> None:
    """Remember what reading showed, unless another run is working on the model. C(wrong): of what was made for it.

    What is wrong gets a time that no file has: C(state=present) then reads it, too, and replaces it.
    """
    with suppress(Locked), FileLock(lock_path(wanted), named=True):
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
        write_small(wanted, "json", record_text(noted), ".store", wanted.file + ".json")


def record_text(sidecar: Mapping[str, Any]) -> bytes:
    """What C(.store/) says of a model, as it is written."""
    return (json.dumps(sidecar, indent=2, sort_keys=True) + "\n").encode()


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
        sidecar = {**entry.sidecar, "gguf": inspect(wanted, entry)}
        if entry.sidecar.get("sealed"):
            first = sorted(entry.sidecar.get("files") or {})[:1]
            sidecar["sealed"] = sealed_digest(os.path.join(path, *first))
        now = state_now(wanted, entry)
        kept = wanted._replace(chat_template=installed_template(wanted))
        found = facts(kept, entry.size, entry.sha256, sidecar, "hash", entry.directory)
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
    with _workers(seen) as pool:
        singles = pool.map(attempt, [each for each, is_set in zip(wanted, several) if not is_set])
        found = [None if is_set else next(singles) for is_set in several]
        done = [result or attempt(each) for each, result in zip(wanted, found)]
    errors = [result for result in done if isinstance(result, StackError)]
    if errors:
        raise StackErrors(errors)
    return [result for result in done if isinstance(result, Outcome)]


def _belongings(wanted: Wanted) -> tuple[list[str], dict[str, Any]]:
    """What of a model is there, and its state. The model is first: what is left is never taken for one."""
    sidecar = read_sidecar(wanted)
    paths = [store_path(wanted, wanted.file), *(made_path(wanted, kind) for kind in MADE)]
    paths += [store_path(wanted, template_name(wanted)), store_path(wanted, ".store", wanted.file + ".json")]
    there = [path for path in paths if plain_status(wanted, path) is not None]
    before: dict[str, Any] = {}
    status = plain_status(wanted, model_path(wanted))
    if status is not None:
        before = state(status.st_size, sidecar.get("sha256", ""), (), "", stat.S_IMODE(status.st_mode))
    elif sidecar.get("files") and _directory_status(wanted) is not None:
        there.insert(0, model_path(wanted, directory=True))
        before = state(int(sidecar.get("size", 0)), sidecar["sha256"], (), "")
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
            owner = _owner(name)
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
