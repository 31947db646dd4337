# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a model comes from: a file of the host or an address, opened as a stream of bytes.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Redirects are followed by hand, so that nothing is ever sent to, or accepted from, a place that was not checked.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import re
import socket
import ssl
import stat
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._gguf import NOT_GGUF

SOURCE_MISSING = Fault(
    "model.source_missing",
    "Model {name}: the file {path} does not exist on this host.",
    "Copy it there or correct 'source'.",
)
SOURCE_UNREADABLE = Fault(
    "model.source_unreadable",
    "Model {name}: {path} can't be read: {why}.",
    "'source' must be a regular file that root can read.",
)
SOURCE_UNSUPPORTED = Fault(
    "model.source_unsupported",
    "Model {name}: {what}.",
    "Give the file as file:///path/on/the/host or as https://...; other sources come with the next release.",
)
SOURCE_INVALID = Fault(
    "model.source_invalid",
    "Model {name}: the source {source} can't be used: {why}.",
    "Write it as file:///path/on/the/host/model.gguf or https://host/path/model.gguf.",
)
SOURCE_INSECURE = Fault(
    "model.source_insecure",
    "Model {name}: {source} is plain http, so that anyone on the way can change the file.",
    "Use https or give the file's 'sha256'.",
)
REVISION_UNSUPPORTED = Fault(
    "model.revision_unsupported",
    "Model {name}: 'revision' has no meaning for {source}.",
    "Leave it out; 'sha256' says which content you want.",
)
INVALID_SHA256 = Fault(
    "model.invalid_sha256",
    "Model {name}: {value!r} is not a sha256.",
    "It is 64 hexadecimal digits; sha256sum prints it.",
)
REDIRECT_REFUSED = Fault(
    "model.redirect_refused",
    "Model {name}: {source} redirects {why}.",
    "Correct 'source', for example to where the file really is.",
)
HTTP_STATUS = Fault(
    "model.http_status",
    "Model {name}: {source} answered with HTTP {status}.",
    "Correct 'source' if it is wrong; files that need a login are not supported in this release.",
)
HTTP_ANSWER = Fault(
    "model.http_answer",
    "Model {name}: the answer of {source} can't be used: {why}.",
    "Try again later or use another source.",
)
SOURCE_UNTRUSTED = Fault(
    "model.source_untrusted",
    "Model {name}: the TLS certificate of {source} is not trusted: {why}.",
    "If your network uses its own authority, add its certificate to 'mistral_ca_certificates'.",
)
SOURCE_UNREACHABLE = Fault(
    "model.source_unreachable",
    "Model {name}: {source} can't be reached: {why}.",
    "Check the address, the network and the proxy of this host.",
)
CA_UNREADABLE = Fault(
    "model.ca_unreadable",
    "Model {name}: the authorities in {path} can't be read: {why}.",
    "They must be certificates in PEM format.",
)
INTERRUPTED = Fault(
    "model.interrupted",
    "Model {name}: {source} ended after {got} of {want} bytes{why}.",
    "Run again; if it happens again, the source or the network is at fault.",
)

_MAX_REDIRECTS = 5
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class Source(NamedTuple):
    """A checked source; C(shown) is free of secrets."""

    scheme: str
    url: str
    path: str
    shown: str


class Settings(NamedTuple):
    """How to reach other hosts."""

    ca_path: str
    ca_certificates: str
    timeout: int


class Stream(NamedTuple):
    """An open source: where to read, how much is promised, and what tells this content from a later one."""

    file: Any
    size: int | None
    origin: dict[str, int]


def parse_sha256(name: str, value: str) -> str:
    """A sha256 in lower case, or ''."""
    text = value.strip().lower()
    if text.startswith("sha256:"):
        text = text[len("sha256:") :]
    if text and not _SHA256.match(text):
        raise StackError(INVALID_SHA256, name=name, value=value[:80])
    return text


