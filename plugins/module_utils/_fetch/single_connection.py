# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file over a single connection: one request after the other for what is missing, until all is there.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.answer import Answer
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import (
    HTTP_ANSWER,
    HTTP_STATUS,
    NOT_A_MODEL,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.ranges import CONTENT_RANGE, is_of, validator_of
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.resumable_transfer import SIZE_MISMATCH, Transfer
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.transport import TransportError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.url import redact


class _Restart(Exception):
    """What is on the disk is of no use for what the server has."""


def _check_206(transfer: Transfer, answer: Answer) -> None:
    """Refuse a part of the file that is not the one that was asked for."""
    match = CONTENT_RANGE.match(answer.headers.get("Content-Range") or "")
    if not match or match[1] is None or int(match[1]) != transfer.part.offset:
        raise _Restart
    total = None if match[3] == "*" else int(match[3])
    if transfer.total is not None and total not in (None, transfer.total):
        raise _Restart
    if not is_of(answer.headers, transfer.etag):
        raise _Restart
    transfer.total = total if transfer.total is None else transfer.total


def _check_200(transfer: Transfer, answer: Answer) -> None:
    """The whole file comes: see that it is the right one, and forget what was there."""
    length = answer.length
    if length is not None and transfer.total is not None and length != transfer.total:
        transfer.part.remove()
        raise transfer.fault(SIZE_MISMATCH, got=length, want=transfer.total)
    etag = validator_of(answer.headers)
    if transfer.part.offset or etag != transfer.etag:
        transfer.restart(etag)
    if transfer.total is None:
        transfer.total = length


def _check(transfer: Transfer, answer: Answer) -> None:
    """Check the headers of an answer that brings bytes."""
    encoding = (answer.headers.get("Content-Encoding") or "identity").lower()
    if encoding not in ("identity", ""):
        if answer.status == 206:
            raise _Restart
        raise transfer.fault(HTTP_ANSWER, why=f"it is encoded as {encoding[:40]!r}")
    if answer.headers.get_content_type() == "text/html":
        raise transfer.fault(NOT_A_MODEL)
    if answer.status == 206:
        _check_206(transfer, answer)
    else:
        _check_200(transfer, answer)


def _take(transfer: Transfer, answer: Answer) -> None:
    """Take the bytes of an answer. Raises TransportError when it ends too early."""
    settings = transfer.client.settings
    limit, step = settings.rate_limit, settings.limits.buffer
    if limit:
        step = max(1 << 14, min(step, limit // 20))
    begun, pace = time.monotonic(), transfer.new_pace()
    taken = 0
    while True:
        remaining = None if transfer.total is None else transfer.total - transfer.part.offset
        buffer = transfer.hasher.buffer()
        size = step if remaining is None else min(step, remaining)
        count, problem = transfer.fill(answer, buffer, size, transfer.part.offset) if size else (0, None)
        transfer.put(buffer, count)
        taken += count
        transfer.report(transfer.part.offset, transfer.total, "downloading")
        if problem is not None:
            raise TransportError(problem)
        if not count:
            break
        if limit:
            transfer.client.sleep(max(0.0, taken / limit - (time.monotonic() - begun)))
        if pace.is_too_slow(count):
            raise TransportError(transfer.stalled(transfer.part.offset))
    if answer.is_cut or (transfer.total is not None and transfer.part.offset < transfer.total):
        raise TransportError(transfer.interrupted(transfer.part.offset))
    transfer.total = transfer.part.offset


def _request(transfer: Transfer) -> Answer | None:
    """One request for what is missing; the answer if it brought no bytes and is to be judged."""
    headers = {}
    if transfer.part.offset and not transfer.can_go_on():
        transfer.restart()
    if transfer.part.offset:
        headers["Range"] = f"bytes={transfer.part.offset}-"
        if transfer.etag:
            headers["If-Range"] = transfer.etag
    transfer.requests += 1
    with transfer.client.attempt("GET", transfer.remote.url, headers) as answer:
        if answer.status == 200 or (answer.status == 206 and transfer.part.offset):
            _check(transfer, answer)
            _take(transfer, answer)
            return None
        return answer


def _has_all(transfer: Transfer, answer: Answer) -> bool:
    """Whether the answer 416 says that the server has no more than is here. Raises C(model.size_mismatch)."""
    match = CONTENT_RANGE.match(answer.headers.get("Content-Range") or "")
    if not match or match[3] != str(transfer.part.offset):
        return False
    if transfer.total is not None:
        raise transfer.fault(SIZE_MISMATCH, got=transfer.part.offset, want=transfer.total)
    return True


def fetch(transfer: Transfer, reresolve: Callable[[], Remote] | None) -> None:
    """Ask until all is there. Too many requests in a row that brought nothing are an error.

    C(reresolve) gives a new address when the signature of the old one has expired.
    """
    client, part = transfer.client, transfer.part
    attempt, renewed = 0, False
    # Bytes that come again after a restart are no progress.
    furthest = part.offset
    while transfer.total is None or part.offset < transfer.total:
        try:
            answer = _request(transfer)
        except _Restart:
            transfer.restart()
            attempt += 1
            if attempt > client.settings.retries:
                raise transfer.fault(HTTP_ANSWER, why="it sends other bytes than those asked for") from None
            continue
        except TransportError as error:
            if part.offset - furthest >= client.settings.limits.least:
                attempt, renewed, furthest = 0, False, part.offset
            attempt += 1
            if attempt > client.settings.retries:
                raise error.fault from None
            client.back_off(attempt - 1)
            continue
        if answer is None:
            return
        refused = StackError(HTTP_STATUS, name=transfer.name, source=redact(answer.url), status=answer.status)
        if answer.status == 416 and part.offset:
            if _has_all(transfer, answer):
                return
            transfer.restart()
        elif answer.status in (401, 403, 410) and reresolve is not None and not renewed:
            transfer.remote = transfer.remote._replace(url=reresolve().url)
            renewed = True
            continue
        elif not client.pause(answer.status, answer.headers, attempt, answer.url):
            raise refused
        attempt += 1
        if attempt > client.settings.retries:
            raise refused
