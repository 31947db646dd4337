# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file over HTTP: resumed where it stopped, hashed while it arrives, checked before it is called complete.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Beside the part lies what it is a part of, written before its first byte: a download goes on only if the source still
has that content. What is on the disk is hashed again first, so that the final digest is that of the file.
"""

from __future__ import annotations

import email.utils
import errno
import hashlib
import http.client
import json
import os
import queue
import re
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from email.message import Message
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import (
    HTTP_ANSWER,
    HTTP_STATUS,
    INTERRUPTED,
    NOT_A_MODEL,
    OFFLINE,
    PROXY_REFUSED,
    PROXY_UNREACHABLE,
    PROXY_UNUSABLE,
    RATE_LIMITED,
    SOURCE_UNREACHABLE,
    SOURCE_UNTRUSTED,
    Answer,
    Client,
    TransportError,
    reason,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote, redact
from ansible_collections.mistralrs.stack.plugins.module_utils._files.local import (
    readable,
    reserve,
    write_all,
    write_behind,
)

CHECKSUM_MISMATCH = Fault(
    "model.checksum_mismatch",
    "Model {name}: the sha256 of {source} is {got} ({size} bytes), expected {want}; it was not put into the store.",
    "Correct 'sha256' if the publisher replaced the file; otherwise don't use that source.",
)
SIZE_MISMATCH = Fault(
    "model.size_mismatch",
    "Model {name}: {source} has {got} bytes, expected {want}; it was not put into the store.",
    "Run again; if it happens again, the source or a proxy before it is at fault.",
)
STALLED = Fault(
    "model.stalled",
    "Model {name}: {source} sent too little for {seconds} s, at byte {at}.",
    "Run again: it goes on there if the source can. Raise 'timeout' if the line is that slow.",
)
DISK_RESERVED = Fault(
    "model.disk_reserved",
    "Model {name}: {source} has sent {got} bytes, and the last {spare} of the disk of {path} are not used up.",
    "Make room or put 'mistral_models_path' on a larger disk; if the model is not that large, its source is at fault.",
)
PART_UNSAFE = Fault(
    "model.part_unsafe",
    "Model {name}: {path} is not a plain file of the store.",
    "Move it away; the store writes only to files of its own.",
)

# After these the part is kept for the next run.
_KEPT = (
    INTERRUPTED.id,
    STALLED.id,
    SOURCE_UNREACHABLE.id,
    SOURCE_UNTRUSTED.id,
    PROXY_REFUSED.id,
    PROXY_UNREACHABLE.id,
    PROXY_UNUSABLE.id,
    HTTP_STATUS.id,
    HTTP_ANSWER.id,
    RATE_LIMITED.id,
    OFFLINE.id,
    DISK_RESERVED.id,
)
# Small enough to stay in the processor's cache between the copy from the socket, the write and the hash.
_BUFFER = 1 << 19
_BUFFERS = 6
# So many bytes are written at most before the free space is looked at again.
_LOOK = 16 << 20
# What each of several connections fetches at once.
_SEGMENT = 32 << 20
# Below this many bytes in 'timeout' seconds a connection is given up, and a new one is made.
_LEAST_BYTES = 4096
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)\Z")


class Received(NamedTuple):
    """A complete file. Sizes are in bytes; C(requests) counts the requests for its body."""

    sha256: str
    size: int
    resumed_from: int
    received: int
    requests: int


class _Restart(Exception):
    """What is on the disk is of no use for what the server has."""


class _Hasher:
    """Hashes in a thread of its own while the next bytes arrive."""

    def __init__(self, git_size: int | None) -> None:
        self.sha256 = hashlib.sha256()
        self.git_sha1 = hashlib.sha1(usedforsecurity=False)
        # A hub names small files by git's digest of them: of a header with the size, and the content.
        self.is_git = git_size is not None
        self.git_sha1.update(b"blob %d\0" % (git_size or 0))
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[memoryview, int] | None] = queue.SimpleQueue()
        for _index in range(_BUFFERS):
            self._free.put(memoryview(bytearray(_BUFFER)))
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while True:
            item = self._full.get()
            if item is None:
                return
            buffer, count = item
            self.sha256.update(buffer[:count])
            if self.is_git:
                self.git_sha1.update(buffer[:count])
            self._free.put(buffer)

    def buffer(self) -> memoryview:
        """A buffer that is not in use."""
        return self._free.get()

    def put(self, buffer: memoryview, count: int) -> None:
        """Hash the first bytes of a buffer, which is given back by that."""
        self._full.put((buffer, count))

    def finish(self) -> None:
        """Wait until all is hashed."""
        self._full.put(None)
        self._thread.join()


class _OneByOne(Exception):
    """The server does not give out parts of this file, or not now."""


class _Segment(threading.Thread):
    """Fetches a part of the file that is further on, into a file without a name."""

    def __init__(self, work: _Download, start: int, end: int) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.position = self.begin = start
        self.end = end
        self.problem: BaseException | None = None
        self.descriptor = -1

    def run(self) -> None:
        try:
            folder = os.path.dirname(self.work.part.path)
            try:
                self.descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except OSError as error:
                # Network file systems have no files without a name.
                if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                    raise _OneByOne from None
                raise
            attempt = 0
            while self.position < self.end and not self.work.stopped.is_set():
                before = self.position
                try:
                    self._request()
                except TransportError as error:
                    attempt = 1 if self.position - before >= _LEAST_BYTES else attempt + 1
                    if attempt > self.work.client.settings.retries:
                        raise error.fault from None
                    self.work.client.back_off(attempt - 1)
        except BaseException as problem:  # noqa: BLE001 - it is raised again by who waits for this segment
            self.problem = problem
        if self.work.stopped.is_set():
            self.close()

    def close(self) -> None:
        """Give the file back."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _request(self) -> None:
        work = self.work
        headers = {"Range": f"bytes={self.position}-{self.end - 1}"}
        if work.etag:
            headers["If-Range"] = work.etag
        with work.client.attempt("GET", work.remote.url, headers) as answer:
            match = _CONTENT_RANGE.match(answer.headers.get("Content-Range") or "")
            encoding = (answer.headers.get("Content-Encoding") or "identity").lower()
            whole = match is not None and match[3] in ("*", str(work.total)) and match[1] == str(self.position)
            if answer.status != 206 or encoding != "identity" or not whole or not _is_of(answer.headers, work.etag):
                raise _OneByOne
            self._take(answer)

    def _take(self, answer: Answer) -> None:
        work, limit = self.work, self.work.client.settings.rate_limit // self.work.client.settings.connections
        buffer = memoryview(bytearray(1 << 18))
        begun, first, pace = time.monotonic(), self.position, _Pace(work.client.settings.timeout)
        room = _Room(self.descriptor)
        while self.position < self.end and not work.stopped.is_set():
            count, problem = work.fill(answer, buffer, min(len(buffer), self.end - self.position), self.position)
            work.check_room(room, count, self.position)
            write_all(self.descriptor, buffer[:count])
            self.position += count
            if problem is not None:
                raise TransportError(problem)
            if not count:
                raise TransportError(work.fault(INTERRUPTED, got=self.position, want=work.total, why=""))
            if pace.is_too_slow(count):
                raise TransportError(work.fault(STALLED, seconds=work.client.settings.timeout, at=self.position))
            if limit:
                work.client.sleep(max(0.0, (self.position - first) / limit - (time.monotonic() - begun)))


