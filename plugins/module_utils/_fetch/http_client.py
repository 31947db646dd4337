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
import os
import re
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from typing import Any, NamedTuple, Union

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import proxy as _proxy
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.happy_eyeballs import Connector, read_body
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import is_loopback, redact

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
SOURCE_UNTRUSTED = Fault(
    "model.source_untrusted",
    "Model {name}: the TLS certificate of {source} is not trusted: {why}.",
    "If your network uses its own authority, add its certificate to 'mistral_ca_certificates'; or set the clock.",
)
SOURCE_UNREACHABLE = Fault(
    "model.source_unreachable",
    "Model {name}: {source} can't be reached: {why}.",
    "Check the address, the network and the proxy of this host.",
)
PROXY_REFUSED = Fault(
    "model.proxy_refused",
    "Model {name}: the proxy {proxy} refuses to connect to {source}: {why}.",
    "After HTTP 407 give the proxy's user and password (http://user:password@host:port) in the host's https_proxy or "
    "http_proxy; otherwise have the proxy allow it, or add the source's host to no_proxy.",
)
PROXY_UNREACHABLE = Fault(
    "model.proxy_unreachable",
    "Model {name}: the proxy {proxy} on the way to {source} can't be reached: {why}.",
    "Correct https_proxy or http_proxy on this host, or add the source's host to no_proxy.",
)
PROXY_UNUSABLE = Fault(
    "model.proxy_unusable",
    "Model {name}: the proxy {proxy} on the way to {source} can't be used: {why}.",
    "Correct https_proxy, http_proxy or all_proxy on this host (http://user:password@host:port), or add the source's "
    "host to no_proxy.",
)
CA_UNREADABLE = Fault(
    "model.ca_unreadable",
    "Model {name}: the authorities in {path} can't be read: {why}.",
    "They must be certificates in PEM format.",
)
NOT_A_MODEL = Fault(
    "model.not_a_model",
    "Model {name}: {source} sent a web page, such as a login or an error page.",
    "Correct 'source'; it must be the model file itself.",
)
INTERRUPTED = Fault(
    "model.interrupted",
    "Model {name}: {source} ended after {got} of {want} bytes{why}.",
    "Run again: it goes on there if the source can. If it happens again, the source or the network is at fault.",
)
RATE_LIMITED = Fault(
    "model.rate_limited",
    "Model {name}: HTTP {status} from {host}, which says to ask again in {seconds} s; {retries} retries are used up.",
    "Run again later, or give a token: a hub allows more to those that it knows.",
)
OFFLINE = Fault(
    "model.offline",
    "Model {name}: {source} would have to be asked, but 'offline' is set.",
    "Put the model into the store first, use a source of this host, or unset 'offline'.",
)

Headers = Union[Mapping[str, str], Message]

