from __future__ import annotations

import base64
import ipaddress
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.mistralrs.stack.plugins.filter.certificate_problem import certificate_problem
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

KEY = ec.generate_private_key(ec.SECP256R1())
NAMES = ["gate", "10.0.0.1"]


def private_key(key: ec.EllipticCurvePrivateKey = KEY, lock: KeySerializationEncryption | None = None) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock or NoEncryption()).decode()


def certificate(since: float = -1, until: float = 100, names: bool = True) -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gate")])
    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now + timedelta(days=since))
        .not_valid_after(now + timedelta(days=until))
    )
    if names:
        entries = [x509.DNSName("gate"), x509.IPAddress(ipaddress.ip_address("10.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(entries), critical=False)
    return builder.sign(KEY, SHA256()).public_bytes(Encoding.PEM).decode()


def issued(
    subject: str,
    issuer: str,
    key: object = KEY,
    signer: ec.EllipticCurvePrivateKey = KEY,
    usage: object = None,
    until: int = 9,
) -> str:
    """A certificate of a chain."""
    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())  # type: ignore[attr-defined]
        .serial_number(2)
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=until))
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)  # type: ignore[list-item]
    return builder.sign(signer, SHA256()).public_bytes(Encoding.PEM).decode()


CA = ec.generate_private_key(ec.SECP256R1())
LEAF = issued("leaf", "ca", signer=CA)
ISSUER = issued("ca", "root", key=CA)
ROOT = issued("root", "root")


@pytest.mark.parametrize(
    "text",
    [
        LEAF,
        LEAF + ISSUER,
        LEAF + ISSUER + ROOT,
        (LEAF + ISSUER).replace("\n", "\r\n"),
        f"subject=leaf\n{LEAF}\nissuer=ca\n{ISSUER}",
        LEAF.rstrip("\n"),
        issued("leaf", "ca", usage=x509.oid.ExtendedKeyUsageOID.SERVER_AUTH),
    ],
)
def test_chains_that_a_server_can_use(text: str) -> None:
    assert certificate_problem(text, private_key()) == ""


@pytest.mark.parametrize(
    ("text", "error_id"),
    [
        (LEAF.rstrip("\n") + ISSUER, "certificate_invalid"),
        (LEAF + ISSUER.rstrip("\n") + ROOT, "certificate_invalid"),
        (f"text {LEAF}", "certificate_invalid"),
        (f"\ufeff{LEAF}", "certificate_invalid"),
        (LEAF + ISSUER[:100], "certificate_invalid"),
        (LEAF[:200] + "!" + LEAF[200:], "certificate_invalid"),
        (b"\x30\x82\x01".decode("utf-8", "surrogateescape"), "certificate_invalid"),
        (ISSUER + LEAF, "certificate_order"),
        (LEAF + ROOT, "certificate_order"),
        (LEAF + LEAF, "certificate_order"),
        (LEAF + issued("ca", "root"), "certificate_order"),
        (LEAF + issued("ca", "root", key=CA, until=-1), "certificate_expired"),
        (LEAF + private_key(), "certificate_holds_key"),
        (private_key() + LEAF, "certificate_holds_key"),
        (issued("leaf", "ca", usage=x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH), "certificate_purpose"),
    ],
)
def test_chains_that_a_server_or_its_clients_would_refuse(text: str, error_id: str) -> None:
    problem = certificate_problem(text, private_key(), where="/x/my.pem")
    assert problem.endswith(f" [gateway.{error_id}]")
    assert "\n" not in problem


def test_a_key_that_openssl_finds_too_small() -> None:
    small = rsa.generate_private_key(65537, 1024)
    pem = small.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert "gateway.certificate_refused" in certificate_problem(issued("leaf", "ca", key=small), pem)


def test_a_key_with_its_parameters_before_it() -> None:
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert certificate_problem(LEAF, parameters + private_key()) == ""


def test_an_address_of_ipv6_has_one_form() -> None:
    now = datetime.now(timezone.utc)
    name = x509.Name([])
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key()).serial_number(1)
    )
    entries = [x509.DNSName("Gate"), x509.IPAddress(ipaddress.ip_address("2001:db8::1"))]
    builder = builder.add_extension(x509.SubjectAlternativeName(entries), critical=True)
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    text = builder.sign(KEY, SHA256()).public_bytes(Encoding.PEM).decode()
    assert certificate_problem(text, names=["2001:0DB8::0001", "gate"]) == ""


@pytest.mark.parametrize(
    "arguments",
    [{}, {"private_key": private_key()}, {"names": NAMES}, {"names": NAMES[::-1]}, {"days": 99}],
)
def test_nothing_is_wrong(arguments: dict[str, object]) -> None:
    assert certificate_problem(certificate(), **arguments) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "arguments", "error_id"),
    [
        ("", {}, "certificate_invalid"),
        ("-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n", {}, "certificate_invalid"),
        (private_key(), {}, "certificate_invalid"),
        (certificate(since=-10, until=-1), {}, "certificate_expired"),
        (certificate(), {"days": 101}, "certificate_expired"),
        (certificate(since=1), {}, "certificate_not_yet_valid"),
        (certificate(), {"private_key": "text"}, "private_key_invalid"),
        (certificate(), {"private_key": private_key(lock=BestAvailableEncryption(b"x"))}, "private_key_invalid"),
        (certificate(), {"private_key": private_key(ec.generate_private_key(ec.SECP256R1()))}, "private_key_mismatch"),
        (certificate(), {"names": ["gate"]}, "certificate_names_differ"),
        (certificate(), {"names": [*NAMES, "other"]}, "certificate_names_differ"),
        (certificate(names=False), {"names": NAMES}, "certificate_names_differ"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_id(text: str, arguments: dict[str, object], error_id: str) -> None:
    problem = certificate_problem(text, where="/x/my.pem", **arguments)  # type: ignore[arg-type]
    assert problem.startswith("/x/my.pem: ")
    assert problem.endswith(f" [gateway.{error_id}]")
    assert "\n" not in problem


def test_a_key_of_an_unknown_kind() -> None:
    # An Ed25519 key whose kind was changed to a number that nobody uses.
    der = bytes.fromhex("302e020100300506032b657f04220420") + bytes(32)
    text = f"-----BEGIN PRIVATE KEY-----\n{base64.b64encode(der).decode()}\n-----END PRIVATE KEY-----\n"
    with pytest.raises(UnsupportedAlgorithm):
        load_pem_private_key(text.encode(), None)
    assert "gateway.private_key_invalid" in certificate_problem(certificate(), text)
