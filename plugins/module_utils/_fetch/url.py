# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses: what of them may be shown, whom they belong to, and where they may redirect.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse

_UNSAFE = re.compile(r"[\x00-\x20\x7f]")


def redact(url: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "(not an address)"
    host = parts.netloc.rpartition("@")[2]
    shown = f"{parts.scheme}://{host}{parts.path}" if parts.scheme else parts.path
    return shown + ("?..." if parts.query else "")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this host itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def origin(url: str) -> str:
    """Scheme, host and port of an address, in a form that can be compared."""
    parts = urllib.parse.urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme.lower(), 0)
    return f"{parts.scheme.lower()}://{(parts.hostname or '').lower()}:{port}"


def redirect_target(url: str, location: str) -> str:
    """Where an answer of C(url) redirects to. Raises ValueError with the reason why nobody must follow."""
    nowhere = "to something that is not an https address"
    try:
        target = urllib.parse.urljoin(url, location)
        parts = urllib.parse.urlsplit(target)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(nowhere) from None
    if not location or parts.scheme not in ("https", "http") or not host or _UNSAFE.search(target):
        raise ValueError(nowhere)
    if "@" in parts.netloc:
        raise ValueError("to an address with a password")
    from_loopback = is_loopback(urllib.parse.urlsplit(url).hostname or "")
    if parts.scheme == "http" and (url.lower().startswith("https:") or (from_loopback and not is_loopback(host))):
        raise ValueError(f"to the insecure address {redact(target)}")
    return target
