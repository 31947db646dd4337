"""The family of a base image by its name."""

from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.base_families import family_of


@pytest.mark.parametrize(
    ("base", "family"),
    [
        ("nvidia/cuda:12.8.1-devel-ubuntu22.04", "apt"),
        ("mirror.example.org/cuda:13.0.2-devel-ubi9@sha256:00", "dnf"),
        ("rockylinux/rockylinux:9", "dnf"),
        ("debian:13", "apt"),
    ],
)
def test_families(base: str, family: str) -> None:
    assert family_of(base, "") == family
