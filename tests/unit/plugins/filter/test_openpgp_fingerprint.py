from __future__ import annotations

import base64
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.filter.openpgp_fingerprint import FilterModule

openpgp_fingerprint = FilterModule().filters()["openpgp_fingerprint"]
KEYS = Path(__file__).resolve().parents[1] / "openpgp_keys"
ONE = "7E12ADE0ADA9139FB2D42BE91688408EC97937C0"
TWO = "03C4F4B72BA56C8D8F54AEBB5373CACFBCF14C64"


def test_text_and_what_slurp_returns() -> None:
    text = (KEYS / "ed25519.asc").read_text()
    assert openpgp_fingerprint(text) == ONE
    assert openpgp_fingerprint(base64.b64encode(text.encode()).decode()) == ONE
    assert openpgp_fingerprint("".join(text.splitlines()[2:-2])) == ONE


def test_a_second_key_in_the_file_shows() -> None:
    both = (KEYS / "ed25519.asc").read_text() + (KEYS / "rsa-with-subkey.asc").read_text()
    assert openpgp_fingerprint(both) == f"{ONE} {TWO}"


@pytest.mark.parametrize("text", ["", "<html>no</html>", "bm8=", "nonsense"])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(AnsibleFilterError, match=r"The repository's key is not .*\[openpgp.key_invalid\]"):
        openpgp_fingerprint(text, where="The repository's key")
