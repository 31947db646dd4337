# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError, StackErrors
from ansible_collections.mistralrs.stack.plugins.module_utils._store import entry
from ansible_collections.mistralrs.stack.plugins.module_utils._store.lock import locked
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import read_sidecar
from ansible_collections.mistralrs.stack.plugins.module_utils._store.verify import verified, verified_all

from tests.unit.plugins.module_utils._store.local_store import Place, sha256


def test_verified(place: Place) -> None:
    with pytest.raises(StackError) as caught:
        verified(place.wanted())
    assert caught.value.id == "model.not_stored"
    place.run(chat_template="{{ x }}")
    outcome = verified(place.wanted())
    assert not outcome.changed
    assert outcome.facts["verified_by"] == "hash"
    assert outcome.facts["chat_template"] == str(place.template)
    status = place.model.stat()
    place.model.write_bytes(place.model.read_bytes()[:-1] + b"\0")
    os.utime(place.model, ns=(status.st_atime_ns, status.st_mtime_ns))
    # The change hides from size, time and inode, but not from reading.
    assert not place.run(chat_template="{{ x }}").changed
    with pytest.raises(StackError) as caught:
        verified(place.wanted(), check=True)
    assert caught.value.id == "model.corrupt"
    assert not place.run(chat_template="{{ x }}").changed
    # As the message says: now it is known that the file has to be replaced.
    with pytest.raises(StackError, match="fetches or makes it again"):
        verified(place.wanted())
    assert place.run(chat_template="{{ x }}").changed
    assert verified(place.wanted()).facts["sha256"] == sha256(place.source.read_bytes())


def test_verified_reads_the_tokenizer_too(place: Place) -> None:
    place.run()
    content = place.tokenizer.read_bytes()
    status = place.tokenizer.stat()
    place.tokenizer.write_bytes(content[:-2] + b" }")
    os.utime(place.tokenizer, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(StackError, match=re.escape(place.tokenizer.name)) as caught:
        verified(place.wanted())
    assert caught.value.id == "model.corrupt"
    assert place.run().changed
    assert place.tokenizer.read_bytes() == content
    place.tokenizer.unlink()
    with pytest.raises(StackError, match="is missing"):
        verified(place.wanted())


def test_verified_tells_when(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.run()
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    for check, expected in ((True, False), (False, True)):
        verified(place.wanted(), check)
        assert (read_sidecar(place.wanted())["verified_at"] == 2_000_000_000) == expected
    # What another run is working on is left to it.
    monkeypatch.setattr(time, "time", lambda: 2_000_000_001.0)
    with locked(place.wanted()):
        verified(place.wanted())
    assert read_sidecar(place.wanted())["verified_at"] == 2_000_000_000
    assert not place.run().changed


def test_who_is_stopped_stops_all_that_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        place.run(name=name, file=f"{name}.gguf")
    both = [place.wanted(name=name, file=f"{name}.gguf") for name in ("one", "two")]
    begun, ended = threading.Event(), []

    def hash_file(path: str, seen: Callable[[int], None]) -> str:
        if path.endswith("one.gguf"):
            assert begun.wait(10)
            raise KeyboardInterrupt
        begun.set()
        until = time.monotonic() + 10
        try:
            while time.monotonic() < until:
                seen(1)
                time.sleep(0.01)
        finally:
            ended.append(time.monotonic() < until)
        return ""

    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})
    monkeypatch.setattr(entry, "hash_file", hash_file)
    with pytest.raises(KeyboardInterrupt):
        verified_all(both)
    assert ended == [True]


def test_several_are_verified_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits in its reading for the other; and everything that is wrong is said."""
    for name in ("one", "two"):
        place.run(name=name, file=f"{name}.gguf")
    both = [place.wanted(name=name, file=f"{name}.gguf") for name in ("one", "two")]
    reading = threading.Barrier(2, timeout=10)

    def hash_file(path: str, *_seen: object) -> str:
        reading.wait()
        return hash_of(path)

    hash_of = entry.hash_file
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})
    monkeypatch.setattr(entry, "hash_file", hash_file)
    assert [outcome.facts["name"] for outcome in verified_all(both)] == ["one", "two"]
    broken = place.store / "two.gguf"
    broken.write_bytes(broken.read_bytes()[:-1] + b"\0")
    missing = place.wanted(name="three", file="three.gguf")
    with pytest.raises(StackErrors) as caught:
        verified_all([missing, *both])
    assert [error.id for error in caught.value.errors] == ["model.not_stored", "model.corrupt"]
    assert str(caught.value).count("\n") == 1
    assert caught.value.id == "model.not_stored"


def test_verified_needs_something_to_compare_with(place: Place) -> None:
    place.run()
    place.sidecar.unlink()
    with pytest.raises(StackError) as caught:
        verified(place.wanted())
    assert caught.value.id == "model.not_recorded"
    digest = sha256(place.model.read_bytes())
    assert verified(place.wanted(sha256=digest)).facts["sha256"] == digest
