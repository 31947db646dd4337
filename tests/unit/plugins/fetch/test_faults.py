# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What networks and servers do to a download. After each the oracle of C(conftest.py) holds."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
import time
from email.utils import formatdate
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import http_client
from certificate import make as make_certificate
from hub import COMMIT, TOKEN, Fault, Server, running
from place import LABEL, REMOTE, REPOSITORY, Place, make_model
from silent import Silent

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


def replace_at(place: Place, request: int, content: bytes) -> None:
    """Replace the plain server's file when it is asked for the n-th time."""
    server, take, asked = place.plain, place.plain.take_fault, iter(range(1, 1 << 20))

    def replaced(path: str, method: str) -> Fault:
        if method == "GET" and next(asked) == request:
            server.files[path] = content
        return take(path, method)

    server.take_fault = replaced  # type: ignore[method-assign]


@pytest.mark.parametrize("just_now", [False, True])
def test_13_replaced_and_nothing_tells(place: Place, just_now: bool) -> None:
    """Without anything that tells one content from another the rest of a file is not put to its beginning."""
    other = make_model(place.gguf, fill=3)
    place.plain.headers["/model.gguf"] = {"ETag": "", "Last-Modified": formatdate(usegmt=True) if just_now else ""}
    place.plain.fault("/model.gguf", cut_after=500_000)
    replace_at(place, 2, other)
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


@pytest.mark.parametrize("value", ["2", "date", "limit"])
def test_17_18_19_too_many_requests(place: Place, value: str) -> None:
    headers = {
        "2": {"Retry-After": "2"},
        "date": {"Retry-After": formatdate(time.time() + 30, usegmt=True)},
        "limit": {"RateLimit": '"api";r=0;t=55'},
    }[value]
    place.hub.cdn.fault(place.cdn_path, status=429, headers=headers)
    assert place.fetch().changed
    expected = {"2": 2, "date": 30, "limit": 56}[value]
    assert place.sleeps == [pytest.approx(expected, abs=2)]


def test_17_too_many_requests_for_too_long(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, status=429, headers={"Retry-After": "86400"}, times=-1)
    assert "86400" in place.fails("rate_limited")
    assert place.sleeps == []


def test_18_a_date_in_the_past(place: Place) -> None:
    """The clock of the host or of the server is wrong."""
    place.hub.cdn.fault(place.cdn_path, status=429, headers={"Retry-After": formatdate(0, usegmt=True)})
    assert place.fetch().changed
    assert place.sleeps == [1.0]


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_20_an_error_that_goes_away(place: Place, status: int) -> None:
    place.hub.cdn.fault(place.cdn_path, status=status, times=2)
    assert place.fetch().changed
    assert place.sleeps == [1.0, 2.0]


def test_20_an_error_that_stays(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, status=503, times=-1)
    assert "HTTP 503" in place.fails("http_status")
    assert len(place.bodies()) == 4


def test_20_errors_of_the_api(place: Place) -> None:
    place.hub.origin.fault(f"/api/models/{REPOSITORY}/revision/main", status=502, times=2)
    assert place.fetch().changed
    place.hub.origin.fault(f"/api/models/{REPOSITORY}/revision/main", status=200, body=b"")


def test_21_a_server_that_falls_silent(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, stall_after=300_000)
    assert place.fetch().changed
    assert place.bodies() == ["", "bytes=300000-"]


def test_21_one_byte_now_and_then(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, drip_seconds=0.2, times=-1)
    assert "too little" in place.fails("stalled", retries=0)


def test_21_one_byte_now_and_then_is_no_progress(place: Place) -> None:
    """A few bytes bring back no attempt."""
    place.hub.cdn.fault(place.cdn_path, drip_seconds=0.2, times=-1)
    place.fails("stalled", retries=2)
    assert len(place.bodies()) == 3


def test_22_an_address_that_expired(place: Place) -> None:
    """The way to a file is asked for anew with each request, so that a signature is always fresh."""
    place.hub.cdn.fault(place.cdn_path, cut_after=300_000)
    place.hub.cdn.fault(place.cdn_path, status=403)
    place.hub.signature = "first"
    assert place.fetch().changed
    assert place.bodies() == ["", "bytes=300000-", "bytes=300000-"]
    place.hub.cdn.faults.clear()


def test_22_a_new_address_is_one_of_the_same_commit(place: Place) -> None:
    """Also when the branch moves on in the middle of a download."""
    place.hub.cdn.fault(place.cdn_path, status=403)
    assert place.fetch().changed
    api = [path for path in place.hub.origin.asked() if path.startswith("/api/models/")]
    # The branch is asked for once; the list of files twice, at the same commit.
    assert [path.rpartition("/")[2] for path in api] == ["main", COMMIT, COMMIT]
    place.hub.cdn.faults.clear()


def test_22_an_address_that_is_refused_for_ever(place: Place) -> None:
    place.hub.cdn.fault(place.cdn_path, status=403, times=-1)
    assert "HTTP 403" in place.fails("http_status")
    assert len(place.bodies()) == 2


