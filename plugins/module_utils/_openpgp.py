# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints of OpenPGP public keys, without GnuPG.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Only what telling keys apart takes: armour (RFC 9580, 6), packet headers (4.2) and fingerprints (5.5.4).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

_BLOCK = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n(.*?)\r?\n-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL
)
_PUBLIC_KEY = 6
_PRIVATE_KEYS = (5, 7)


def _checksum(data: bytes) -> int:
    value = 0xB704CE
    for byte in data:
        value ^= byte << 16
        for _ in range(8):
            value <<= 1
            if value & 0x1000000:
                value ^= 0x1864CFB
    return value & 0xFFFFFF


def _armoured(block: bytes) -> bytes:
    head, separator, body = block.replace(b"\r\n", b"\n").partition(b"\n\n")
    # Without header lines nothing but the empty line stands before the body.
    lines = (body if separator else head).split()
    if head and separator and b":" not in head.split(b"\n")[0]:
        lines = (head + b"\n" + body).split()
    checksum = lines.pop() if lines and lines[-1].startswith(b"=") and len(lines[-1]) == 5 else None
    try:
        data = base64.b64decode(b"".join(lines), validate=True)
        if checksum is not None and int.from_bytes(base64.b64decode(checksum[1:], validate=True), "big") != _checksum(
            data
        ):
            raise ValueError("its checksum is wrong, so part of it is missing or changed")
    except binascii.Error as error:
        raise ValueError(f"its armour is damaged ({error})") from error
    return data


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and body of each packet. Raises ValueError where they do not follow each other."""
    at = 0
    while at < len(data):
        head = data[at]
        if not head & 0x80:
            raise ValueError(f"there is no packet at byte {at}")
        size_at = at + 1
        if head & 0x40:
            tag = head & 0x3F
            first = data[size_at] if size_at < len(data) else 0
            if first < 192:
                width, length = 1, first
            elif first < 224:
                width, length = 2, ((first - 192) << 8) + int.from_bytes(data[size_at + 1 : size_at + 2], "big") + 192
            elif first == 255:
                width, length = 5, int.from_bytes(data[size_at + 1 : size_at + 5], "big")
            else:
                raise ValueError("a key does not come in parts")
        else:
            tag = (head >> 2) & 0x0F
            width = (1, 2, 4, 0)[head & 3]
            length = int.from_bytes(data[size_at : size_at + width], "big") if width else len(data) - size_at
        at = size_at + width + length
        if at > len(data):
            raise ValueError("it ends in the middle of a packet")
        yield tag, data[size_at + width : at]


def _fingerprint(body: bytes) -> str:
    version = body[0] if body else 0
    if version == 4:
        return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()
    if version == 6:
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise ValueError(f"a key of version {version} has no fingerprint that is known here")


def fingerprints(data: bytes) -> list[str]:
    """The fingerprints of all primary keys in a file of public keys, armoured or not, as upper-case digits.

    Raises ValueError, its text a part of a sentence about the file, if that is not what the file is.
    """
    blocks = [_armoured(match.group(1)) for match in _BLOCK.finditer(data)]
    if not blocks:
        if not data or not data[0] & 0x80:
            raise ValueError("it is not an OpenPGP public key")
        blocks = [data]
    found = []
    for block in blocks:
        for tag, body in _packets(block):
            if tag in _PRIVATE_KEYS:
                raise ValueError("it holds a private key")
            if tag == _PUBLIC_KEY:
                found.append(_fingerprint(body))
    if not found:
        raise ValueError("it holds no public key")
    return found


def normal(fingerprint: str) -> str:
    """A fingerprint as people write it, in the form that L{fingerprints} returns.

    Raises ValueError if it is not 40 or 64 hexadecimal digits; short key ids can be forged.
    """
    digits = re.sub(r"[\s:]", "", fingerprint).upper()
    digits = digits[2:] if digits.startswith("0X") else digits
    if not re.match(r"(?:[0-9A-F]{40}|[0-9A-F]{64})\Z", digits):
        raise ValueError(f"{fingerprint!r} is not a fingerprint of 40 or 64 hexadecimal digits")
    return digits
