"""Addresses of sources."""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.source import split_credentials


def test_credentials_are_taken_out() -> None:
    assert split_credentials("https://a%40b:c@h:1/p") == ("https://h:1/p", "a@b", "c")
    assert split_credentials("ssh://git@h/p").url == "ssh://git@h/p"
