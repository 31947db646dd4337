# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import model_source
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._store import apply, entry, plan
from ansible_collections.mistralrs.stack.plugins.module_utils._store.contents import surplus
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.outcome import Outcome

from tests.unit.plugins.module_utils._store.local_store import ACCESS, FILE, MADE, Place, sha256


def test_present(place: Place) -> None:
    outcome = place.run()
    data = place.source.read_bytes()
    assert outcome.changed
    assert place.model.read_bytes() == data
    assert place.files() == {FILE, *MADE, f".store/{FILE}.json"}
    assert outcome.before == {}
    assert outcome.after["sha256"] == sha256(data)
    assert outcome.facts == {
        "name": "tiny",
        "quantization": "q4_0",
        "id": "tiny-q4_0",
        "aliases": ["tiny-q4_0", FILE, "tiny", "tiny-q4_0"][:3],
        "file": FILE,
        "path": str(place.model),
        "sha256": sha256(data),
        "size": len(data),
        "tokenizer": str(place.tokenizer),
        "tokenizer_config": str(place.store / "tiny-q4_0.tokenizer_config.json"),
        "config": "",
        # <s>, and what the tiny vocabulary has to spell in bytes
        "prompt_tokens": 60,
        "chat_template": "",
        "embedded_chat_template": False,
        "gguf": outcome.facts["gguf"],
        "verified_by": "hash",
        "directory": False,
        "files": [],
        "sealed": "",
        "revision": "",
        "source": place.source.as_uri(),
    }
    assert outcome.facts["gguf"]["architecture"] == "llama"
    for path in (place.model, place.tokenizer, place.sidecar):
        assert path.stat().st_mode & 0o777 == 0o644
    for path in (place.store, place.sidecar.parent, place.incoming):
        assert path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "model.not_gguf"),
        (b"<html>login</html>", "model.not_gguf"),
        (b"GGUF\3\0\0\0", "model.gguf_truncated"),
    ],
)
@pytest.mark.parametrize("old", [True, False])
def test_bad_files_never_replace_good_ones(place: Place, data: bytes, error: str, old: bool) -> None:
    if old:
        place.run()
    kept = place.model.read_bytes() if old else None
    place.put(data)
    assert place.error(check=True).id == error
    assert place.error().id == error
    assert (place.model.read_bytes() if place.model.exists() else None) == kept
    if old:
        place.put(kept or b"")
        place.run()
        assert not any(place.incoming.iterdir())


def test_wrong_checksum_keeps_the_old_file(place: Place) -> None:
    place.run()
    kept = place.model.read_bytes()
    place.put(place.gguf.sentencepiece(add_bos_token=False))
    for check in (True, False):
        error = place.error(check=check, sha256="0" * 64)
        assert error.id == "model.checksum_mismatch"
        assert sha256(place.source.read_bytes()) in str(error)
    assert place.model.read_bytes() == kept
    assert not any(place.incoming.iterdir())
    assert not list(place.sidecar.parent.glob("*.lock"))


def test_what_a_killed_run_left_is_removed(place: Place) -> None:
    place.run()
    (place.incoming / (FILE + ".part")).write_bytes(b"x" * 100)
    (place.incoming / "other.gguf.part").write_bytes(b"x")
    (place.sidecar.parent / (FILE + ".lock")).write_bytes(b"")
    place.model.unlink()
    assert place.run().changed
    # The part of another model may still be gone on with; it is listed as what pruning frees.
    other = ".store/incoming/other.gguf.part"
    assert place.files() == {FILE, *MADE, f".store/{FILE}.json", other}
    taken = (place.store / other).stat().st_blocks * 512
    assert surplus(str(place.store), [FILE]) == {"other.gguf": {"file": "other.gguf", "size": taken}}


