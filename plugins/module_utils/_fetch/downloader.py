# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file over HTTP: resumed where it stopped, hashed while it arrives, checked before it is called complete.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Beside the part lies what it is a part of, written before its first byte: a download goes on only if the source still
has that content. What is on the disk is hashed again first, so that the final digest is that of the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import segments, single_connection
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import (
    HTTP_ANSWER,
    HTTP_STATUS,
    INTERRUPTED,
    OFFLINE,
    RATE_LIMITED,
    Client,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.part import Part
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.resumable_transfer import (
    DISK_RESERVED,
    SIZE_MISMATCH,
    STALLED,
    Transfer,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.transport import (
    PROXY_REFUSED,
    PROXY_UNREACHABLE,
    PROXY_UNUSABLE,
    SOURCE_UNREACHABLE,
    SOURCE_UNTRUSTED,
)

CHECKSUM_MISMATCH = Fault(
    "model.checksum_mismatch",
    "Model {name}: the sha256 of {source} is {got} ({size} bytes), expected {want}; it was not put into the store.",
    "Correct 'sha256' if the publisher replaced the file; otherwise don't use that source.",
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


class Received(NamedTuple):
    """A complete file. Sizes are in bytes; C(requests) counts the requests for its body."""

    sha256: str
    size: int
    resumed_from: int
    received: int
    requests: int


def _fetch(transfer: Transfer, reresolve: Callable[[], Remote] | None) -> None:
    """Have all of it, over several connections where that is wanted and possible."""
    settings, part = transfer.client.settings, transfer.part
    remaining = (transfer.total or 0) - part.offset
    if settings.connections > 1 and remaining > 2 * settings.limits.segment and transfer.promise():
        try:
            return segments.fetch(transfer)
        except segments.NoRanges:
            os.lseek(part.descriptor, part.offset, os.SEEK_SET)
    return single_connection.fetch(transfer, reresolve)


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
    file = Part(part, name)
    try:
        for attempt in (1, 2):
            transfer = Transfer(client, remote, file, name, report, check_start)
            try:
                transfer.resume()
                if transfer.total is not None and not transfer.part.offset and not transfer.total:
                    check_start(b"")
                _fetch(transfer, reresolve)
            except BaseException as error:
                # What was refused by its content is of no use later, and neither is what can't go on.
                if (isinstance(error, StackError) and error.id not in _KEPT) or not transfer.can_go_on():
                    file.remove()
                raise
            finally:
                sha256 = transfer.finish()
            if not transfer.part.offset:
                file.remove()
                check_start(b"")
            if remote.size is not None and transfer.part.offset != remote.size:
                file.remove()
                raise transfer.fault(SIZE_MISMATCH, got=transfer.part.offset, want=remote.size)
            if sha256:
                os.fsync(file.descriptor)
                return Received(
                    sha256, transfer.part.offset, transfer.resumed_from, transfer.received, transfer.requests
                )
            if not transfer.resumed_from or attempt == 2:
                break
            # What an earlier run left was damaged: once more from the first byte.
            file.begin({})
        size = file.offset
        file.remove()
        got = transfer.hasher.git_sha1.hexdigest() if transfer.hasher.is_git else transfer.hasher.sha256.hexdigest()
        want = transfer.sha256 or remote.git_sha1
        raise transfer.fault(CHECKSUM_MISMATCH, got=got, size=size, want=want)
    finally:
        file.close()
