# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What servers answer instead of the content: too many requests, errors, redirects, refusals."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest

from tests.fakes.hub.hub import COMMIT, TOKEN
from tests.fakes.hub.place import LABEL, REMOTE, REPOSITORY, Place


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
