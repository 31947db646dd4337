# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._store import entry

from tests.unit.plugins.module_utils._store.local_store import Place, sha256


def test_again_reads_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.run()
    place.source.unlink()
    monkeypatch.setattr(entry, "hash_file", lambda *_arguments: pytest.fail("the model was read"))
    before = {name: (place.store / name).stat() for name in place.files()}
    outcome = place.run()
    assert not outcome.changed
    assert outcome.before == outcome.after
    assert outcome.facts["verified_by"] == "sidecar"
    assert {name: (place.store / name).stat() for name in place.files()} == before


def test_check_mode_predicts_and_touches_nothing(place: Place) -> None:
    digest = sha256(place.source.read_bytes())
    predicted = place.run(check=True, sha256=digest, chat_template="{{ x }}")
    assert not place.store.exists()
    real = place.run(sha256=digest, chat_template="{{ x }}")
    assert (predicted.changed, predicted.before, predicted.after) == (True, real.before, real.after)
    for key, value in predicted.facts.items():
        assert key in ("verified_by", "prompt_tokens") or real.facts[key] == value
    assert not place.run(check=True, sha256=digest, chat_template="{{ x }}").changed


def test_another_sha256_fetches_again(place: Place) -> None:
    place.run()
    place.put(place.gguf.sentencepiece(add_bos_token=False))
    digest = sha256(place.source.read_bytes())
    assert place.run(check=True, sha256=digest).changed
    outcome = place.run(sha256=digest)
    assert outcome.changed
    assert outcome.before["sha256"] != outcome.after["sha256"] == digest
    assert sha256(place.model.read_bytes()) == digest
    assert not place.run(sha256=digest).changed
    assert json.loads(place.tokenizer.read_text())["post_processor"] is None


def test_a_replaced_source_fetches_again(place: Place) -> None:
    place.run()
    place.put(place.gguf.build())
    assert place.run(check=True).changed
    outcome = place.run()
    assert outcome.changed
    assert place.model.read_bytes() == place.source.read_bytes()
    # The new content has no SentencePiece vocabulary, so that the old tokenizer.json would be wrong.
    assert not place.tokenizer.exists()
    assert outcome.facts["tokenizer"] == ""
    assert not place.run().changed


def test_another_source_fetches_again(place: Place, tmp_path: Path) -> None:
    place.run()
    other = tmp_path / "other.gguf"
    other.write_bytes(place.gguf.build())
    assert place.run(url=other.as_uri()).changed
    assert place.model.read_bytes() == other.read_bytes()
    # With a sha256 the content counts, not where it came from.
    digest = sha256(other.read_bytes())
    assert not place.run(sha256=digest).changed


def test_adoption(place: Place) -> None:
    place.store.mkdir()
    place.model.write_bytes(place.source.read_bytes())
    os.chmod(place.model, 0o600)
    inode = place.model.stat().st_ino
    place.source.unlink()
    assert place.run(check=True).changed
    outcome = place.run()
    assert outcome.changed
    assert outcome.facts["verified_by"] == "hash"
    assert place.model.stat().st_ino == inode
    assert place.model.stat().st_mode & 0o777 == 0o644
    assert place.tokenizer.exists()
    assert not place.run().changed


def test_what_was_known_of_other_content_is_forgotten(place: Place, tmp_path: Path) -> None:
    """A run was killed between the model and its record, or somebody put a new file over the old one."""
    place.run()
    old = place.tokenizer.read_bytes()
    new = place.gguf.sentencepiece([*place.gguf.pieces, ("new", -30.0, 1)], add_bos_token=False)
    place.put(new)
    other = tmp_path / "other.gguf"
    other.write_bytes(new)
    os.rename(other, place.model)
    predicted = place.run(check=True, sha256=sha256(new))
    outcome = place.run(sha256=sha256(new))
    assert predicted.changed
    assert outcome.changed
    assert predicted.facts["gguf"] == outcome.facts["gguf"]
    assert outcome.facts["gguf"]["vocabulary"] == len(place.gguf.pieces) + 1
    assert json.loads(place.sidecar.read_text())["gguf"] == outcome.facts["gguf"]
    assert place.tokenizer.read_bytes() != old
    assert json.loads(place.tokenizer.read_text())["post_processor"] is None
    assert not place.run(sha256=sha256(new)).changed


def test_a_wrong_file_is_not_adopted(place: Place) -> None:
    place.store.mkdir()
    place.model.write_bytes(place.gguf.build())
    digest = sha256(place.source.read_bytes())
    assert place.run(sha256=digest).changed
    assert sha256(place.model.read_bytes()) == digest


def test_garbage_is_not_adopted(place: Place) -> None:
    place.store.mkdir()
    place.model.write_bytes(b"garbage")
    assert place.error().id == "model.not_gguf"


def test_a_touched_file_is_read_again(place: Place) -> None:
    place.run()
    os.utime(place.model, ns=(1, 1))
    assert not place.run(check=True).changed
    outcome = place.run()
    assert not outcome.changed
    assert outcome.facts["verified_by"] == "hash"
    assert place.run().facts["verified_by"] == "sidecar"


def test_an_altered_file_is_fetched_again(place: Place) -> None:
    place.run()
    good = place.model.read_bytes()
    place.model.write_bytes(good[:-1] + b"\0")
    assert place.run(check=True).changed
    assert place.run().changed
    assert place.model.read_bytes() == good


def test_lost_things_come_back(place: Place) -> None:
    place.run()
    place.tokenizer.unlink()
    os.chmod(place.model, 0o600)
    assert place.run(check=True).changed
    assert place.run().changed
    assert place.tokenizer.exists()
    assert place.model.stat().st_mode & 0o777 == 0o644
    place.tokenizer.write_text("{}")
    assert place.run().changed
    assert not place.run().changed
    place.sidecar.write_text("not json")
    assert place.run().changed
    assert not place.run().changed
