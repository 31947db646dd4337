# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.module_utils._store.local_store import FILE, MADE, Place


@pytest.mark.parametrize("name", [FILE, *sorted(MADE), "tiny-q4_0.config.json", "tiny-q4_0.jinja"])
@pytest.mark.parametrize("kind", ["symlink", "dangling", "hardlink", "directory", "fifo"])
def test_only_plain_files_are_replaced(place: Place, tmp_path: Path, name: str, kind: str) -> None:
    place.store.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = place.store / name
    make: dict[str, Callable[[], Any]] = {
        "symlink": lambda: path.symlink_to(victim),
        "dangling": lambda: path.symlink_to(tmp_path / "nothing"),
        "hardlink": lambda: os.link(victim, path),
        "directory": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
    }
    make[kind]()
    for check in (True, False):
        assert place.error(check=check, chat_template="{{ x }}").id == "model.destination_unsafe"
    assert victim.read_text() == "precious"


def test_the_state_directory_must_be_one(place: Place, tmp_path: Path) -> None:
    place.store.mkdir()
    (place.store / ".store").symlink_to(tmp_path)
    assert place.error().id == "model.destination_unsafe"
    assert not (tmp_path / "incoming").exists()