def test_23_a_circle_of_redirects(place: Place) -> None:
    place.plain.fault("/model.gguf", status=302, headers={"Location": "/model.gguf?again"}, times=-1, method="")
    assert "circle" in place.fails("redirect_refused", f"{place.plain.url}/model.gguf")


def test_23_too_many_redirects(place: Place) -> None:
    for number in range(30):
        place.plain.fault(f"/{number}", status=302, headers={"Location": f"/{number + 1}"}, method="", times=-1)
    assert "more than" in place.fails("redirect_refused", f"{place.plain.url}/0")


def test_24_the_token_stays_at_its_origin(place: Place) -> None:
    place.fetch()
    assert place.hub.origin.secrets(TOKEN)
    assert len(place.hub.cdn.log) == 1
    # Another port is another origin.
    assert not place.hub.cdn.secrets("Bearer")


def test_24_not_even_a_redirect_of_the_api_gets_it(place: Place) -> None:
    target = f"{place.plain.url}/steal"
    place.plain.files["/steal"] = b'{"sha": "%s"}' % (b"c" * 40)
    place.hub.origin.fault(f"/api/models/{REPOSITORY}/revision/main", status=302, headers={"Location": target})
    place.fetch()
    assert place.plain.asked() == ["/steal"]
    assert not place.plain.secrets("Bearer")


def test_25_a_redirect_to_http_is_refused(place: Place) -> None:
    """Over TLS this is tested in test_model.py; here a host outside is refused."""
    headers = {"Location": "http://192.0.2.1/model.gguf"}
    place.plain.fault("/model.gguf", status=302, headers=headers, times=-1, method="")
    assert "insecure" in place.fails("redirect_refused", f"{place.plain.url}/model.gguf")


def test_26_a_renamed_repository(place: Place) -> None:
    file = f"resolve/{'c' * 40}/{REMOTE}"
    for path in ("/api/models/{}/revision/main", f"/api/models/{{}}/tree/{'c' * 40}", f"/{{}}/{file}"):
        headers = {"Location": path.format(REPOSITORY) + "?recursive=true"}
        place.hub.origin.fault(path.format("org/former"), status=307, headers=headers, times=-1)
    assert place.fetch("hf://org/former").changed


