# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest

from tests.unit.plugins.module_utils._store.local_store import Place


@pytest.mark.parametrize("check", [True, False])
def test_missing_source(place: Place, check: bool) -> None:
    place.source.unlink()
    error = place.error(check=check)
    assert error.id == "model.source_missing"
    assert str(place.source) in str(error)
    assert not place.store.exists()


@pytest.mark.parametrize("check", [True, False])
def test_sources_that_are_no_files(place: Place, check: bool) -> None:
    place.source.unlink()
    os.mkfifo(place.source)
    assert place.error(check=check).id == "model.source_unreadable"
    place.source.unlink()
    place.source.mkdir()
    assert place.error(check=check).id == "model.safetensors_incomplete"
