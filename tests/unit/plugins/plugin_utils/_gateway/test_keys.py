"""API keys: which are refused, and what of them reaches a host."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import random
import string
import uuid
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.plugin_utils._gateway import keys

MODELS = [{"id": "tiny-q4", "aliases": ["tiny:1b"]}, {"id": "other-q8", "aliases": []}]
GOOD = "Wq7Rz2mXk9LpTf4VbN8s"


def problems(*entries: dict[str, Any], generated: dict[str, str] | None = None) -> list[str]:
    return [error.id for error in keys.problems(list(entries), generated or {}, MODELS, "/c/.credentials")]


@pytest.mark.parametrize(
    "key",
    [
        "aaaaaaaaaaaaaaaaaaaaaaaa", "passwordpasswordpassword", "changeme-changeme-changeme", "01234567890123456789",
        "abcdefghijklmnopqrstuvwxyz", "my-secret-api-key-for-test", "abababababababababababab", "qwertyqwerty12345678",
        "sk-test-sk-test-sk-test-sk-test", "1111111111222222222233333333334444444444", "zyxwvutsrqponmlkjihgfe",
    ],
)  # fmt: skip
def test_a_key_that_can_be_guessed_is_refused(key: str) -> None:
    assert problems({"name": "a", "key": key}) == ["gateway.api_key_weak"]


def test_random_keys_of_every_kind_pass() -> None:
    chance = random.Random(18)
    for alphabet in (string.ascii_letters + string.digits, string.ascii_lowercase + string.digits):
        for _number in range(500):
            assert keys.weakness("".join(chance.choices(alphabet, k=22))) == ""
    for _number in range(500):
        assert keys.weakness("".join(chance.choices("0123456789abcdef", k=32))) == ""
        assert keys.weakness(str(uuid.UUID(int=chance.getrandbits(128), version=4))) == ""
        assert keys.weakness("sk-" + "".join(chance.choices(string.ascii_letters + string.digits, k=48))) == ""


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("short", "fewer than 20"),
        (GOOD[:19], "fewer than 20"),
        ("", "fewer than 20"),
        (None, "fewer than 20"),
        ("ä" * 30, "HTTP header"),
        ("with a space in it, long", "HTTP header"),
    ],
)
def test_a_key_that_does_not_fit(key: str | None, words: str) -> None:
    (error,) = keys.problems([{"name": "a", "key": key}], {}, MODELS, "/c")
    assert words in str(error)
    assert not key or key not in str(error)


@pytest.mark.parametrize("key", [f"{GOOD}\n", 836102749516628309471502846391])
def test_a_key_as_vaults_and_yaml_have_it(key: Any) -> None:
    entry = {"name": "a", "key": key}
    assert problems(entry) == []
    expected = hmac.new(b"secret", str(key).strip().encode(), "sha256").hexdigest()
    assert keys.plan_keys([entry], {}, {}, "secret", MODELS)[0]["hmac"] == expected


def test_in_check_mode_a_key_that_is_yet_to_be_made_is_nobodys() -> None:
    found = keys.plan_keys([{"name": "a"}], {}, {}, "", MODELS)[0]["sha256"]
    assert found == hashlib.sha256(b"not made yet: a").hexdigest()


def test_a_key_in_a_file_is_looked_at_too() -> None:
    assert problems({"name": "a"}, generated={"a": "x" * 40}) == ["gateway.api_key_weak"]
    assert problems({"name": "a"}) == []


@pytest.mark.parametrize("name", [None, "", "a b", "-a", "a" * 65, 7, "../x", "é", "a.before"])
def test_a_name_that_is_none(name: Any) -> None:
    assert problems({"name": name}) == ["gateway.api_key_name_invalid"]


def test_two_of_a_kind() -> None:
    assert problems({"name": "a"}, {"name": "a"}) == ["gateway.api_key_twice"]
    assert problems({"name": "a", "key": GOOD}, {"name": "b", "key": GOOD}) == ["gateway.api_key_twice"]
    assert problems({"name": "a", "key": GOOD}, {"name": "b"}, generated={"b": GOOD}) == ["gateway.api_key_twice"]
    assert problems() == ["gateway.api_keys_empty"]


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("requests_per_minute", 0, "rule_invalid"),
        ("requests_per_minute", "many", "rule_invalid"),
        ("concurrent_requests", 1025, "rule_invalid"),
        ("tokens_per_minute", True, "rule_invalid"),
        ("tokens_per_day", -1, "rule_invalid"),
        ("tenant", "a b", "rule_invalid"),
        ("expires", "tomorrow", "rule_invalid"),
        ("expires", "2027-02-30", "rule_invalid"),
        ("addresses", ["10.0.0.1/8"], "rule_invalid"),
        ("addresses", ["host.example"], "rule_invalid"),
        ("models", ["gpt-4o"], "model_unknown"),
    ],
)
def test_a_rule_that_is_none(field: str, value: Any, error: str) -> None:
    assert problems({"name": "a", field: value}) == [f"gateway.api_key_{error}"]


def test_the_host_gets_digests_and_rules_only() -> None:
    entries = [
        {"name": "made", "tenant": "team", "models": ["tiny:1b"], "addresses": ["192.0.2.1", "2001:db8::/32"]},
        {"name": "own", "key": GOOD, "expires": "2027-01-31", "concurrent_requests": 2, "tokens_per_day": "5000"},
    ]
    found = keys.plan_keys(entries, {"made": "sk-one\n"}, {"made": "sk-zero"}, "host-secret", MODELS)
    assert found == [
        {
            "name": "made",
            "tenant": "team",
            "sha256": hashlib.sha256(b"sk-one").hexdigest(),
            "sha256_before": hashlib.sha256(b"sk-zero").hexdigest(),
            "addresses": ["192.0.2.1/32", "2001:db8::/32"],
            "models": ["tiny-q4"],
        },
        {
            "name": "own",
            "tenant": "own",
            "hmac": hmac.new(b"host-secret", GOOD.encode(), "sha256").hexdigest(),
            "concurrent": 2,
            "tokens_per_day": 5000,
            "expires": 1801353600,
        },
    ]
    assert GOOD not in str(found)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2027-01-31T12:00:00Z", 1801396800),
        ("2027-01-31T13:00:00+01:00", 1801396800),
        (datetime.date(2027, 1, 31), 1801353600),
        (datetime.datetime(2027, 1, 31, 12), 1801396800),
    ],
)
def test_when_a_key_expires(value: Any, seconds: int) -> None:
    entry = {"name": "a", "expires": value}
    assert problems(entry) == []
    assert keys.plan_keys([entry], {"a": GOOD}, {}, "", MODELS)[0]["expires"] == seconds