@pytest.mark.parametrize(
    ("options", "token", "source", "error"),
    [
        ({}, "", "hf://org/nothing", "unauthorized"),
        ({}, TOKEN, "hf://org/nothing", "repository_not_found"),
        ({"gated": True}, "", "", "gated"),
        ({"private": True}, "", "", "unauthorized"),
        ({"disabled": True}, "", "", "disabled"),
        ({}, "hf_wrong_token", "", "token_invalid"),
        ({}, TOKEN, f"hf://{REPOSITORY}@v9", "revision_not_found"),
        ({}, TOKEN, f"hf://{REPOSITORY}/other.gguf", "entry_not_found"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_27_what_a_hub_refuses(
    place: Place, options: dict[str, Any], token: str, source: str, error: str, check: bool
) -> None:
    place.hub.add(REPOSITORY, {REMOTE: place.content}, **options)
    message = place.fails(error, source, check=check, token=token)
    assert "hf_wrong" not in message
    if error == "entry_not_found":
        assert REMOTE in message
    if error == "gated":
        assert f"{place.hub.url}/{REPOSITORY}" in message
    assert not place.store.exists() or check is False
    assert place.hub.cdn.log == []


def test_27_the_licence_was_not_accepted(place: Place) -> None:
    """The hub knows the token's owner, who may not read this repository."""
    headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model org/model is restricted."}
    place.hub.origin.fault(f"/api/models/{REPOSITORY}/revision/main", status=403, headers=headers, times=-1)
    assert f"licence at {place.hub.url}/{REPOSITORY}" in place.fails("gated")


@pytest.mark.parametrize("check", [True, False])
def test_27_only_the_content_is_refused(place: Place, check: bool) -> None:
    """The hub lists the files of gated repositories to everybody."""
    headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model org/model is restricted."}
    path = f"/{REPOSITORY}/resolve/{COMMIT}/{REMOTE}"
    place.hub.origin.fault(path, status=403, headers=headers, times=-1, method="")
    for label in (LABEL, "auto"):
        assert f"licence at {place.hub.url}/{REPOSITORY}" in place.fails("gated", check=check, label=label)
    assert not place.store.exists()


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


def test_40_an_unreachable_server(place: Place) -> None:
    place.fails("source_unreachable", "https://127.0.0.1:1/model.gguf")
    place.fails("source_unreachable", "https://model.invalid/model.gguf")
    place.fails("source_unreachable", f"https://127.0.0.1:{place.plain.server_port}/model.gguf", retries=0)


def test_40_a_proxy_that_refuses(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.plain.fault("", status=407, times=-1, method="")
    monkeypatch.setenv("https_proxy", f"http://user:secret@127.0.0.1:{place.plain.server_port}")
    message = place.fails("proxy_refused", "https://192.0.2.1/model.gguf")
    assert "secret" not in message


@pytest.fixture
def several(place: Place) -> Place:
    """Four connections, each for 100,000 bytes at a time."""
    place.settings["limits"] = http_client.Limits(segment=100_000)
    place.settings["connections"] = 4
    return place


def test_several_connections(several: Place) -> None:
    assert several.fetch().changed
    several.check(there=True)
    size = len(several.content)
    assert sorted(several.bodies()) == sorted(
        f"bytes={start}-{min(size, start + 100_000) - 1}" for start in range(0, size, 100_000)
    )
    assert several.leftovers() == []


def test_several_connections_that_drop(several: Place) -> None:
    several.hub.cdn.fault(several.cdn_path, cut_after=30_000, times=5)
    several.hub.cdn.fault(several.cdn_path, status=503, times=2)
    assert several.fetch().changed
    several.check(there=True)


def test_several_connections_and_no_ranges(several: Place) -> None:
    several.hub.cdn.fault(several.cdn_path, ignore_range=True, times=-1)
    assert several.fetch().changed
    several.check(there=True)


@pytest.mark.parametrize("what", [{"shift": 1000}, {"total": 5}, {"headers": {"Content-Encoding": "gzip"}}])
def test_several_connections_and_a_wrong_part(several: Place, what: dict[str, Any]) -> None:
    several.hub.cdn.fault(several.cdn_path, **what)
    assert several.fetch().changed
    several.check(there=True)


def test_several_connections_that_drip(several: Place) -> None:
    several.hub.cdn.fault(several.cdn_path, drip_seconds=0.2, times=-1)
    several.fails("stalled", retries=2)


@pytest.mark.parametrize("request_number", [2, 5, 9])
def test_several_connections_and_a_file_that_is_replaced(several: Place, request_number: int) -> None:
    """No file is put together from two: each part is compared with the first answer's ETag."""
    several.old, several.content = several.content, make_model(several.gguf, fill=3)
    assert len(several.old) == len(several.content)
    replace_at(several, request_number, several.content)
    assert several.fetch(f"{several.plain.url}/model.gguf").changed
    several.check(there=True)


def test_several_connections_keep_a_beginning(several: Place) -> None:
    several.hub.cdn.fault(several.cdn_path, cut_after=0, times=-1)
    for _index in range(6):
        several.hub.cdn.faults[several.cdn_path].insert(0, Fault(times=1))
    several.fails("interrupted", retries=0)
    kept = several.part.stat().st_size
    assert several.part.read_bytes() == several.content[:kept]
    several.hub.cdn.faults.clear()
    assert several.fetch(connections=1).changed
    several.check(there=True)


def test_several_connections_and_the_wrong_content(several: Place) -> None:
    other = make_model(several.gguf, fill=3)
    several.hub.cdn.files[several.cdn_path] = other
    several.fails("checksum_mismatch")
    several.check(there=False)


def test_offline(place: Place) -> None:
    place.fails("offline", offline=True)
    place.fetch()
    assert not place.fetch(offline=True).changed
    assert len(place.bodies()) == 1


@pytest.fixture
def both_families(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every name has this host's address of IPv6, then that of IPv4; the names that were asked for."""
    asked: list[str] = []

    def addresses(host: str, port: int, *_arguments: Any, **_options: Any) -> list[Any]:
        asked.append(host)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    return asked


def test_40_an_address_of_ipv6_that_is_dead(place: Place, both_families: list[str]) -> None:
    """Nobody listens at the name's first address; its second one works."""
    place.fetch()
    place.check(there=True)
    assert both_families
    assert place.sleeps == []


@pytest.mark.parametrize("way", ["plain", "tls", "proxy"])
def test_40_an_address_of_ipv6_that_never_answers(
    place: Place, both_families: list[str], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent to the name's first address is dropped: that costs a moment, once, and not the time-out."""
    certificate = place.root / "certificate.pem"
    make_certificate(certificate)
    server = Server(str(certificate) if way == "tls" else "")
    port = server.server_port
    url = f"{server.scheme}://localhost:{port}/model.gguf"
    if way == "proxy":
        url = "http://model.example/model.gguf"
        monkeypatch.setenv("http_proxy", f"http://proxy.example:{port}")
    server.files[url if way == "proxy" else "/model.gguf"] = place.content
    digest = hashlib.sha256(place.content).hexdigest()
    start = time.monotonic()
    with Silent("::1", port), running(server):
        limits = http_client.Limits(connect_seconds=0.5)
        place.fetch(url, sha256=digest, timeout=15, ca_path=str(certificate), limits=limits)
    # Filling the silent server's queue is a part of that.
    assert time.monotonic() - start < 5
    place.check(there=True)
    assert set(both_families) == {"proxy.example" if way == "proxy" else "localhost"}
    assert place.sleeps == []


@pytest.mark.parametrize("source", ["file:///srv/m%00.gguf", "oci://localhost/m%00:v1", "ollama://m%00:v1"])
def test_37_a_nul_in_a_source(place: Place, source: str) -> None:
    place.fails("source_invalid", source)
    assert not place.store.exists()
