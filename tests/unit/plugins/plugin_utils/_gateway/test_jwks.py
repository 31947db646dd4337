"""A JWKS as issuers publish it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._gateway.jwks import public_keys
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key


def number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode().rstrip("=")


def rsa_entry(bits: int = 2048, **more: Any) -> tuple[dict[str, Any], Any]:
    key = rsa.generate_private_key(65537, bits).public_key()
    numbers = key.public_numbers()
    return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **more}, key


def ec_entry(curve: ec.EllipticCurve, name: str, **more: Any) -> tuple[dict[str, Any], Any]:
    key = ec.generate_private_key(curve).public_key()
    numbers = key.public_numbers()
    return {"kty": "EC", "crv": name, "x": number(numbers.x), "y": number(numbers.y), **more}, key


def test_keys_become_pem() -> None:
    first, rsa_key = rsa_entry(kid="one", use="sig", alg="RS256")
    second, ec_key = ec_entry(ec.SECP256R1(), "P-256", kid="two")
    found = public_keys(json.dumps({"keys": [first, second]}), "jwks.json")
    assert [(entry["kid"], entry["alg"]) for entry in found] == [("one", "RS256"), ("two", "ES256")]
    assert [load_pem_public_key(entry["pem"].encode()) for entry in found] == [rsa_key, ec_key]


def test_what_the_gateway_cannot_use_is_left_out() -> None:
    entries = [
        rsa_entry(use="enc")[0],
        rsa_entry(alg="RS512")[0],
        rsa_entry(1024)[0],
        ec_entry(ec.SECP384R1(), "P-384")[0],
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
    ]
    with pytest.raises(StackError, match="gateway.jwks_without_key"):
        public_keys(json.dumps({"keys": entries}), "jwks.json")
    good = ec_entry(ec.SECP256R1(), "P-256")[0]
    assert [entry["alg"] for entry in public_keys(json.dumps({"keys": [*entries, good]}), "jwks.json")] == ["ES256"]


@pytest.mark.parametrize(
    "text",
    [
        "<html>", "[]", "{}", '{"keys": {}}', '{"keys": ["a"]}', '{"keys": [{"kty": "RSA"}]}',
        '{"keys": [{"kty": "RSA", "n": 5, "e": "AQAB"}]}',
        '{"keys": [{"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}]}',
    ],
)  # fmt: skip
def test_what_is_none_is_said(text: str) -> None:
    with pytest.raises(StackError, match="gateway.jwks_invalid"):
        public_keys(text, "jwks.json")