def redact(url: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "(not an address)"
    host = parts.netloc.rpartition("@")[2]
    shown = f"{parts.scheme}://{host}{parts.path}" if parts.scheme else parts.path
    return shown + ("?..." if parts.query else "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_source(name: str, source: str, revision: str, sha256: str) -> Source:
    """Check a source without touching it."""
    if not source:
        raise StackError(SOURCE_UNSUPPORTED, name=name, what="it has no 'source'")
    shown = redact(source)
    if re.search(r"[\x00-\x20\x7f]", source):
        raise StackError(SOURCE_INVALID, name=name, source=repr(shown), why="it contains a space or control character")
    try:
        parts = urllib.parse.urlsplit(source)
        host = parts.hostname or ""
        _port = parts.port
    except ValueError as error:
        raise StackError(SOURCE_INVALID, name=name, source=shown, why=error) from None
    scheme = parts.scheme.lower()
    if scheme not in ("file", "https", "http"):
        raise StackError(SOURCE_UNSUPPORTED, name=name, what=f"the source {shown} is of a kind that is not supported")
    if revision:
        raise StackError(REVISION_UNSUPPORTED, name=name, source=shown)
    if scheme == "file":
        path = urllib.parse.unquote(parts.path)
        if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
            raise StackError(SOURCE_INVALID, name=name, source=shown, why="it is not an absolute path of this host")
        return Source(scheme, source, os.path.normpath(path), shown)
    if not host:
        raise StackError(SOURCE_INVALID, name=name, source=shown, why="it names no host")
    if "@" in parts.netloc:
        raise StackError(SOURCE_INVALID, name=name, source=shown, why="it contains a user name or password")
    if scheme == "http" and not sha256 and not _is_loopback(host):
        raise StackError(SOURCE_INSECURE, name=name, source=shown)
    return Source(scheme, source, "", shown)


def file_origin(source: Source) -> dict[str, int]:
    """What tells whether the file that was copied earlier has been replaced; {} if it can't be told."""
    if source.scheme != "file":
        return {}
    try:
        status = os.stat(source.path)
    except OSError:
        return {}
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


@contextmanager
def _opened_file(name: str, source: Source) -> Iterator[Stream]:
    try:
        # A FIFO must not block the open.
        descriptor = os.open(source.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StackError(SOURCE_MISSING, name=name, path=source.path) from None
    except OSError as error:
        raise StackError(SOURCE_UNREADABLE, name=name, path=source.path, why=error.strerror) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise StackError(SOURCE_UNREADABLE, name=name, path=source.path, why="it is not a regular file")
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield Stream(file, status.st_size, {"size": status.st_size, "mtime_ns": status.st_mtime_ns})


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


def _context(name: str, settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_path or None)
        if settings.ca_certificates:
            # What is not ASCII can only be in the comments between certificates; Python refuses it, OpenSSL skips them.
            context.load_verify_locations(cadata=settings.ca_certificates.encode("ascii", "ignore").decode("ascii"))
    except (OSError, ValueError) as error:
        path = settings.ca_path or "'ca_certificates'"
        raise StackError(CA_UNREADABLE, name=name, path=path, why=getattr(error, "strerror", "") or error) from None
    return context


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _reason(error.reason)
    if isinstance(error, socket.timeout):
        return "no answer in time"
    return " ".join(str(getattr(error, "strerror", "") or error or type(error).__name__).split())


def _request(opener: urllib.request.OpenerDirector, name: str, url: str, method: str, timeout: int) -> Any:
    headers = {"Accept-Encoding": "identity", "Accept": "*/*", "User-Agent": "mistralrs.stack"}
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        return opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        return error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise StackError(SOURCE_UNTRUSTED, name=name, source=redact(url), why=reason.verify_message) from None
        raise StackError(SOURCE_UNREACHABLE, name=name, source=redact(url), why=_reason(error)) from None


def _redirected(name: str, url: str, answer: Any, sha256: str) -> str:
    location = str(answer.headers.get("Location", ""))
    shown = redact(url)
    try:
        target = urllib.parse.urljoin(url, location)
        parts = urllib.parse.urlsplit(target)
        host = parts.hostname or ""
    except ValueError:
        raise StackError(REDIRECT_REFUSED, name=name, source=shown, why="to something that is no address") from None
    if not location or parts.scheme not in ("https", "http") or not host or re.search(r"[\x00-\x20\x7f]", target):
        raise StackError(REDIRECT_REFUSED, name=name, source=shown, why="to something that is no https address")
    insecure = parts.scheme == "http" and not sha256 and not _is_loopback(host)
    if parts.scheme == "http" and (url.lower().startswith("https:") or insecure):
        raise StackError(REDIRECT_REFUSED, name=name, source=shown, why=f"to the insecure address {redact(target)}")
    return target


@contextmanager
def _opened_url(name: str, source: Source, settings: Settings, sha256: str, method: str) -> Iterator[Stream]:
    opener = urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=_context(name, settings)))
    url = source.url
    redirects = 0
    while True:
        answer = _request(opener, name, url, method, settings.timeout)
        if answer.status in (301, 302, 303, 307, 308):
            answer.close()
            redirects += 1
            if redirects > _MAX_REDIRECTS:
                raise StackError(
                    REDIRECT_REFUSED, name=name, source=source.shown, why=f"more than {_MAX_REDIRECTS} times"
                )
            url = _redirected(name, url, answer, sha256)
        elif method == "HEAD" and answer.status in (403, 405, 501):
            # Some servers and signed addresses know only GET; its body is not read.
            answer.close()
            method = "GET"
        else:
            break
    with answer:
        if answer.status != 200:
            raise StackError(HTTP_STATUS, name=name, source=redact(url), status=answer.status)
        encoding = answer.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("identity", ""):
            raise StackError(HTTP_ANSWER, name=name, source=redact(url), why=f"it is encoded as {encoding[:40]!r}")
        if answer.headers.get_content_type() == "text/html":
            hint = f"{redact(url)} sent a web page, such as a login or an error page"
            raise StackError(NOT_GGUF, name=name, hint=hint)
        length = answer.headers.get("Content-Length", "")
        yield Stream(answer, int(length) if length.isascii() and length.isdigit() else None, {})


@contextmanager
def opened(name: str, source: Source, settings: Settings, sha256: str, probe: bool = False) -> Iterator[Stream]:
    """Open a source; with C(probe) its body is not wanted."""
    if source.scheme == "file":
        with _opened_file(name, source) as stream:
            yield stream
    else:
        with _opened_url(name, source, settings, sha256, "HEAD" if probe else "GET") as stream:
            yield stream


def read_into(name: str, source: Source, stream: Stream, buffer: memoryview, done: int) -> int:
    """Read the next bytes; 0 at the end, which is the promised one."""
    why = ""
    try:
        count = int(stream.file.readinto(buffer))
    except (OSError, http.client.HTTPException, ValueError) as error:
        count = 0
        why = f": {_reason(error)}"
    if count == 0 and (why or (stream.size is not None and done < stream.size)):
        want = stream.size if stream.size is not None else "an unknown number of"
        raise StackError(INTERRUPTED, name=name, source=source.shown, got=done, want=want, why=why)
    return count