def test_what_another_run_publishes_is_no_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at what is left and the look at its size another run may give it its final name."""
    left_behind = plan.left_behind

    def vanished(wanted: Wanted) -> list[str]:
        return [*left_behind(wanted), str(place.incoming / f"{FILE}.copy")]

    monkeypatch.setattr(plan, "left_behind", vanished)
    assert place.run().changed


def test_many_at_once_write_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fetches = []
    fetch = apply.fetch

    def counted(*arguments: Any) -> Any:
        fetches.append(1)
        return fetch(*arguments)

    monkeypatch.setattr(apply, "fetch", counted)
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda: outcomes.append(place.run())) for _index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetches) == 1
    assert sorted(outcome.changed for outcome in outcomes) == [False] * 7 + [True]
    assert place.files() == {FILE, *MADE, f".store/{FILE}.json"}


@pytest.mark.parametrize("is_altered", [True, False])
def test_a_foreign_file_is_owned_before_it_is_read_for_good(place: Place, is_altered: bool) -> None:
    """Its owner alters it after it was read, and puts the time back: the record must say what lies there."""
    good = place.source.read_bytes()
    place.store.mkdir(mode=0o755)
    place.model.write_bytes(good)
    place.model.chmod(0o666)
    wanted = place.wanted(sha256=sha256(good))
    source = model_source.parse_source("tiny", place.source.as_uri(), "", wanted.sha256)
    prepared = plan.prepare(wanted, source, ACCESS)
    assert prepared.plan.adopt
    status = place.model.stat()
    if is_altered:
        place.model.write_bytes(good[:-1] + b"\0")
        os.utime(place.model, ns=(status.st_atime_ns, status.st_mtime_ns))
    outcome = apply.apply(prepared, ACCESS)
    assert outcome.changed
    assert place.model.stat().st_mode & 0o777 == 0o644
    assert (outcome.before["mode"], outcome.after["mode"]) == ("0666", "0644")
    assert outcome.facts["sha256"] == sha256(place.model.read_bytes()) == wanted.sha256
    assert (place.model.stat().st_ino == status.st_ino) == (not is_altered)
    assert not place.run(sha256=wanted.sha256).changed


def test_a_file_that_others_may_write_to_is_read_only_after_they_no_longer_may(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.store.mkdir(mode=0o755)
    place.model.write_bytes(place.source.read_bytes())
    place.model.chmod(0o666)
    modes: list[int] = []
    hash_of = entry.hash_file

    def hash_file(path: str, seen: Any) -> str:
        modes.append(os.stat(path).st_mode & 0o777)
        return hash_of(path, seen)

    monkeypatch.setattr(entry, "hash_file", hash_file)
    assert place.run().changed
    assert modes == [0o666, 0o644]


class Verity:
    """What the file system can do; sealed are inodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there = True
        self.refuses = False
        self.sealed: set[int] = set()
        self.tried = 0
        monkeypatch.setattr(local, "seal", self.seal)
        monkeypatch.setattr(local, "sealed_digest", self.digest)
        monkeypatch.setattr(local, "can_be_sealed", lambda path: self.there and not self.digest(path))

    def seal(self, path: str) -> str:
        self.tried += 1
        if self.there and not self.refuses:
            self.sealed.add(os.stat(path).st_ino)
        return self.digest(path)

    def digest(self, path: str) -> str:
        return "sha256:00" if os.stat(path).st_ino in self.sealed else ""


def test_sealing_is_tried_again_where_it_became_possible(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    verity = Verity(monkeypatch)
    verity.there = False
    assert place.run(seal=True).facts["sealed"] == ""
    assert (place.run(seal=True).changed, verity.tried) == (False, 1)
    # As after 'tune2fs -O verity'.
    verity.there = True
    outcome = place.run(seal=True)
    assert (outcome.changed, outcome.facts["sealed"]) == (True, "sha256:00")
    assert (place.run(seal=True).changed, verity.tried) == (False, 2)


def test_a_file_system_that_refuses_to_seal_is_not_asked_for_ever(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    verity = Verity(monkeypatch)
    verity.refuses = True
    assert place.run(seal=True).changed
    assert (place.run(seal=True).changed, verity.tried) == (False, 1)


@pytest.mark.parametrize("seal", [True, False])
def test_another_file_of_the_same_content_is_not_taken_for_sealed(
    place: Place, seal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a copy out of a backup."""
    verity = Verity(monkeypatch)
    assert place.run(seal=True).facts["sealed"]
    copy = place.model.with_suffix(".copy")
    copy.write_bytes(place.model.read_bytes())
    copy.chmod(0o644)
    copy.replace(place.model)
    outcome = place.run(seal=seal)
    assert (outcome.changed, outcome.facts["sealed"]) == (seal, "sha256:00" if seal else "")
    assert bool(verity.digest(str(place.model))) == seal
    assert not place.run(seal=seal).changed