class _Part:
    """The file that is being downloaded, and the record of what it is a part of."""

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.record_path = path + ".json"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self.descriptor = os.open(path, flags, 0o600)
            status = os.fstat(self.descriptor)
        except OSError as error:
            if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
                raise StackError(PART_UNSAFE, name=name, path=path) from None
            raise error
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            os.close(self.descriptor)
            raise StackError(PART_UNSAFE, name=name, path=path)
        self.offset = status.st_size

    def record(self) -> dict[str, Any]:
        """What the part was begun as; {} if that is not known."""
        try:
            descriptor = os.open(self.record_path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                known = json.loads(file.read(1 << 16))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def begin(self, record: dict[str, Any]) -> None:
        """Empty the part and say what it is going to be, in this order: an old part never gets a new record."""
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        self.offset = 0
        temporary = self.record_path + ".new"
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.replace(temporary, self.record_path)

    def remove(self) -> None:
        """Forget the part."""
        for path in (self.path, self.record_path):
            with suppress(FileNotFoundError):
                os.unlink(path)

    def close(self) -> None:
        """Give the file back."""
        os.close(self.descriptor)


def _strong(etag: str) -> str:
    """An ETag that stands for every byte, or ''."""
    text = etag.strip()
    return text if len(text) > 2 and text.startswith('"') and text.endswith('"') else ""


def _validator(headers: Message) -> str:
    """What If-Range can say of a whole answer: its strong ETag, or else a date that stands for every byte; or ''.

    A date does if the answer is a minute younger than that (RFC 9110, 8.8.2.2).
    """
    etag = _strong(headers.get("ETag") or "")
    modified = headers.get("Last-Modified") or ""
    changed, now = email.utils.parsedate_tz(modified), email.utils.parsedate_tz(headers.get("Date") or "")
    if etag or changed is None or now is None:
        return etag
    return modified if email.utils.mktime_tz(now) - email.utils.mktime_tz(changed) >= 60 else ""


def _is_of(headers: Message, validator: str) -> bool:
    """Whether a part is of the content that the validator stands for, as far as its answer says anything of that."""
    told = _strong(headers.get("ETag") or "") if validator.startswith('"') else headers.get("Last-Modified") or ""
    return not validator or not told or told == validator


class _Pace:
    """Tells when a connection brings too little."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun = time.monotonic()
        self.count = 0

    def is_too_slow(self, count: int) -> bool:
        """Whether the last C(seconds) brought too little, with these bytes, which have just come."""
        self.count += count
        now = time.monotonic()
        if now - self.begun < self.seconds:
            return False
        slow = self.count < _LEAST_BYTES
        self.begun, self.count = now, 0
        return slow


class _Room:
    """Sees to it that a download leaves something free on its disk."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._left = 0

    def spare(self, count: int) -> int:
        """The bytes that stay free, if so many more would take from them; else 0."""
        self._left -= count
        if self._left >= 0:
            return 0
        status = os.fstatvfs(self._descriptor)
        spare = reserve(status)
        free = status.f_bavail * status.f_frsize - spare
        self._left = min(_LOOK, free) - count
        return spare if free < count else 0


class _Download:
    """The state of one download."""

    def __init__(
        self,
        client: Client,
        remote: Remote,
        part: _Part,
        name: str,
        report: Callable[[int, int | None, str], None],
        check_start: Callable[[bytes], None],
        reresolve: Callable[[], Remote] | None,
    ) -> None:
        self.client = client
        self.remote = remote
        self.part = part
        self.name = name
        self.sha256 = remote.sha256
        self.report = report
        self.check_start = check_start
        self.reresolve = reresolve
        self.total = remote.size
        self.etag = ""
        self.received = 0
        self.requests = 0
        self.resumed_from = 0
        self.hasher = self._new_hasher()
        self.stopped = threading.Event()
        self.room = _Room(part.descriptor)

    def _new_hasher(self) -> _Hasher:
        return _Hasher(self.remote.size if self.remote.git_sha1 and not self.sha256 else None)

    def fault(self, fault: Fault, **fields: Any) -> StackError:
        """A fault about the source."""
        return StackError(fault, name=self.name, source=redact(self.remote.url), **fields)

    def check_room(self, room: _Room, count: int, got: int) -> None:
        """Refuse to write so many bytes more if they would take what stays free on the disk."""
        spare = room.spare(count)
        if spare:
            path = os.path.dirname(self.part.path)
            raise self.fault(DISK_RESERVED, got=got, spare=readable(spare), path=path)

    def can_go_on(self) -> bool:
        """Whether something would tell, later, that the rest is of the same content."""
        return bool(self.etag or self.sha256 or self.remote.git_sha1)

    def promise(self) -> dict[str, Any]:
        """What tells this content from any other, as far as it is known without asking."""
        remote = self.remote
        if self.sha256:
            return {"sha256": self.sha256}
        if remote.git_sha1:
            return {"git_sha1": remote.git_sha1}
        if _strong(remote.etag) and remote.size is not None:
            return {"etag": remote.etag, "size": remote.size}
        return {}

    def resume(self) -> None:
        """Hash what is there already if it is a part of what is wanted, or begin anew."""
        record = self.part.record()
        promise = self.promise()
        same = bool(record) and (record.get("promise") == promise if promise else bool(record.get("etag")))
        if not same or not self.part.offset or (self.total is not None and self.part.offset > self.total):
            self.restart(str(promise.get("etag", "")))
            return
        self.etag = str(record.get("etag") or "")
        end, done = self.part.offset, 0
        while done < end:
            buffer = self.hasher.buffer()
            count = os.preadv(self.part.descriptor, [buffer[: min(_BUFFER, end - done)]], done)
            if not count:
                break
            if done == 0:
                self.check_start(bytes(buffer[: min(count, 512)]))
            self.hasher.put(buffer, count)
            done += count
            self.report(done, self.total, "checking")
        os.lseek(self.part.descriptor, done, os.SEEK_SET)
        self.part.offset = self.resumed_from = done

    def restart(self, etag: str = "") -> None:
        """Begin with the first byte."""
        self.hasher.finish()
        self.hasher = self._new_hasher()
        self.etag = etag
        self.part.begin({"promise": self.promise(), "etag": etag})
        self.resumed_from = 0

    def _check_206(self, answer: Answer) -> None:
        """Refuse a part of the file that is not the one that was asked for."""
        match = _CONTENT_RANGE.match(answer.headers.get("Content-Range") or "")
        if not match or match[1] is None or int(match[1]) != self.part.offset:
            raise _Restart
        total = None if match[3] == "*" else int(match[3])
        if self.total is not None and total not in (None, self.total):
            raise _Restart
        if not _is_of(answer.headers, self.etag):
            raise _Restart
        self.total = total if self.total is None else self.total

    def _check_200(self, answer: Answer) -> None:
        """The whole file comes: see that it is the right one, and forget what was there."""
        length = answer.length
        if length is not None and self.total is not None and length != self.total:
            self.part.remove()
            raise self.fault(SIZE_MISMATCH, got=length, want=self.total)
        etag = _validator(answer.headers)
        if self.part.offset or etag != self.etag:
            self.restart(etag)
        if self.total is None:
            self.total = length

    def begin_body(self, answer: Answer) -> None:
        """Check an answer that brings bytes."""
        encoding = (answer.headers.get("Content-Encoding") or "identity").lower()
        if encoding not in ("identity", ""):
            if answer.status == 206:
                raise _Restart
            raise self.fault(HTTP_ANSWER, why=f"it is encoded as {encoding[:40]!r}")
        if answer.headers.get_content_type() == "text/html":
            raise self.fault(NOT_A_MODEL)
        if answer.status == 206:
            self._check_206(answer)
        else:
            self._check_200(answer)

    def fill(self, answer: Answer, buffer: memoryview, limit: int, at: int) -> tuple[int, StackError | None]:
        """Read until the buffer is full, some time has passed, or nothing more comes; why if that is an error."""
        filled = 0
        start = time.monotonic()
        try:
            while filled < limit and time.monotonic() - start < 1.0:
                count = answer.readinto(buffer[filled:limit])
                if not count:
                    return filled, None
                filled += count
        except OSError as error:
            if isinstance(error, TimeoutError) or "timed out" in str(error):
                seconds = self.client.settings.timeout
                return filled, self.fault(STALLED, seconds=seconds, at=at + filled)
            why = f": {reason(error)}"
            want = self.total if self.total is not None else "an unknown number of"
            return filled, self.fault(INTERRUPTED, got=at + filled, want=want, why=why)
        except (http.client.HTTPException, ValueError) as error:
            want = self.total if self.total is not None else "an unknown number of"
            return filled, self.fault(INTERRUPTED, got=at + filled, want=want, why=f": {reason(error)}")
        return filled, None

    def _put(self, buffer: memoryview, count: int) -> None:
        """Write and hash the next bytes."""
        if count:
            if self.part.offset == 0:
                self.check_start(bytes(buffer[: min(count, 512)]))
            self.check_room(self.room, count, self.part.offset)
            write_all(self.part.descriptor, buffer[:count])
            write_behind(self.part.descriptor, self.part.offset, count)
        self.hasher.put(buffer, count)
        self.part.offset += count
        self.received += count

    def body(self, answer: Answer) -> None:
        """Take the bytes of an answer. Raises TransportError when it ends too early."""
        limit = self.client.settings.rate_limit
        step = _BUFFER if not limit else max(1 << 14, min(_BUFFER, limit // 20))
        begun, pace = time.monotonic(), _Pace(self.client.settings.timeout)
        taken = 0
        while True:
            remaining = None if self.total is None else self.total - self.part.offset
            buffer = self.hasher.buffer()
            size = step if remaining is None else min(step, remaining)
            count, problem = self.fill(answer, buffer, size, self.part.offset) if size else (0, None)
            self._put(buffer, count)
            taken += count
            self.report(self.part.offset, self.total, "downloading")
            if problem is not None:
                raise TransportError(problem)
            if not count:
                break
            if limit:
                self.client.sleep(max(0.0, taken / limit - (time.monotonic() - begun)))
            if pace.is_too_slow(count):
                seconds = self.client.settings.timeout
                raise TransportError(self.fault(STALLED, seconds=seconds, at=self.part.offset))
        if answer.is_cut or (self.total is not None and self.part.offset < self.total):
            want = self.total if self.total is not None else "an unknown number of"
            raise TransportError(self.fault(INTERRUPTED, got=self.part.offset, want=want, why=""))
        self.total = self.part.offset

    def request(self) -> Answer | None:
        """One request for what is missing; the answer if it brought no bytes and is to be judged."""
        headers = {}
        if self.part.offset and not self.can_go_on():
            self.restart()
        if self.part.offset:
            headers["Range"] = f"bytes={self.part.offset}-"
            if self.etag:
                headers["If-Range"] = self.etag
        self.requests += 1
        with self.client.attempt("GET", self.remote.url, headers) as answer:
            if answer.status == 200 or (answer.status == 206 and self.part.offset):
                self.begin_body(answer)
                self.body(answer)
                return None
            return answer

    def _append(self, segment: _Segment) -> None:
        """Put a complete segment behind what is there."""
        done, size = 0, segment.end - segment.begin
        while done < size:
            buffer = self.hasher.buffer()
            count = os.preadv(segment.descriptor, [buffer[: min(_BUFFER, size - done)]], done)
            self._put(buffer, count)
            done += count
        segment.close()

    def run_ahead(self) -> None:
        """Fetch several parts at once, and put them one behind the other; what is on the disk is always a beginning.

        Raises _OneByOne if the server has no parts to give.
        """
        total = self.total or 0
        segments: list[_Segment] = []
        asked = self.part.offset
        try:
            while self.part.offset < total:
                while asked < total and len(segments) < self.client.settings.connections:
                    segments.append(_Segment(self, asked, min(total, asked + _SEGMENT)))
                    self.requests += 1
                    asked = segments[-1].end
                    segments[-1].start()
                first = segments[0]
                while first.is_alive():
                    first.join(0.5)
                    arrived = sum(segment.position - segment.begin for segment in segments)
                    self.report(self.part.offset + arrived, total, "downloading")
                if first.problem is not None:
                    raise first.problem
                self._append(segments.pop(0))
        finally:
            self.stopped.set()
            for segment in segments:
                if not segment.is_alive():
                    segment.close()

    def run(self) -> None:
        """Have all of it, over several connections where that is wanted and possible."""
        remaining = (self.total or 0) - self.part.offset
        if self.client.settings.connections > 1 and remaining > 2 * _SEGMENT and self.promise():
            try:
                return self.run_ahead()
            except _OneByOne:
                os.lseek(self.part.descriptor, self.part.offset, os.SEEK_SET)
        return self.run_one()

    def run_one(self) -> None:
        """Ask until all is there. What brought nothing too many times in a row is an error."""
        attempt, renewed = 0, False
        # Bytes that come again after a restart are no progress.
        furthest = self.part.offset
        while self.total is None or self.part.offset < self.total:
            try:
                answer = self.request()
            except _Restart:
                self.restart()
                attempt += 1
                if attempt > self.client.settings.retries:
                    raise self.fault(HTTP_ANSWER, why="it sends other bytes than those asked for") from None
                continue
            except TransportError as error:
                if self.part.offset - furthest >= _LEAST_BYTES:
                    attempt, renewed, furthest = 0, False, self.part.offset
                attempt += 1
                if attempt > self.client.settings.retries:
                    raise error.fault from None
                self.client.back_off(attempt - 1)
                continue
            if answer is None:
                return
            if answer.status == 416 and self.part.offset:
                match = _CONTENT_RANGE.match(answer.headers.get("Content-Range") or "")
                if match and match[3] == str(self.part.offset):
                    # All that the server has is here.
                    if self.total is None:
                        return
                    raise self.fault(SIZE_MISMATCH, got=self.part.offset, want=self.total)
                self.restart()
                attempt += 1
            elif answer.status in (401, 403, 410) and self.reresolve is not None and not renewed:
                # The signature of an address has expired.
                self.remote = self.remote._replace(url=self.reresolve().url)
                renewed = True
                continue
            elif self.client.pause(answer.status, answer.headers, attempt, answer.url):
                attempt += 1
            else:
                raise StackError(HTTP_STATUS, name=self.name, source=redact(answer.url), status=answer.status)
            if attempt > self.client.settings.retries:
                raise StackError(HTTP_STATUS, name=self.name, source=redact(answer.url), status=answer.status)

    def finish(self) -> str:
        """The sha256 of all of it, compared with what was promised; '' if it is wrong."""
        self.hasher.finish()
        got = self.hasher.sha256.hexdigest()
        git = self.hasher.git_sha1.hexdigest()
        wrong = self.sha256 and got != self.sha256
        if wrong or (self.hasher.is_git and git != self.remote.git_sha1):
            return ""
        return got


def download(
    client: Client,
    remote: Remote,
    part: str,
    name: str,
    report: Callable[[int, int | None, str], None],
    check_start: Callable[[bytes], None],
    reresolve: Callable[[], Remote] | None = None,
) -> Received:
    """Have the file complete, checked and synced at C(part); what is there of it is used.

    Raises StackError. An interruption leaves a part that can go on later, wrong content removes it. OSError of the disk
    passes through.
    """
    file = _Part(part, name)
    try:
        for attempt in (1, 2):
            work = _Download(client, remote, file, name, report, check_start, reresolve)
            try:
                work.resume()
                if work.total is not None and not work.part.offset and not work.total:
                    check_start(b"")
                work.run()
            except BaseException as error:
                # What was refused by its content is of no use later, and neither is what can't go on.
                if (isinstance(error, StackError) and error.id not in _KEPT) or not work.can_go_on():
                    file.remove()
                raise
            finally:
                sha256 = work.finish()
            if not work.part.offset:
                file.remove()
                check_start(b"")
            if remote.size is not None and work.part.offset != remote.size:
                file.remove()
                raise work.fault(SIZE_MISMATCH, got=work.part.offset, want=remote.size)
            if sha256:
                os.fsync(file.descriptor)
                return Received(sha256, work.part.offset, work.resumed_from, work.received, work.requests)
            if not work.resumed_from or attempt == 2:
                break
            # What an earlier run left was damaged: once more from the first byte.
            file.begin({})
        size = file.offset
        file.remove()
        got = work.hasher.git_sha1.hexdigest() if work.hasher.is_git else work.hasher.sha256.hexdigest()
        want = work.sha256 or remote.git_sha1
        raise work.fault(CHECKSUM_MISMATCH, got=got, size=size, want=want)
    finally:
        file.close()
