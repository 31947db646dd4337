# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._store import entry
from ansible_collections.mistralrs.stack.plugins.module_utils._store.entry import read_ahead, read_entry

from tests.unit.plugins.module_utils._store.local_store import Place, sha256


@pytest.mark.parametrize(("changes", "error"), [(1, ""), (2, "model.store_unusable")])
def test_a_file_that_changes_while_it_is_read(
    place: Place, monkeypatch: pytest.MonkeyPatch, changes: int, error: str
) -> None:
    place.run()
    os.utime(place.model, ns=(1, 1))
    read = entry.hash_file
    reads: list[str] = []

    def disturbed(path: str, _seen: object) -> str:
        digest = read(path)
        reads.append(digest)
        if len(reads) <= changes:
            os.utime(path, ns=(1, 1 + len(reads)))
        return digest

    monkeypatch.setattr(entry, "hash_file", disturbed)
    if error:
        failed = place.error()
        assert failed.id == error
        assert "changed while it was read" in str(failed)
    else:
        assert not place.run().changed


def test_what_was_put_there_by_hand_is_read_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.store.mkdir(mode=0o755)
    place.model.write_bytes(place.source.read_bytes())
    place.model.chmod(0o644)
    read: list[str] = []
    hash_of = entry.hash_file
    monkeypatch.setattr(entry, "hash_file", lambda path, _seen: read.append(path) or hash_of(path))
    outcome = place.run(sha256=sha256(place.source.read_bytes()))
    assert read.count(str(place.model)) == 1
    assert outcome.facts["verified_by"] == "hash"
    # Unless it was touched since.
    os.utime(place.model, ns=(1, 1))
    place.run(sha256=sha256(place.source.read_bytes()))
    assert read.count(str(place.model)) == 2


def test_what_was_put_there_by_hand_can_be_read_ahead(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.run(name="known", file="known.gguf")
    for name in ("one", "two"):
        (place.store / f"{name}.gguf").write_bytes(place.source.read_bytes())
    wanted = [place.wanted(name=name, file=f"{name}.gguf") for name in ("one", "known", "two", "missing")]
    size = place.source.stat().st_size
    said: list[tuple[Any, ...]] = []
    read_ahead(wanted, lambda *words: said.append(words))
    assert said[-1] == ("2 models", 2 * size, 2 * size, "checking")
    monkeypatch.setattr(entry, "hash_file", lambda *_arguments: pytest.fail("it was read again"))
    found = [read_entry(each) for each in wanted]
    assert [each.verified_by if each else "" for each in found] == ["hash", "sidecar", "hash", ""]
