# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What networks do to a download, and what a part of one is worth. After each the oracle of C(conftest.py) holds."""

from __future__ import annotations

import gzip
import json
import time
from email.utils import formatdate
from typing import Any

import pytest

from tests.fakes.hub.place import REMOTE, REPOSITORY, Place, make_model

MIB = 1 << 20


def test_nothing_wrong(place: Place) -> None:
    predicted = place.fetch(check=True)
    assert (predicted.changed, predicted.after["size"]) == (True, len(place.content))
    assert place.bodies() == []
    assert predicted.after == place.fetch().after
    place.check(there=True)
    assert (place.bodies(), place.leftovers()) == ([""], [])
    asked = len(place.hub.origin.log)
    assert not place.fetch().changed
    assert len(place.hub.origin.log) == asked


def test_1_dropped_in_the_middle(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, cut_after=300_000)
    assert place.fetch().changed
    assert place.bodies() == ["", "bytes=300000-"]


def test_2_dropped_again_and_again(place: Place) -> None:
    place.content = make_model(place.gguf, 2 * MIB)
    place.hub.add(REPOSITORY, {REMOTE: place.content})
    place.hub.cdn.fault(place.cdn_path, cut_after=100_000, times=-1)
    assert place.fetch().changed
    # Each attempt brought something, so that none of the 3 retries is used up.
    assert len(place.bodies()) == -(-len(place.content) // 100_000)


def test_3_dropped_without_any_progress(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, cut_after=0, times=-1)
    place.fails("interrupted")
    assert len(place.bodies()) == 4
    assert place.sleeps == [1.0, 2.0, 4.0]


def test_3_the_same_beginning_again_is_no_progress(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, cut_after=200_000, ignore_range=True, times=-1)
    place.fails("interrupted")
    assert len(place.bodies()) == 4


def test_4_the_length_lies(place: Place) -> None:
    place.plain.fault("/model.gguf", length=len(place.content) + 100, times=-1, method="")
    message = place.fails("size_mismatch", f"{place.plain.url}/model.gguf")
    assert f"has {len(place.content)} bytes, expected {len(place.content) + 100}" in message


def test_5_more_bytes_than_declared(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, body=place.content + b"more", length=len(place.content))
    assert place.fetch().changed


def test_5_the_wrong_size_is_declared(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, body=place.content + b"more")
    place.fails("size_mismatch")


def test_6_chunks_without_an_end(place: Place) -> None:
    place.plain.fault("/model.gguf", chunked=True, cut_after=500_000, ignore_range=True, times=-1)
    place.plain.fault("/model.gguf", chunked=True, no_length=True, times=-1, method="HEAD")
    message = place.fails("interrupted", f"{place.plain.url}/model.gguf")
    assert "ended after" in message


def test_6_chunks_that_are_cut_again_and_again(place: Place) -> None:
    """Each time a few bytes come, which is progress."""
    place.content = make_model(place.gguf, 1 << 16)
    url = f"{place.plain.url}/model.gguf"
    place.plain.files["/model.gguf"] = place.content
    place.plain.fault("/model.gguf", chunked=True, cut_after=6_000, times=-1)
    assert place.fetch(url).changed
    assert place.plain.asked("GET") == ["/model.gguf"] * -(-len(place.content) // 6_000)


def test_7_no_length_but_a_known_size(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, no_length=True, cut_after=400_000)
    assert place.fetch().changed
    assert place.bodies() == ["", "bytes=400000-"]


def test_8_ranges_are_ignored(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, cut_after=300_000)
    place.hub.cdn.fault(place.cdn_path, ignore_range=True)
    assert place.fetch().changed
    assert place.bodies() == ["", "bytes=300000-"]


@pytest.mark.parametrize("what", [{"shift": 1000}, {"shift": -1000}, {"total": 5_000_000}])
def test_9_10_another_part_than_asked_for(place: Place, what: dict[str, Any]) -> None:
    place.hub.cdn.fault(place.cdn_path, cut_after=300_000)
    place.hub.cdn.fault(place.cdn_path, **what)
    assert place.fetch().changed
    assert place.bodies() == ["", "bytes=300000-", ""]


def test_9_always_another_part(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, cut_after=300_000)
    for _index in range(8):
        place.hub.cdn.fault(place.cdn_path, shift=1000)
        place.hub.cdn.fault(place.cdn_path, cut_after=100_000)
    place.fails("http_answer")


def leave(place: Place, part: bytes, record: dict[str, Any] | None = None) -> None:
    """Leave a part as a killed run does."""
    place.hub.cdn.fault(place.cdn_path, cut_after=300_000, times=-1)
    place.hub.cdn.fault(place.cdn_path, cut_after=0)
    place.fails("interrupted", retries=0)
    assert place.part.stat().st_size == 300_000
    place.part.write_bytes(part)
    if record is not None:
        path = place.part.with_name(place.part.name + ".json")
        path.write_text(json.dumps({**json.loads(path.read_text()), **record}))
    place.hub.cdn.faults.clear()
    place.hub.cdn.log.clear()


def test_11_the_part_is_complete(place: Place) -> None:
    leave(place, place.content)
    assert place.fetch().changed
    assert place.bodies() == []


def test_6_cut_short_and_nobody_knows(place: Place) -> None:
    """Without a length a cut looks like the end: the header tells."""
    place.plain.fault("/model.gguf", no_length=True, times=-1, method="HEAD")
    place.plain.fault("/model.gguf", no_length=True, cut_after=500_000)
    place.fails("gguf_truncated", f"{place.plain.url}/model.gguf")
    assert place.leftovers() == []


def test_11_416_for_a_part_that_is_complete(place: Place) -> None:
    """Nobody said how long the file is: all of it arrived, and then the connection was lost."""
    url = f"{place.plain.url}/model.gguf"
    place.plain.fault("/model.gguf", no_length=True, chunked=True, times=-1, method="HEAD")
    place.plain.fault("/model.gguf", chunked=True, cut_after=len(place.content), ignore_range=True)
    place.fails("interrupted", url, retries=0)
    assert place.part.stat().st_size == len(place.content)
    place.plain.log.clear()
    assert place.fetch(url).changed
    assert [each.headers.get("Range", "") for each in place.plain.log if each.method == "GET"] == [
        f"bytes={len(place.content)}-"
    ]
    place.check(there=True)


def test_12_the_part_is_too_long(place: Place) -> None:
    leave(place, place.content + b"more")
    assert place.fetch().changed
    assert place.bodies() == [""]


def test_12_416_for_what_is_there(place: Place) -> None:
    leave(place, place.content[:300_000])
    place.hub.cdn.fault(place.cdn_path, status=416, headers={"Content-Range": "bytes */100"})
    assert place.fetch().changed
    assert place.bodies() == ["bytes=300000-", ""]


def test_13_replaced_between_two_runs(place: Place) -> None:
    url = f"{place.plain.url}/model.gguf"
    place.plain.fault("/model.gguf", cut_after=300_000)
    place.plain.fault("/model.gguf", cut_after=0)
    place.fails("interrupted", url, retries=0)
    place.content = make_model(place.gguf, fill=2)
    place.plain.files["/model.gguf"] = place.content
    place.plain.faults.clear()
    assert place.fetch(url).changed
    place.check(there=True)


def test_13_replaced_in_the_middle_of_a_run(place: Place) -> None:
    url = f"{place.plain.url}/model.gguf"
    place.plain.fault("/model.gguf", cut_after=300_000, headers={"ETag": '"another"'})
    assert place.fetch(url).changed
    ranges = [each.headers.get("Range", "") for each in place.plain.log if each.method == "GET"]
    assert ranges == ["", "bytes=300000-"]
    assert place.plain.log[-1].headers["If-Range"] == '"another"'


@pytest.mark.parametrize("just_now", [False, True])
def test_13_replaced_and_nothing_tells(place: Place, just_now: bool) -> None:
    """Without anything that tells one content from another the rest of a file is not put to its beginning."""
    other = make_model(place.gguf, fill=3)
    place.plain.headers["/model.gguf"] = {"ETag": "", "Last-Modified": formatdate(usegmt=True) if just_now else ""}
    place.plain.fault("/model.gguf", cut_after=500_000)
    place.replace_at(2, other)
    assert place.fetch(f"{place.plain.url}/model.gguf").changed
    assert all("Range" not in each.headers for each in place.plain.log)
    place.content = other
    place.check(there=True)


def test_13_the_date_tells(place: Place) -> None:
    """A server without ETags whose file is old enough that its date stands for its content (RFC 9110, 8.8.2.2)."""
    date = formatdate(time.time() - 3600, usegmt=True)
    place.plain.headers["/model.gguf"] = {"ETag": "", "Last-Modified": date}
    place.plain.fault("/model.gguf", cut_after=500_000)
    assert place.fetch(f"{place.plain.url}/model.gguf").changed
    assert place.plain.log[-1].headers["If-Range"] == date
    place.check(there=True)


def test_14_a_part_without_its_record(place: Place) -> None:
    leave(place, place.content[:300_000])
    place.part.with_name(place.part.name + ".json").unlink()
    assert place.fetch().changed
    assert place.bodies() == [""]


@pytest.mark.parametrize("record", ["", "[]", "{", '{"promise": {"sha256": "0"}}'])
def test_14_a_part_with_a_strange_record(place: Place, record: str) -> None:
    leave(place, place.content[:300_000])
    place.part.with_name(place.part.name + ".json").write_text(record)
    assert place.fetch().changed
    assert place.bodies() == [""]


def test_15_the_part_was_damaged_on_the_disk(place: Place) -> None:
    leave(place, place.content[:100_000] + bytes(100_000) + place.content[200_000:300_000])
    assert place.fetch().changed
    assert place.bodies() == ["bytes=300000-", ""]


def test_a_part_goes_on_in_the_next_run(place: Place) -> None:
    leave(place, place.content[:300_000])
    assert place.fetch().changed
    assert place.bodies() == ["bytes=300000-"]
    assert place.leftovers() == []


def test_16_encoded_bodies(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, cut_after=300_000)
    packed = gzip.compress(place.content[300_000:])
    place.hub.cdn.fault(place.cdn_path, body=packed, headers={"Content-Encoding": "gzip"})
    assert place.fetch().changed
    assert place.bodies() == ["", "bytes=300000-", ""]
    assert all(each.headers["Accept-Encoding"] == "identity" for each in place.hub.cdn.log)
