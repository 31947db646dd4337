# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Content that is not what was promised, or is not a model."""

from __future__ import annotations

import os

import pytest

from tests.fakes.hub.place import Place, make_model

MIB = 1 << 20


@pytest.mark.parametrize("old", [False, True])
def test_28_the_wrong_content(place: Place, old: bool) -> None:
    if old:
        place.keep_old()
    place.hub.cdn.files[place.cdn_path] = make_model(place.gguf, fill=3)
    place.hub.cdn.fault(place.cdn_path, body=make_model(place.gguf, fill=3), times=-1)
    message = place.fails("checksum_mismatch")
    assert f"{len(place.content)} bytes" in message
    place.check(there=old)
    assert not place.part.exists()


def test_28_another_sha256_is_wanted(place: Place) -> None:
    """The hub says what it has before a byte is transferred."""
    place.fails("checksum_mismatch", sha256="0" * 64)
    assert place.bodies() == []


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (b"<html>log in</html>", "text/html", "not_a_model"),
        (b"<html>log in</html>", "application/octet-stream", "not_gguf"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "text/plain", "not_gguf"),
        (b"", "application/octet-stream", "not_gguf"),
        (b"PK\x03\x04" + bytes(100), "application/octet-stream", "not_gguf"),
        (b"GGUF\x01\0\0\0" + bytes(100), "application/octet-stream", "gguf_version"),
        (b"GGUF\0\0\0\x03" + bytes(100), "application/octet-stream", "gguf_big_endian"),
    ],
)
def test_29_30_31_32_what_is_no_model(place: Place, body: bytes, kind: str, error: str) -> None:
    place.plain.files["/model.gguf"] = body
    place.plain.types["/model.gguf"] = kind
    place.fails(error, f"{place.plain.url}/model.gguf")
    assert place.leftovers() == []


def test_29_a_page_in_place_of_a_large_file_is_seen_at_its_start(place: Place) -> None:
    page = place.root / "page"
    page.write_bytes(b"<html>")
    os.truncate(page, 500 * MIB)
    place.plain.files["/model.gguf"] = page
    place.fails("not_gguf", f"{place.plain.url}/model.gguf")
    assert place.plain.sent < 20 * MIB


def test_33_cut_short_before_it_was_published(place: Place) -> None:
    place.plain.files["/model.gguf"] = place.content[:-1000]
    assert "cut short" in place.fails("gguf_truncated", f"{place.plain.url}/model.gguf")


def test_34_damaged_safetensors(place: Place) -> None:
    files = {"config.json": b"{}", "model.safetensors": (200_000_000).to_bytes(8, "little") + b"{" + bytes(5000)}
    place.hub.add("org/tensors", files)
    place.fails("safetensors_malformed", "hf://org/tensors")
    assert not place.final.with_suffix("").exists()
