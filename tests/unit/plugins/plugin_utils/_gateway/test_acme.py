"""What is said before an authority is asked."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._gateway import acme

GOOD: dict[str, Any] = {
    "certificate": "",
    "acme_email": "",
    "acme_directory": "https://acme-v02.api.letsencrypt.org/directory",
}

KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nM_-x=="


def problems(*names: str, **changed: Any) -> list[str]:
    errors: list[StackError] = []
    acme.check({**GOOD, **changed}, names or ("gw.example.org",), errors)
    return [error.id.removeprefix("gateway.acme_") for error in errors]


def test_what_an_authority_takes() -> None:
    assert problems("gw.example.org", "xn--bcher-kva.example") == []
    assert problems(acme_email="a.b+c@example.org", acme_directory="https://pebble.test:14000/dir") == []


@pytest.mark.parametrize("name", ["localhost", "192.0.2.1", "2001:db8::1", "*.example.org", "my_host.example.org"])
def test_a_name_that_it_does_not_certify(name: str) -> None:
    assert problems("gw.example.org", name) == ["name_invalid"]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"certificate": "my.pem"}, "and_own_certificate"),
        ({"acme_email": "me"}, "email_invalid"),
        ({"acme_email": "--server=x"}, "email_invalid"),
        ({"acme_directory": "http://acme.example/dir"}, "directory_invalid"),
        ({"acme_directory": "https://acme.example/dir extra"}, "directory_invalid"),
        ({"acme_directory": None}, "directory_invalid"),
        ({"acme_eab_key_id": "kid-1"}, "eab_incomplete"),
        ({"acme_eab_hmac_key": KEY}, "eab_incomplete"),
        ({"acme_eab_key_id": "a b", "acme_eab_hmac_key": KEY}, "eab_key_id_invalid"),
        ({"acme_eab_key_id": "x\nserver = y", "acme_eab_hmac_key": KEY}, "eab_key_id_invalid"),
        ({"acme_eab_key_id": "kid-1", "acme_eab_hmac_key": "/etc/secret.key"}, "eab_key_invalid"),
        ({"acme_eab_key_id": "kid-1", "acme_eab_hmac_key": 12345678901234567890}, "eab_key_invalid"),
    ],
)
def test_a_value_that_is_wrong(changed: dict[str, Any], error: str) -> None:
    assert problems(**changed) == [error]


@pytest.mark.parametrize("key_id", ["kid-1", "V6iRR0p3XtUBv/oFZVd8==", "user@example.org:1"])
def test_the_account_at_an_authority_that_knows_its_clients(key_id: str) -> None:
    assert problems(acme_eab_key_id=key_id, acme_eab_hmac_key=KEY) == []


def test_a_wrong_secret_is_not_shown() -> None:
    errors: list[StackError] = []
    given = {**GOOD, "acme_eab_key_id": "kid-1", "acme_eab_hmac_key": "hunter2 hunter2 hunter2"}
    acme.check(given, ["gw.example.org"], errors)
    assert len(errors) == 1
    assert "hunter2" not in str(errors[0])
