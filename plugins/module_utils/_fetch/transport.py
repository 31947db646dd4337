# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP request to one address: the way there, TLS, and whose fault it is when nothing comes back.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import proxy as _proxy
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.answer import Answer
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.connector import Connector
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.url import is_loopback, redact

SOURCE_UNTRUSTED = Fault(
    "model.source_untrusted",
    "Model {name}: the TLS certificate of {source} is not trusted: {why}.",
    "If your network uses its own authority, add its certificate to 'mistral_ca_certificates'; check the host's clock.",
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
    "Give a file with certificates in PEM format.",
)

# In seconds, for TLS and for a proxy's answer.
_OPEN_SECONDS = 20


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


def reason(error: BaseException) -> str:
    """What an error of the network says, in one line."""
    if isinstance(error, socket.timeout):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name can't be resolved"
    return " ".join(str(getattr(error, "strerror", "") or error or type(error).__name__).split())


class Transport:
    """Makes single requests. C(timeout) is in seconds without a byte, C(connect_seconds) for each address of a name."""

    def __init__(
        self,
        name: str,
        timeout: int,
        connect_seconds: float,
        use_proxy: bool = True,
        ca_path: str = "",
        ca_certificates: str = "",
    ) -> None:
        self._name = name
        self._timeout = timeout
        self._use_proxy = use_proxy
        self._ca_path = ca_path
        self._ca_certificates = ca_certificates
        self._context: ssl.SSLContext | None = None
        self._connector = Connector(connect_seconds)

    def _fault(self, fault: Fault, url: str, **fields: Any) -> StackError:
        return StackError(fault, name=self._name, source=redact(url), **fields)

    def _authorities(self) -> ssl.SSLContext:
        """The authorities to trust."""
        if self._context is None:
            try:
                context = ssl.create_default_context(cafile=self._ca_path or None)
                if self._ca_certificates:
                    # What is not ASCII can only be in the comments between certificates.
                    text = self._ca_certificates.encode("ascii", "ignore").decode("ascii")
                    context.load_verify_locations(cadata=text)
            except (OSError, ValueError) as error:
                path = self._ca_path or "'ca_certificates'"
                why = getattr(error, "strerror", "") or error
                raise StackError(CA_UNREADABLE, name=self._name, path=path, why=why) from None
            self._context = context
        return self._context

    def _proxy_for(self, url: str, parts: urllib.parse.SplitResult) -> _proxy.Proxy | None:
        """The proxy on the way to an address. Raises C(model.proxy_unusable)."""
        if not self._use_proxy or is_loopback(parts.hostname or ""):
            return None
        try:
            return _proxy.choose(parts, _proxy.settings(os.environ))
        except ValueError as error:
            why, shown = error.args
            raise self._fault(PROXY_UNUSABLE, url, proxy=shown, why=why) from None

    def _connection(self, parts: urllib.parse.SplitResult, proxy: _proxy.Proxy | None) -> http.client.HTTPConnection:
        """A connection that is not yet open."""
        secure = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        timeout = min(self._timeout, _OPEN_SECONDS)
        connection: http.client.HTTPConnection
        if proxy is None:
            if secure:
                connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=self._authorities())
            else:
                connection = http.client.HTTPConnection(host, port, timeout=timeout)
        elif secure:
            connection = _Tunnel(proxy.host, proxy.port, timeout=timeout, context=self._authorities())
            connection.set_tunnel(host, port, proxy.headers)
        else:
            connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=timeout)
        # Where plain, encrypted and tunnelled connections all begin; a Python without it waits longer.
        connection._create_connection = self._connector.connect  # type: ignore[attr-defined]
        return connection

    def _refused(self, url: str, proxy: _proxy.Proxy, why: str) -> StackError:
        return self._fault(PROXY_REFUSED, url, proxy=proxy.shown, why=why)

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
                raise TransportError(self._fault(PROXY_UNREACHABLE, url, proxy=proxy.shown, why=why)) from None
            status = why.rpartition("failed:")[2].strip() or why
            refused = self._refused(url, proxy, f"HTTP {status}")
            # It may reach the source later.
            raise (TransportError(refused) if status[:3] in ("502", "503", "504") else refused) from None

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[http.client.HTTPConnection, Answer]:
        """One request; the caller reads the answer and closes the connection.

        Raises TransportError for what may go away by itself, StackError for what does not.
        """
        parts = urllib.parse.urlsplit(url)
        proxy = self._proxy_for(url, parts)
        connection = self._connection(parts, proxy)
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        sent = {"Accept": "*/*", "User-Agent": "mistralrs.stack", **headers, "Accept-Encoding": "identity"}
        if proxy is not None and parts.scheme == "http":
            target = urllib.parse.urlunsplit(parts)
            sent.update(proxy.headers)
        try:
            self._connect(connection, url, proxy)
            if isinstance(connection, _Tunnel):
                connection.secure(parts.hostname or "")
            if connection.sock is not None:
                connection.sock.settimeout(self._timeout)
            connection.request(method, target, body=body, headers=sent)
            answer = Answer(connection.getresponse(), url)
            if proxy is not None and answer.status == 407:
                raise self._refused(url, proxy, "HTTP 407")
            return connection, answer
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise self._fault(SOURCE_UNTRUSTED, url, why=error.verify_message) from None
        except (StackError, TransportError):
            connection.close()
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            why = reason(error) + (f" (through the proxy {proxy.shown})" if proxy else "")
            raise TransportError(self._fault(SOURCE_UNREACHABLE, url, why=why)) from None
