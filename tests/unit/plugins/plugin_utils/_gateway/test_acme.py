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
    ],
)
def test_a_value_that_is_wrong(changed: dict[str, Any], error: str) -> None:
    assert problems(**changed) == [error]
