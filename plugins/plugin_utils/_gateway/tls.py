# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the gateway speaks TLS and HTTP: the lines of Nginx's configuration for what its release can do.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

Protocols, ciphers and curves are Mozilla's guideline 6.0 (ssl-config-generator, guidelines/6.0.json).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils import _distributions

NO_HTTP3 = Fault(
    "gateway.http3_unsupported",
    "'mistral_gateway_http3' is true, and the Nginx of {release} cannot speak HTTP/3.",
    "Leave it false, or use Debian 13.",
)


CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
)  # fmt: skip
CURVES = ("X25519", "prime256v1", "secp384r1")
PROFILES: Mapping[str, tuple[str, ...]] = {"intermediate": ("TLSv1.2", "TLSv1.3"), "modern": ("TLSv1.3",)}


class Release(NamedTuple):
    """What Nginx and OpenSSL of a distribution's release can do, as in the table of distributions."""

    hybrid_curve: bool
    http2_line: bool
    http3: bool


def release_of(name: str) -> Release:
    """What the release of that name can do; of one that is not in the table, the least."""
    row = _distributions.row(name, "mistral_gateway")
    return Release(**row["tls"]) if row else Release(hybrid_curve=False, http2_line=False, http3=False)


def tls_lines(given: Mapping[str, Any]) -> list[str]:
    """What each server on the gateway's port needs. They agree: Nginx uses some of it before it knows which one."""
    release = release_of(str(given.get("release")))
    protocols = PROFILES.get(str(given.get("tls_profile")), PROFILES["intermediate"])
    curves = (("X25519MLKEM768",) if release.hybrid_curve else ()) + CURVES
    lines = [f"ssl_protocols {' '.join(protocols)};"]
    if "TLSv1.2" in protocols:
        lines.append(f"ssl_ciphers {':'.join(CIPHERS)};")
    lines += [
        f"ssl_ecdh_curve {':'.join(curves)};",
        "ssl_prefer_server_ciphers off;",
        "ssl_session_cache shared:mistral:10m;",
        "ssl_session_timeout 1d;",
        "ssl_session_tickets off;",
    ]
    if given.get("http2") and release.http2_line:
        lines.append("http2 on;")
    if given.get("http3"):
        lines.append("http3 on;")
    return lines


def listen_lines(given: Mapping[str, Any], addresses: Sequence[str], port: int | None, first: bool) -> list[str]:
    """Where a server listens. The C(first) one on the port gets all other names, unless another site does."""
    release = release_of(str(given.get("release")))
    words = ["ssl"]
    if given.get("http2") and not release.http2_line:
        words.append("http2")
    default = first and bool(given.get("default_server"))
    if default:
        words.append("default_server")
    lines = [f"listen {address}:{port} {' '.join(words)};" for address in addresses]
    if given.get("http3"):
        # The workers share the packets of the port only if each has a socket of its own; said once for an address.
        own = (" default_server" if default else "") + (" reuseport" if first else "")
        lines += [f"listen {address}:{port} quic{own};" for address in addresses]
    return lines


def check(given: Mapping[str, Any], errors: list[StackError]) -> None:
    """Say what this release cannot do."""
    release = str(given.get("release"))
    if given.get("http3") and not release_of(release).http3:
        errors.append(StackError(NO_HTTP3, release=release.replace("-", " ")))


def only_dns_names(names: Sequence[str]) -> bool:
    """Whether every client names the server in its handshake: for an address there is no name to send."""
    for name in names:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            continue
        return False
    return True
