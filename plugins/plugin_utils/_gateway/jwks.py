# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The public keys of who signs tokens: a JWKS (RFC 7517) in the form that the gateway reads.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

INVALID = Fault(
    "gateway.jwks_invalid",
    "{where} is not a JWKS: {problem}.",
    "Save what the issuer offers at the 'jwks_uri' of its /.well-known/openid-configuration.",
)
NO_KEY = Fault(
    "gateway.jwks_without_key",
    "{where} has no key that the gateway can use.",
    "It needs one of RSA with at least 2048 bits for RS256, or of EC on P-256 for ES256, meant for signatures.",
)

LEAST_RSA_BITS = 2048


def public_keys(text: str, where: str) -> list[dict[str, str]]:
    """Each key that signs with RS256 or ES256: C(kid), C(alg) and C(pem). Others are left out. Raises StackError."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise StackError(INVALID, where=where, problem=f"it is not JSON ({error})") from error
    entries = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise StackError(INVALID, where=where, problem="it has no list 'keys'")
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            one = _public_key(entry)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise StackError(INVALID, where=where, problem=f"key {number} is damaged") from error
        if one:
            found.append(one)
    if not found:
        raise StackError(NO_KEY, where=where)
    return found


def _public_key(entry: Mapping[str, Any]) -> dict[str, str] | None:
    # Ansible's own requirement on a controller, and not there where plugins are only listed.
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if entry.get("use", "sig") != "sig":
        return None
    kind, algorithm = entry.get("kty"), entry.get("alg")
    if kind == "RSA" and algorithm in (None, "RS256"):
        key: Any = RSAPublicNumbers(_integer(entry["e"]), _integer(entry["n"])).public_key()
        if key.key_size < LEAST_RSA_BITS:
            return None
        algorithm = "RS256"
    elif kind == "EC" and entry.get("crv") == "P-256" and algorithm in (None, "ES256"):
        key = EllipticCurvePublicNumbers(_integer(entry["x"]), _integer(entry["y"]), SECP256R1()).public_key()
        algorithm = "ES256"
    else:
        return None
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    named = {"kid": str(entry["kid"])} if "kid" in entry else {}
    return {**named, "alg": algorithm, "pem": pem}


def _integer(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")
