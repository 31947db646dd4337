"""The entries of mistral_gateway_api_keys in, what is wrong with them and their digests out."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.filter.api_keys import FilterModule

api_keys = FilterModule().filters()["api_keys"]
STRONG = "sk-0123456789abcdefghij"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.mark.parametrize(
    ("entry", "made", "is_weak"),
    [
        ({"key": STRONG}, {}, False),
        ({"key": f"{STRONG}\n"}, {}, False),
        ({"key": 12345678901234567890}, {}, False),
        ({"key": STRONG[:19]}, {}, True),
        ({"key": f"{STRONG} x"}, {}, True),
        ({"key": f"{STRONG}é"}, {}, True),
        ({"key": ""}, {}, True),
        ({"key": None}, {}, True),
        ({}, {}, False),
        ({}, {"a": STRONG}, False),
        ({}, {"a": "short"}, True),
    ],
)
def test_which_keys_are_refused(entry: dict[str, Any], made: dict[str, str], is_weak: bool) -> None:
    assert api_keys([{"name": "a", **entry}], made)["weak"] == (["a"] if is_weak else [])


def test_a_key_that_two_entries_share_is_refused() -> None:
    entries = [{"name": "a"}, {"name": "b", "key": STRONG}, {"name": "c"}]
    assert api_keys(entries, {"a": STRONG})["weak"] == ["b"]


def test_the_digests_tell_whose_a_key_is() -> None:
    entries = [{"name": "a", "key": f"{STRONG}\n"}, {"name": "b"}, {"name": "c"}]
    found = api_keys(entries, {"b": f"{STRONG}2"})["digests"]
    assert found == {digest(STRONG): "a", digest(f"{STRONG}2"): "b", digest("not made yet: c"): "c"}
