# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to hubs, registries and servers: every redirect is looked at, and every failure has a sentence.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

A token is sent to the origin that it was given for (scheme, host and port), never to where that redirects.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from typing import Any, NamedTuple, Union

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.answer import Answer
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.transport import (
    SOURCE_UNREACHABLE,
    Transport,
    TransportError,
    reason,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.url import origin, redact, redirect_target

REDIRECT_REFUSED = Fault(
    "model.redirect_refused",
    "Model {name}: {source} redirects {why}.",
    "Correct 'source', for example to where the file really is.",
)
HTTP_STATUS = Fault(
    "model.http_status",
    "Model {name}: {source} answered with HTTP {status}.",
    "Correct 'source' if it is wrong, or try again later.",
)
HTTP_ANSWER = Fault(
    "model.http_answer",
    "Model {name}: the answer of {source} can't be used: {why}.",
    "Try again later or use another source.",
)
NOT_A_MODEL = Fault(
    "model.not_a_model",
    "Model {name}: {source} sent a web page, such as a login or an error page.",
    "Correct 'source'; it must be the model file itself.",
)
INTERRUPTED = Fault(
    "model.interrupted",
    "Model {name}: {source} ended after {got} of {want} bytes{why}.",
    "Run again: it resumes if the source supports that. If it happens again, the source or the network is at fault.",
)
RATE_LIMITED = Fault(
    "model.rate_limited",
    "Model {name}: HTTP {status} from {host}, which says to ask again in {seconds} s; {retries} retries are used up.",
    "Run again later, or give a token: a hub allows more requests with one.",
)
OFFLINE = Fault(
    "model.offline",
    "Model {name}: {source} would have to be contacted, but 'offline' is set.",
    "Put the model into the store first, use a source of this host, or unset 'offline'.",
)

Headers = Union[Mapping[str, str], Message]

_MAX_REDIRECTS = 5
_MAX_WAIT = 300.0
_BACKOFF = (1.0, 2.0, 4.0, 8.0)
_RETRIED = (408, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_RATE_LIMIT = re.compile(r"(?:^|[;\s])(r|t)=(\d{1,9})(?=;|,|\s|$)")


class Limits(NamedTuple):
    """Amounts of a download, in bytes and seconds; only tests have others.

    C(buffer) is read, written and hashed at once: small enough to stay in the processor's cache meanwhile. C(segment)
    is what each of several connections fetches at once. After C(space_interval) the free space is looked at again.
    A connection that brings less than C(least) in C(timeout) seconds is given up, and a new one is made. Each address
    of a name has C(connect_seconds) to answer.
    """

    buffer: int = 1 << 19
    segment: int = 32 << 20
    space_interval: int = 16 << 20
    least: int = 4096
    connect_seconds: float = 5.0


class Settings(NamedTuple):
    """How other hosts are reached.

    C(timeout) is in seconds without a byte, C(retries) the number of attempts in a row without progress, C(rate_limit)
    in bytes a second (0: none), C(connections) is for one file. C(token) is sent to C(token_origin) only, C(scheme://host[:port]).
    """

    ca_path: str = ""
    ca_certificates: str = ""
    timeout: int = 60
    retries: int = 5
    rate_limit: int = 0
    connections: int = 1
    use_proxy: bool = True
    offline: bool = False
    token: str = ""
    token_origin: str = ""
    limits: Limits = Limits()


def retry_wait(status: int, headers: Headers, attempt: int, now: float) -> float | None:
    """Seconds to wait before a request is made again, or None if that is no use.

    The server's word counts: Retry-After in seconds or as a date (RFC 9110, 10.2.3), or RateLimit with r=0 and
    t=seconds (draft-ietf-httpapi-ratelimit-headers). Without one it is 1, 2, 4, then 8 seconds.
    """
    if status not in _RETRIED:
        return None
    backoff = _BACKOFF[min(attempt, len(_BACKOFF) - 1)]
    after = (headers.get("Retry-After") or "").strip()
    if after.isascii() and after.isdigit() and len(after) < 10:
        return float(after)
    if after:
        parsed = email.utils.parsedate_tz(after)
        if parsed is not None:
            # A clock that is wrong must not make it wait for ever or not at all.
            return max(backoff, email.utils.mktime_tz(parsed) - now)
    told = dict(_RATE_LIMIT.findall(headers.get("RateLimit") or ""))
    if status == 429 and told.get("r") == "0" and "t" in told:
        return float(told["t"]) + 1.0
    return backoff


class Client:
    """Makes requests for one model."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.settings = settings
        self.sleep = sleep
        self.clock = clock
        seconds, proxy = settings.limits.connect_seconds, settings.use_proxy
        self._transport = Transport(name, settings.timeout, seconds, proxy, settings.ca_path, settings.ca_certificates)
        self._tokens: dict[str, str] = {}
        if settings.token and settings.token_origin:
            self._tokens[origin(settings.token_origin)] = settings.token

    def extra_token(self, url: str, token: str) -> None:
        """A token that the server itself gave out, for the origin of C(url)."""
        self._tokens[origin(url)] = token

    def fault(self, fault: Fault, url: str, **fields: Any) -> StackError:
        """A fault about an address, without what may be secret in that."""
        return StackError(fault, name=self.name, source=redact(url), **fields)

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[http.client.HTTPConnection, Answer]:
        if self.settings.offline:
            raise self.fault(OFFLINE, url)
        token = self._tokens.get(origin(url))
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        return self._transport.send(method, url, {**headers, **authorization}, body)

    def redirected(self, url: str, location: str) -> str:
        """Where an answer of C(url) redirects to. Raises C(model.redirect_refused)."""
        try:
            return redirect_target(url, location)
        except ValueError as error:
            raise self.fault(REDIRECT_REFUSED, url, why=error) from None

    @contextmanager
    def attempt(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        follow: str = "all",
    ) -> Iterator[Answer]:
        """One attempt at a request, redirects included.

        C(follow) is 'all', 'relative' (a redirect to another origin is the answer) or 'none'. Raises TransportError.
        """
        seen = {url}
        while True:
            connection, answer = self._send(method, url, headers or {}, body)
            try:
                location = answer.headers.get("Location") or ""
                if answer.status not in _REDIRECTS or follow == "none":
                    yield answer
                    return
                target = self.redirected(url, location)
                if follow == "relative" and origin(target) != origin(url):
                    yield answer
                    return
            finally:
                connection.close()
            if target in seen or len(seen) > _MAX_REDIRECTS:
                why = "in a circle" if target in seen else f"more than {_MAX_REDIRECTS} times"
                raise self.fault(REDIRECT_REFUSED, url, why=why)
            seen.add(target)
            if answer.status == 303 and method not in ("GET", "HEAD"):
                method, body = "GET", None
            url = target

    def back_off(self, attempt: int) -> None:
        """Wait before the next attempt after one that failed, the first being 0."""
        self.sleep(_BACKOFF[min(attempt, len(_BACKOFF) - 1)])

    def pause(self, status: int, headers: Headers, attempt: int, url: str) -> bool:
        """Wait before the next attempt; False if another one is no use. Raises C(model.rate_limited)."""
        seconds = retry_wait(status, headers, attempt, self.clock())
        if seconds is None:
            return False
        if status == 429 and (attempt >= self.settings.retries or seconds > _MAX_WAIT):
            host = urllib.parse.urlsplit(url).netloc
            raise StackError(
                RATE_LIMITED, name=self.name, status=status, host=host, seconds=int(seconds), retries=attempt
            )
        if attempt >= self.settings.retries:
            return False
        self.sleep(min(seconds, _MAX_WAIT))
        return True

    def text(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        follow: str = "all",
        limit: int = 64 << 20,
    ) -> tuple[Answer, bytes]:
        """The whole answer to a question about metadata, asked again where that helps."""
        attempt = 0
        while True:
            try:
                with self.attempt(method, url, headers, body, follow) as answer:
                    content = b"" if method == "HEAD" else answer.read(limit + 1)
                    if len(content) > limit:
                        raise self.fault(HTTP_ANSWER, url, why=f"it is larger than {limit} bytes")
                    length = answer.length
                    if method != "HEAD" and length is not None and len(content) < length:
                        raise TransportError(self.fault(INTERRUPTED, url, got=len(content), want=length, why=""))
            except (TransportError, OSError, http.client.HTTPException) as error:
                if attempt >= self.settings.retries:
                    if isinstance(error, TransportError):
                        raise error.fault from None
                    raise self.fault(SOURCE_UNREACHABLE, url, why=reason(error)) from None
                self.back_off(attempt)
                attempt += 1
                continue
            if not self.pause(answer.status, answer.headers, attempt, answer.url):
                return answer, content
            attempt += 1

    def json(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = 64 << 20,
    ) -> tuple[Answer, Any]:
        """The answer and its JSON; None in place of that if the status is not 200."""
        answer, content = self.text(method, url, headers, body, limit=limit)
        if answer.status != 200:
            return answer, None
        try:
            return answer, json.loads(content)
        except (ValueError, RecursionError):
            why = "it is not JSON; a proxy or a login page may be in between"
            raise self.fault(HTTP_ANSWER, url, why=why) from None
