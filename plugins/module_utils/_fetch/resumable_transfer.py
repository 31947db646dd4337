# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has arrived of one file: on the disk, hashed, and checked against what the source promises.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

The requests that bring the rest are in C(single_connection) and C(segments).
"""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Callable
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.answer import Answer
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.guards import Pace, Room
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.hasher import Hasher
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import INTERRUPTED, Client
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.part import Part
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.ranges import strong
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.transport import reason
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.url import redact
from ansible_collections.mistralrs.stack.plugins.module_utils._files.local import readable, write_all, write_behind

SIZE_MISMATCH = Fault(
    "model.size_mismatch",
    "Model {name}: {source} has {got} bytes, expected {want}; it was not put into the store.",
    "Run again; if it happens again, the source or a proxy in front of it is at fault.",
)
STALLED = Fault(
    "model.stalled",
    "Model {name}: {source} sent too little for {seconds} s, at byte {at}.",
    "Run again: it resumes if the source supports that. Raise 'timeout' if the connection is that slow.",
)
DISK_RESERVED = Fault(
    "model.disk_reserved",
    "Model {name}: {source} has sent {got} bytes, and the last {spare} on the disk of {path} are kept free.",
    "Make room or put 'mistral_models_path' on a larger disk; if the model is not that large, its source is at fault.",
)


class Transfer:
    """What is known and has arrived of one file.

    C(total) is its size in bytes, None as long as nothing told it. C(etag) is the validator of what is in the part.
    """

    def __init__(
        self,
        client: Client,
        remote: Remote,
        part: Part,
        name: str,
        report: Callable[[int, int | None, str], None],
        check_start: Callable[[bytes], None],
    ) -> None:
        self.client = client
        self.remote = remote
        self.part = part
        self.name = name
        self.sha256 = remote.sha256
        self.report = report
        self.check_start = check_start
        self.total = remote.size
        self.etag = ""
        self.received = 0
        self.requests = 0
        self.resumed_from = 0
        self.hasher = self._new_hasher()
        self.room = self.new_room(part.descriptor)

    def _new_hasher(self) -> Hasher:
        git_size = self.remote.size if self.remote.git_sha1 and not self.sha256 else None
        return Hasher(git_size, self.client.settings.limits.buffer)

    def new_room(self, descriptor: int) -> Room:
        """What watches the free space of the disk that a file lies on."""
        return Room(descriptor, self.client.settings.limits.space_interval)

    def new_pace(self) -> Pace:
        """What watches how much a connection brings."""
        return Pace(self.client.settings.timeout, self.client.settings.limits.least)

    def fault(self, fault: Fault, **fields: Any) -> StackError:
        """A fault about the source."""
        return StackError(fault, name=self.name, source=redact(self.remote.url), **fields)

    def interrupted(self, got: int, why: str = "") -> StackError:
        """An answer ended after C(got) bytes of the file."""
        want = self.total if self.total is not None else "an unknown number of"
        return self.fault(INTERRUPTED, got=got, want=want, why=why)

    def stalled(self, at: int) -> StackError:
        """An answer brought too little, or nothing, after C(at) bytes of the file."""
        return self.fault(STALLED, seconds=self.client.settings.timeout, at=at)

    def check_room(self, room: Room, count: int, got: int) -> None:
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
        if strong(remote.etag) and remote.size is not None:
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
            count = os.preadv(self.part.descriptor, [buffer[: end - done]], done)
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
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, TimeoutError) or (isinstance(error, OSError) and "timed out" in str(error)):
                return filled, self.stalled(at + filled)
            return filled, self.interrupted(at + filled, f": {reason(error)}")
        return filled, None

    def put(self, buffer: memoryview, count: int) -> None:
        """Write the next bytes behind what is there, and hash them."""
        if count:
            if self.part.offset == 0:
                self.check_start(bytes(buffer[: min(count, 512)]))
            self.check_room(self.room, count, self.part.offset)
            write_all(self.part.descriptor, buffer[:count])
            write_behind(self.part.descriptor, self.part.offset, count)
        self.hasher.put(buffer, count)
        self.part.offset += count
        self.received += count

    def finish(self) -> str:
        """The sha256 of all of it, compared with what was promised; '' if it is wrong."""
        self.hasher.finish()
        got = self.hasher.sha256.hexdigest()
        git = self.hasher.git_sha1.hexdigest()
        wrong = self.sha256 and got != self.sha256
        if wrong or (self.hasher.is_git and git != self.remote.git_sha1):
            return ""
        return got
