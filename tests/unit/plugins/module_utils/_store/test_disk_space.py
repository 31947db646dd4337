# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._store import disk_space

from tests.unit.plugins.module_utils._store.local_store import Place


def test_no_space_is_seen_before_the_first_byte(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_space, "free_bytes", lambda path: 1_500_000)
    for check in (True, False):
        error = place.error(check=check)
        assert error.id == "model.no_space"
        assert "1.5 MB free" in str(error)
    assert not place.store.exists()


def test_a_disk_that_fills_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: memoryview) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(local, "write_all", full)
    assert place.error().id == "model.no_space"
    assert place.files() == set()


def test_a_store_that_is_a_file(place: Place) -> None:
    place.store.write_text("")
    assert place.error().id == "model.store_unusable"
