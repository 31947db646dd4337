# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints of OpenPGP public keys, so that a package repository's key is compared before it is trusted.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Packets and fingerprints as RFC 4880 has them (sections 4.2, 6.2 and 12.2; RFC 9580 keeps them for version 4).
Signatures are not checked: a fingerprint names the key material alone, and that is what a user pins.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

INVALID = Fault(
    "openpgp.key_invalid",
    "{where} is not an OpenPGP public key: {problem}.",
    "Check what its address serves: usually it is an error page or a proxy's page.",
)

_BLOCK = re.compile(rb"-----BEGIN PGP ([A-Z ,/0-9]+)-----[ \t]*\r?\n(.*?)-----END PGP \1-----", re.DOTALL)
_PUBLIC_KEY = 6
_SECRET_KEYS = (5, 7)


class _Malformed(Exception):
    pass


def _dearmour(data: bytes) -> bytes:
    """The packets of all blocks of ASCII armour in C(data)."""
    packets = b""
    for kind, content in _BLOCK.findall(data):
        if kind != b"PUBLIC KEY BLOCK":
            raise _Malformed(f"it holds a PGP {kind.decode().lower()}")
        # Headers end with an empty line; the last line that begins with '=' is a checksum.
        _headers, _empty, body = content.replace(b"\r\n", b"\n").partition(b"\n\n")
        if content.startswith((b"\n", b"\r\n")):
            body = content
        lines = [line.strip() for line in body.splitlines()]
        try:
            packets += base64.b64decode(b"".join(line for line in lines if not line.startswith(b"=")), validate=True)
        except binascii.Error as error:
            raise _Malformed("its ASCII armour is damaged") from error
    if not packets:
        raise _Malformed("its ASCII armour is cut off or empty")
    return packets


def _length(data: bytes, at: int, octets: int) -> int:
    if at + octets > len(data):
        raise _Malformed("it is cut off")
    return int.from_bytes(data[at : at + octets], "big")


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and body of each packet."""
    at = 0
    while at < len(data):
        header = data[at]
        at += 1
        if not header & 0x80:
            raise _Malformed("it holds something other than OpenPGP packets")
        if header & 0x40:
            tag, first = header & 0x3F, _length(data, at, 1)
            if first < 192:
                length, at = first, at + 1
            elif first < 224:
                length, at = ((first - 192) << 8) + _length(data, at + 1, 1) + 192, at + 2
            elif first == 255:
                length, at = _length(data, at + 1, 4), at + 5
            else:
                # Partial lengths are for data, never for keys.
                raise _Malformed("it holds something other than keys")
        else:
            tag, kind = (header >> 2) & 0x0F, header & 0x03
            if kind == 3:
                raise _Malformed("it holds something other than keys")
            octets = 1 << kind
            length, at = _length(data, at, octets), at + octets
        if at + length > len(data):
            raise _Malformed("it is cut off")
        yield tag, data[at : at + length]
        at += length


def fingerprints(data: bytes, where: str = "The file") -> list[str]:
    """The fingerprints (40 hexadecimal digits, upper case) of the primary keys in C(data), in their order.

    C(data) is an exported public key or several, ASCII armour or binary. Subkeys are not listed: apt trusts them
    because of their primary key. Raises L{StackError} (C(openpgp.key_invalid)), whose message calls
    the file C(where).
    """
    try:
        packets = _dearmour(data) if b"-----BEGIN PGP " in data else data
        found = []
        for tag, body in _packets(packets):
            if tag in _SECRET_KEYS:
                raise _Malformed("it holds a secret key")
            if tag != _PUBLIC_KEY:
                continue
            if body[:1] != b"\x04":
                version = body[0] if body else "none"
                raise _Malformed(f"its format is version {version}, and only version 4 is known here")
            # SHA-1 is what the format prescribes; it is as strong here as gpg's own fingerprint.
            digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body)  # noqa: S324
            found.append(digest.hexdigest().upper())
        if not found:
            raise _Malformed("there is none in it")
    except (_Malformed, OverflowError) as error:
        problem = "a key in it is too long" if isinstance(error, OverflowError) else error
        raise StackError(INVALID, where=where, problem=problem) from error
    return found


def normalized(fingerprint: str) -> str:
    """A fingerprint as people write it (spaces, colons, lower case, C(0x)) in the form of L{fingerprints}."""
    return re.sub(r"[\s:]", "", fingerprint).upper().removeprefix("0X")
