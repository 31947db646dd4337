"""Signed tokens of another issuer in the place of keys."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.plugin_utils._gateway import jwks
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.component.gateway.counting_engine import Engine
from tests.component.gateway.nginx_host import MODEL, Answer, Gateway, Start, chat, key

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
Ask = Callable[[str], Answer]


def coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int) -> str:
    return coded(value.to_bytes(size, "big"))


def key_set() -> str:
    """As an issuer offers it, with keys that are not for signatures."""
    public, point = RSA.public_key().public_numbers(), EC.public_key().public_numbers()
    first = {"kty": "RSA", "kid": "r", "use": "sig", "n": number(public.n, 256), "e": number(public.e, 3)}
    second = {"kty": "EC", "crv": "P-256", "kid": "e", "x": number(point.x, 32), "y": number(point.y, 32)}
    return json.dumps({"keys": [{**first, "kid": "x", "use": "enc"}, first, second]})


def signed(algorithm: str, text: bytes, signer: ec.EllipticCurvePrivateKey) -> bytes:
    if algorithm == "RS256":
        return RSA.sign(text, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(signer.sign(text, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def token(
    algorithm: str = "ES256",
    signer: ec.EllipticCurvePrivateKey = EC,
    header: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    now = int(time.time())
    known = {"iss": "https://issuer.example", "aud": ["gateway"], "sub": "erin", "exp": now + 60}
    claims = {name: value for name, value in {**known, **claims}.items() if value is not None}
    text = ".".join(coded(json.dumps(part).encode()) for part in ({"alg": algorithm, **(header or {})}, claims))
    return f"{text}.{coded(signed(algorithm, text.encode(), signer))}"


@pytest.fixture
def gateway(start: Start) -> Gateway:
    rules = {"issuer": "https://issuer.example", "audience": "gateway", "claim_tenant": "org", "claim_models": "models"}
    return start([key("alice", requests_per_minute=2)], jwt={**rules, "keys": jwks.public_keys(key_set(), "the test")})


@pytest.fixture
def ask(gateway: Gateway) -> Ask:
    def call(text: str) -> Answer:
        headers = {"Authorization": f"Bearer {text}"}
        return gateway.ask("POST", "/v1/chat/completions", chat("x tokens=2"), headers, name=None)

    return call


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_token_is_as_good_as_a_key(gateway: Gateway, ask: Ask, algorithm: str) -> None:
    kid = {"kid": algorithm[0].lower()}
    for _ in range(2):
        assert ask(token(algorithm, header=kid, org="research")).status == 200
    assert gateway.usage()["erin", MODEL]["requests"] == 2
    assert gateway.access_log()[-1]["tenant"] == "research"


def test_who_has_the_name_of_a_key_has_its_limits(ask: Ask) -> None:
    assert [ask(token(sub="alice")).status for _ in range(3)] == [200, 200, 429]


def test_a_token_takes_models_away(ask: Ask) -> None:
    assert ask(token(models=[MODEL])).status == 200
    assert ask(token(models=["another"])).status == 404


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: token(exp=int(time.time()) - 60), "expired"),
        (lambda: token(exp=None), "wrong"),
        (lambda: token(exp="never"), "wrong"),
        (lambda: token(nbf=int(time.time()) + 300), "wrong"),
        (lambda: token(iss="https://evil.example"), "wrong"),
        (lambda: token(aud="another"), "wrong"),
        (lambda: token(aud=None), "wrong"),
        (lambda: token(sub="not a name"), "wrong"),
        (lambda: token(signer=OTHER), "wrong"),
        (lambda: token(header={"kid": "r"}), "wrong"),
        (lambda: token(header={"crit": ["x"]}), "wrong"),
        (lambda: token(header={"alg": "none"}), "wrong"),
        # The public key is known to everybody, so it may not be the secret of a digest.
        (lambda: token(header={"alg": "HS256"}), "wrong"),
        (lambda: token().rpartition(".")[0] + ".", "wrong"),
        (lambda: token() + ".x", "wrong"),
        (lambda: token()[:-4] + "AAAA", "wrong"),
    ],
)
def test_what_is_not_accepted(engine: Engine, ask: Ask, make: Callable[[], str], word: str) -> None:
    answer = ask(make())
    assert answer.status == 401
    assert word in answer.json()["error"]["message"]
    assert engine.requests == []
