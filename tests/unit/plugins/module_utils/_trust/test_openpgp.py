"""Fingerprints as GnuPG 2.2.40 printed them for the keys in openpgp_keys/ (made by it for these tests)."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._trust.openpgp import fingerprints, normalized

KEYS = Path(__file__).resolve().parents[2] / "openpgp_keys"
FINGERPRINTS = {
    "ed25519.asc": "7E12ADE0ADA9139FB2D42BE91688408EC97937C0",
    "rsa-with-subkey.asc": "03C4F4B72BA56C8D8F54AEBB5373CACFBCF14C64",
}


def armoured(name: str) -> bytes:
    return (KEYS / name).read_bytes()


def binary(name: str) -> bytes:
    lines = armoured(name).decode().splitlines()
    return base64.b64decode("".join(line for line in lines[2:-1] if not line.startswith("=")))


@pytest.mark.parametrize(("name", "fingerprint"), FINGERPRINTS.items())
def test_as_gnupg_says(name: str, fingerprint: str) -> None:
    assert fingerprints(armoured(name)) == [fingerprint]
    assert fingerprints(binary(name)) == [fingerprint]


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_forms_of_armour(name: str) -> None:
    text = armoured(name)
    assert fingerprints(text.replace(b"\n", b"\r\n")) == [FINGERPRINTS[name]]
    with_headers = text.replace(b"-----\n\n", b"-----\nVersion: GnuPG v1\nComment: a=b\n\n")
    assert fingerprints(with_headers) == [FINGERPRINTS[name]]
    assert fingerprints(b"A word before.\n" + text + b"and after") == [FINGERPRINTS[name]]


def test_every_key_of_a_file_is_told() -> None:
    expected = list(FINGERPRINTS.values())
    assert fingerprints(b"".join(armoured(name) for name in FINGERPRINTS)) == expected
    assert fingerprints(b"".join(binary(name) for name in FINGERPRINTS)) == expected


def test_new_format_packets() -> None:
    body = binary("ed25519.asc")[2 : 2 + binary("ed25519.asc")[1]]
    assert binary("ed25519.asc")[0] == 0x98
    for length in (bytes([len(body)]), b"\xff" + len(body).to_bytes(4, "big")):
        assert fingerprints(b"\xc6" + length + body) == [FINGERPRINTS["ed25519.asc"]]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "there is none in it"),
        (b"<html>Sign in</html>", "something other than OpenPGP packets"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEawYD", "cut off"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!\n-----END PGP PUBLIC KEY BLOCK-----", "damaged"),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----", "private key block"),
        (b"\xc5\x01\x04", "a secret key"),
        (b"\xc6\x01\x06", "version 6"),
        (b"\xc6\xe0\x04", "something other than keys"),
    ],
)
def test_what_is_no_key(data: bytes, words: str) -> None:
    with pytest.raises(StackError, match=words) as caught:
        fingerprints(data, "https://example.org/key")
    assert caught.value.id == "openpgp.key_invalid"
    assert "https://example.org/key" in str(caught.value)


def test_a_cut_or_changed_key_never_passes() -> None:
    whole = binary("rsa-with-subkey.asc")
    first_packet = 3 + int.from_bytes(whole[1:2], "big")
    for end in range(len(whole)):
        try:
            found = fingerprints(whole[:end])
        except StackError:
            continue
        assert found == [FINGERPRINTS["rsa-with-subkey.asc"]]
        assert end >= first_packet - 1
    for at in range(2, first_packet - 1):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with contextlib.suppress(StackError):
            assert fingerprints(changed) != [FINGERPRINTS["rsa-with-subkey.asc"]]


def test_fingerprints_as_people_write_them() -> None:
    for text in ("9dc8 5822 9fc7 dd38 854a  e2d8 8d81 803c 0ebf cd88", "0x9DC858229FC7DD38854AE2D88D81803C0EBFCD88"):
        assert normalized(text) == "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
