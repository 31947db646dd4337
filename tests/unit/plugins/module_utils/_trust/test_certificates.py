"""Taking PEM files with authorities apart."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._trust.certificates import (
    files,
    missing_in_bundle,
    split,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certificate(name: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 1, 1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )


ONE = certificate("one")
TWO = certificate("two")
CUT = ONE[: len(ONE) // 2]
DAMAGED = ONE[:80] + ("B" if ONE[80] == "A" else "A") * 40 + ONE[120:]

BAD = [
    ("", "holds no PEM certificate"),
    ("hello", "holds no PEM certificate"),
    (CUT, "holds a certificate that is cut off"),
    (ONE + CUT, "holds a certificate that is cut off"),
    (CUT + "\n" + ONE, "holds a certificate that is cut off"),
    (DAMAGED, "holds a damaged certificate (number 1 in it)"),
    (ONE + DAMAGED, "holds a damaged certificate (number 2 in it)"),
    (ONE + "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n", "holds a private key"),
    ("-----BEGIN EC PRIVATE KEY-----\nMC4=\n-----END EC PRIVATE KEY-----\n" + ONE, "holds a private key"),
]


@pytest.mark.parametrize(("content", "words"), BAD)
def test_refused(content: str, words: str) -> None:
    with pytest.raises(StackError) as caught:
        split("/x/ca.pem", content)
    assert caught.value.id == "trust.not_a_certificate"
    assert f"/x/ca.pem, which is to be trusted, {words}" in str(caught.value)
    assert "MC4=" not in str(caught.value)


def test_one_file_each_and_doubles_fall_together() -> None:
    wanted = files([("/x/proxy of us.pem", f"# text\n{ONE}\nmore\n{TWO}"), ("again.crt", ONE.replace("\n", "\r\n"))])
    assert sorted(wanted.values()) == sorted([ONE, TWO])
    assert all(name.startswith("mistral-proxy_of_us-") and name.endswith(".crt") for name in wanted)


def test_names_depend_on_the_certificate_alone() -> None:
    assert list(files([("ca.pem", ONE)])) == list(files([("ca.pem", "comment\n" + ONE)]))
    assert list(files([("ca.pem", ONE)])) != list(files([("ca.pem", TWO)]))


def test_missing_in_bundle() -> None:
    wanted = files([("ca.pem", ONE + TWO)])
    assert missing_in_bundle(wanted, ONE + TWO) == []
    assert [wanted[name] for name in missing_in_bundle(wanted, "x" + ONE)] == [TWO]
