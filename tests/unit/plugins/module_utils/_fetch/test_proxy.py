# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import urllib.parse

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import proxy as subject


@pytest.mark.parametrize(
    ("host", "port", "no_proxy", "expected"),
    [
        ("192.0.2.7", 443, "192.0.2.0/24", True),
        ("192.0.3.7", 443, "192.0.2.0/24", False),
        # As some write it: the address of a host with the network's size.
        ("192.0.2.7", 443, "192.0.2.1/24", True),
        ("192.0.2.7", 443, "192.0.2.7", True),
        ("192.0.2.70", 443, "192.0.2.7", False),
        ("192.0.2.7", 8443, "192.0.2.7:8443", True),
        ("192.0.2.7", 443, "192.0.2.7:8443", False),
        ("2001:db8::7", 443, "2001:db8::/32", True),
        ("2001:DB8:0:0::7", 443, "2001:0db8::0007", True),
        ("2001:db8::7", 443, "[2001:db8::7]", True),
        ("2001:db8::7", 443, "[2001:db8::7]:443", True),
        ("2001:db8::7", 443, "[2001:db8::7]:8443", False),
        ("2001:db8::7", 443, "[2001:db8::]/32", True),
        ("fe80::1%eth0", 443, "fe80::/10", True),
        ("::ffff:192.0.2.7", 443, "192.0.2.0/24", True),
        ("2001:db8::7", 443, "192.0.2.0/24", False),
        ("192.0.2.7", 443, "::/0", False),
        ("192.0.2.7", 443, "0.0.0.0/0", True),
        ("hub.example.org", 443, "example.org", True),
        ("hub.example.org", 443, ".example.org", True),
        ("hub.example.org", 443, "*.example.org", True),
        ("example.org", 443, ".example.org", True),
        ("hub.badexample.org", 443, "example.org", False),
        ("HUB.Example.ORG.", 443, "example.org.", True),
        ("hub.example.org", 443, "EXAMPLE.ORG:443", True),
        ("hub.example.org", 80, "example.org:443", False),
        ("hub.example.org", 443, "*", True),
        ("192.0.2.7", 443, " * ", True),
        ("hub.example.org", 443, "other.org , example.org", True),
        ("hub.example.org", 443, "other.org example.org", True),
        # A name is not resolved, and neither is a network a name.
        ("hub.example.org", 443, "0.0.0.0/0", False),
        ("hub.example.org", 443, "", False),
        ("hub.example.org", 443, ",, .,*., /,:443,[]", False),
        ("192.0.2.7", 443, "192.0.2.0/240, 192.0.2., 300.1.1.1", False),
    ],
)
def test_what_is_reached_without_the_proxy(host: str, port: int, no_proxy: str, expected: bool) -> None:
    assert subject.bypasses(host, port, no_proxy) is expected


def choose(url: str, **variables: str) -> subject.Proxy | None:
    return subject.choose(urllib.parse.urlsplit(url), subject.settings(variables))


@pytest.mark.parametrize(
    ("url", "variables", "shown"),
    [
        ("https://hub.example.org/x", {"https_proxy": "http://proxy:8080"}, "proxy:8080"),
        ("https://hub.example.org/x", {"HTTPS_PROXY": "proxy:8080"}, "proxy:8080"),
        ("https://hub.example.org/x", {"http_proxy": "http://proxy:8080"}, None),
        ("http://hub.example.org/x", {"http_proxy": "http://proxy:8080/"}, "proxy:8080"),
        ("https://hub.example.org/x", {"all_proxy": "http://[2001:db8::1]:8080"}, "[2001:db8::1]:8080"),
        ("https://hub.example.org/x", {"ALL_PROXY": "http://proxy"}, "proxy:3128"),
        ("https://hub.example.org/x", {"https_proxy": "", "HTTPS_PROXY": "http://proxy:8080"}, None),
        ("https://hub.example.org/x", {"https_proxy": "http://proxy:1", "NO_PROXY": "example.org"}, None),
        ("https://hub.example.org:8443/x", {"https_proxy": "http://proxy:1", "no_proxy": "example.org:443"}, "proxy:1"),
    ],
)
def test_which_proxy(url: str, variables: dict[str, str], shown: str | None) -> None:
    proxy = choose(url, **variables)
    assert (proxy.shown if proxy else None) == shown


def test_the_later_environment_counts() -> None:
    found = subject.settings({"HTTPS_PROXY": "http://host:1", "NO_PROXY": "a"}, {"https_proxy": "http://build:2"})
    assert found == {"https_proxy": "http://build:2", "no_proxy": "a"}


def test_user_and_password_are_sent_and_not_shown() -> None:
    proxy = choose("https://h/x", https_proxy="http://us%40er:pass%3Aword@proxy:8080")
    assert proxy is not None
    assert proxy.headers == {"Proxy-Authorization": "Basic dXNAZXI6cGFzczp3b3Jk"}
    assert proxy.shown == "proxy:8080"
    assert proxy.url == "http://us%40er:pass%3Aword@proxy:8080"


@pytest.mark.parametrize(
    ("proxy", "why", "shown"),
    [
        ("https://user:secret@proxy:8080", "of the kind https", "https://proxy:8080"),
        ("socks5h://user:secret@proxy:1080", "of the kind socks5h", "socks5h://proxy:1080"),
        ("http://user:secret@proxy:port", "its port is invalid", "http://proxy:port"),
        ("http://user:secret@proxy:99999", "its port is invalid", "http://proxy:99999"),
        ("http://user:sec/ret@proxy:8080", "its port is invalid", "http://proxy:8080"),
        ("http://user:secret@:8080", "names no host", "http://:8080"),
        ("http://user:secret@pro xy:8080", "names no host", "http://pro xy:8080"),
        ("http://[::1:8080", "its address", "http://[::1:8080"),
    ],
)
def test_proxies_that_can_not_be_used(proxy: str, why: str, shown: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        choose("https://hub.example.org/x", https_proxy=proxy)
    assert caught.value.args[-1] == shown
    assert "sec" not in str(caught.value)
    assert choose("https://hub.example.org/x", https_proxy=proxy, no_proxy="example.org") is None
