# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.url import origin, redact, redirect_target


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("https://hub.example/a/b", "c", "https://hub.example/a/c"),
        ("https://hub.example/a", "https://cdn.example/x?signature=1", "https://cdn.example/x?signature=1"),
        ("http://127.0.0.1:1/a", "http://[::1]:2/b", "http://[::1]:2/b"),
        ("http://hub.example/a", "http://cdn.example/b", "http://cdn.example/b"),
    ],
)
def test_where_a_redirect_leads(url: str, location: str, target: str) -> None:
    assert redirect_target(url, location) == target


@pytest.mark.parametrize(
    ("url", "location", "why"),
    [
        ("https://hub.example/a", "", "not an https address"),
        ("https://hub.example/a", "https://[", "not an https address"),
        ("https://hub.example/a", "https://cdn.example:port/", "not an https address"),
        ("https://hub.example/a", "file:///etc/passwd", "not an https address"),
        ("https://hub.example/a", "https://cdn.example/a b", "not an https address"),
        ("https://hub.example/a", "https://user:secret@cdn.example/", "with a password"),
        ("https://hub.example/a", "http://cdn.example/x?y=secret", "the insecure address http://cdn.example/x?..."),
        ("http://127.0.0.1/a", "http://cdn.example/x", "the insecure address http://cdn.example/x"),
    ],
)
def test_redirects_that_are_refused(url: str, location: str, why: str) -> None:
    with pytest.raises(ValueError, match="^to ") as caught:
        redirect_target(url, location)
    assert why in str(caught.value)
    assert "secret" not in str(caught.value)


def test_secrets_in_an_address_are_not_shown() -> None:
    assert redact("https://user:secret@hub.example:8443/m.gguf?token=secret") == "https://hub.example:8443/m.gguf?..."
    assert redact("https://[") == "(not an address)"


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("HTTPS://Hub.example/a") == origin("https://hub.example:443/b") == "https://hub.example:443"
    assert origin("http://hub.example") != origin("https://hub.example")
