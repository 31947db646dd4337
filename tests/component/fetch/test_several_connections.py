# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A download over several connections."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import http_client

from tests.fakes.hub.hub import Fault
from tests.fakes.hub.place import Place, make_model


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
    several.replace_at(request_number, several.content)
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