_MAX_REDIRECTS = 5
_MAX_WAIT = 300.0
_CONNECT_TIMEOUT = 20
_BACKOFF = (1.0, 2.0, 4.0, 8.0)
_RETRIED = (408, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_RATE_LIMIT = re.compile(r"(?:^|[;\s])(r|t)=(\d{1,9})(?=;|,|\s|$)")
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")


class Limits(NamedTuple):
    """Amounts of a download, in bytes; only tests have others.

    C(buffer) is read, written and hashed at once: small enough to stay in the processor's cache meanwhile. C(segment)
    is what each of several connections fetches at once. After C(space_interval) the free space is looked at again.
    A connection that brings less than C(least) in C(timeout) seconds is given up, and a new one is made.
    """

    buffer: int = 1 << 19
    segment: int = 32 << 20
    space_interval: int = 16 << 20
    least: int = 4096


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


class _Tunnel(http.client.HTTPSConnection):
    """A connection through a proxy, which is opened in two steps: what goes wrong in the first is the proxy's."""

    def __init__(self, host: str, port: int, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._authorities = context

    def connect(self) -> None:
        """Have the proxy connect to the server."""
        http.client.HTTPConnection.connect(self)

    def secure(self, host: str) -> None:
        """Speak TLS with the server."""
        self.sock = self._authorities.wrap_socket(self.sock, server_hostname=host)


class TransportError(Exception):
    """A request that may succeed when it is made again; C(fault) says what it is if it does not."""

    def __init__(self, fault: StackError) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Answer:
    """The answer to a request; its body is read by the caller."""

    def __init__(self, response: http.client.HTTPResponse, url: str) -> None:
        self.status = response.status
        self.headers = response.headers
        self.url = url
        # Whether a body in chunks ended before its last one.
        self.is_cut = False
        self._response = response

    def readinto(self, buffer: memoryview) -> int:
        """Read what is there of the next bytes into a buffer; 0 at the end."""
        response = self._response
        if response.isclosed():
            return 0
        if response.chunked:
            try:
                # All of the buffer would be waited for.
                return int(response.readinto(buffer[: 1 << 16]))
            except http.client.IncompleteRead as error:
                # What came before the cut is in the buffer.
                self.is_cut = True
                return len(error.partial)
        wanted = len(buffer) if response.length is None else min(len(buffer), response.length)
        count = int(response.fp.readinto1(buffer[:wanted])) if wanted else 0
        if response.length is not None:
            response.length -= count
        return count

    def read(self, limit: int) -> bytes:
        """The body, up to C(limit) bytes. Raises OSError if it does not come to an end in time."""
        return read_body(self._response, limit)

    @property
    def length(self) -> int | None:
        """The size that the answer promises, in bytes."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def origin(url: str) -> str:
    """Scheme, host and port of an address, in a form that can be compared."""
    parts = urllib.parse.urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme.lower(), 0)
    return f"{parts.scheme.lower()}://{(parts.hostname or '').lower()}:{port}"


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


def reason(error: BaseException) -> str:
    """What an error of the network says, in one line."""
    if isinstance(error, socket.timeout):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name can't be resolved"
    return " ".join(str(getattr(error, "strerror", "") or error or type(error).__name__).split())


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
        self._context: ssl.SSLContext | None = None
        self._connector = Connector()
        self._tokens: dict[str, str] = {}
        if settings.token and settings.token_origin:
            self._tokens[origin(settings.token_origin)] = settings.token

    def extra_token(self, url: str, token: str) -> None:
        """A token that the server itself gave out, for the origin of C(url)."""
        self._tokens[origin(url)] = token

    def fault(self, fault: Fault, url: str, **fields: Any) -> StackError:
        """A fault about an address, without what may be secret in that."""
        return StackError(fault, name=self.name, source=redact(url), **fields)

    def context(self) -> ssl.SSLContext:
        """The authorities to trust."""
        if self._context is None:
            settings = self.settings
            try:
                context = ssl.create_default_context(cafile=settings.ca_path or None)
                if settings.ca_certificates:
                    # What is not ASCII can only be in the comments between certificates.
                    text = settings.ca_certificates.encode("ascii", "ignore").decode("ascii")
                    context.load_verify_locations(cadata=text)
            except (OSError, ValueError) as error:
                path = settings.ca_path or "'ca_certificates'"
                why = getattr(error, "strerror", "") or error
                raise StackError(CA_UNREADABLE, name=self.name, path=path, why=why) from None
            self._context = context
        return self._context

    def _way(self, url: str, parts: urllib.parse.SplitResult) -> _proxy.Proxy | None:
        """The proxy on the way to an address. Raises C(model.proxy_unusable)."""
        if not self.settings.use_proxy or is_loopback(parts.hostname or ""):
            return None
        try:
            return _proxy.choose(parts, _proxy.settings(os.environ))
        except ValueError as error:
            why, shown = error.args
            raise self.fault(PROXY_UNUSABLE, url, proxy=shown, why=why) from None

    def _connection(self, parts: urllib.parse.SplitResult, proxy: _proxy.Proxy | None) -> http.client.HTTPConnection:
        """A connection that is not yet open."""
        secure = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        timeout = min(self.settings.timeout, _CONNECT_TIMEOUT)
        connection: http.client.HTTPConnection
        if proxy is None:
            if secure:
                connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=self.context())
            else:
                connection = http.client.HTTPConnection(host, port, timeout=timeout)
        elif secure:
            connection = _Tunnel(proxy.host, proxy.port, timeout=timeout, context=self.context())
            connection.set_tunnel(host, port, proxy.headers)
        else:
            connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=timeout)
        # Where plain, encrypted and tunnelled connections all begin; a Python without it would only be slower.
        connection._create_connection = self._connector.connect  # type: ignore[attr-defined]
        return connection

    def _refused(self, url: str, proxy: _proxy.Proxy, why: str) -> StackError:
        return self.fault(PROXY_REFUSED, url, proxy=proxy.shown, why=why)

    def _connect(self, connection: http.client.HTTPConnection, url: str, proxy: _proxy.Proxy | None) -> None:
        """Open a connection as far as the proxy has a part in it; all of it, if there is none."""
        try:
            connection.connect()
        except ssl.SSLCertVerificationError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            if proxy is None:
                raise
            why = reason(error)
            if "unnel connection failed" not in why:
                raise TransportError(self.fault(PROXY_UNREACHABLE, url, proxy=proxy.shown, why=why)) from None
            status = why.rpartition("failed:")[2].strip() or why
            refused = self._refused(url, proxy, f"HTTP {status}")
            # It may reach the source later.
            raise (TransportError(refused) if status[:3] in ("502", "503", "504") else refused) from None

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[http.client.HTTPConnection, Answer]:
        """One request to one place. Raises TransportError for what may go away by itself."""
        if self.settings.offline:
            raise self.fault(OFFLINE, url)
        parts = urllib.parse.urlsplit(url)
        proxy = self._way(url, parts)
        connection = self._connection(parts, proxy)
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        sent = {"Accept": "*/*", "User-Agent": "mistralrs.stack", **headers, "Accept-Encoding": "identity"}
        if proxy is not None and parts.scheme == "http":
            target = urllib.parse.urlunsplit(parts)
            sent.update(proxy.headers)
        token = self._tokens.get(origin(url))
        if token:
            sent["Authorization"] = f"Bearer {token}"
        try:
            self._connect(connection, url, proxy)
            if isinstance(connection, _Tunnel):
                connection.secure(parts.hostname or "")
            if connection.sock is not None:
                connection.sock.settimeout(self.settings.timeout)
            connection.request(method, target, body=body, headers=sent)
            answer = Answer(connection.getresponse(), url)
            if proxy is not None and answer.status == 407:
                raise self._refused(url, proxy, "HTTP 407")
            return connection, answer
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise self.fault(SOURCE_UNTRUSTED, url, why=error.verify_message) from None
        except (StackError, TransportError):
            connection.close()
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            why = reason(error) + (f" (through the proxy {proxy.shown})" if proxy else "")
            raise TransportError(self.fault(SOURCE_UNREACHABLE, url, why=why)) from None

    def redirected(self, url: str, location: str) -> str:
        """Where an answer redirects to, checked."""
        try:
            target = urllib.parse.urljoin(url, location)
            parts = urllib.parse.urlsplit(target)
            host, _port = parts.hostname or "", parts.port
        except ValueError:
            raise self.fault(REDIRECT_REFUSED, url, why="to something that is no address") from None
        if not location or parts.scheme not in ("https", "http") or not host or _UNSAFE.search(target):
            raise self.fault(REDIRECT_REFUSED, url, why="to something that is no https address")
        if "@" in parts.netloc:
            raise self.fault(REDIRECT_REFUSED, url, why="to an address with a password")
        if parts.scheme == "http" and url.lower().startswith("https:"):
            raise self.fault(REDIRECT_REFUSED, url, why=f"to the insecure address {redact(target)}")
        if parts.scheme == "http" and not is_loopback(host) and is_loopback(urllib.parse.urlsplit(url).hostname or ""):
            raise self.fault(REDIRECT_REFUSED, url, why=f"to the insecure address {redact(target)}")
        return target

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
            raise self.fault(
                HTTP_ANSWER, url, why="it is not JSON; a proxy or a login page may be in between"
            ) from None
