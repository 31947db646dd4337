# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._store import contents
from ansible_collections.mistralrs.stack.plugins.module_utils._store.contents import absent
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted

from tests.unit.plugins.module_utils._store.local_store import FILE, Place


def test_absent(place: Place) -> None:
    assert not absent(place.wanted(), check=False).changed
    assert not place.store.exists()
    place.run(chat_template="{{ x }}")
    assert absent(place.wanted(), check=True).changed
    assert place.model.exists()
    outcome = absent(place.wanted(), check=False)
    assert outcome.changed
    assert outcome.before["size"] == len(place.source.read_bytes())
    assert outcome.after == {}
    assert place.files() == set()
    assert not absent(place.wanted(), check=False).changed


def test_absent_removes_what_a_killed_run_left(place: Place) -> None:
    place.incoming.mkdir(parents=True)
    part = place.incoming / (FILE + ".part")
    lock = place.sidecar.parent / (FILE + ".lock")
    part.write_bytes(b"x")
    lock.write_bytes(b"")
    assert absent(place.wanted(), check=True).changed
    assert part.exists()
    assert absent(place.wanted(), check=False).changed
    assert place.files() == set()
    lock.write_bytes(b"")
    assert not absent(place.wanted(), check=False).changed
    assert place.files() == set()


def test_absent_many_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.run(chat_template="{{ x }}")
    ready = threading.Barrier(4)
    make = contents.make_directories

    def together(wanted: Wanted) -> None:
        make(wanted)
        ready.wait(10)

    monkeypatch.setattr(contents, "make_directories", together)
    changed: list[bool] = []
    threads = [
        threading.Thread(target=lambda: changed.append(absent(place.wanted(), check=False).changed))
        for _index in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(changed) == [False] * 3 + [True]
    assert place.files() == set()
