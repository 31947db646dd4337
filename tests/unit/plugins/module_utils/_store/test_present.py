# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError, StackErrors
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import http_client, huggingface, model_source
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._store import apply, contents, disk_space, entry, plan
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.apply import present
from ansible_collections.mistralrs.stack.plugins.module_utils._store.contents import absent, surplus
from ansible_collections.mistralrs.stack.plugins.module_utils._store.entry import read_ahead, read_entry
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.lock import locked, release_lock, take_lock
from ansible_collections.mistralrs.stack.plugins.module_utils._store.outcome import Outcome
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import read_sidecar
from ansible_collections.mistralrs.stack.plugins.module_utils._store.verify import verified, verified_all

FILE = "tiny-q4_0.gguf"
MADE = {"tiny-q4_0.tokenizer.json", "tiny-q4_0.tokenizer_config.json"}
ACCESS = Access(http_client.Settings(timeout=10), huggingface.HubSettings())


class Place:
    """A source file and a store."""

    def __init__(self, folder: Path, gguf: Any) -> None:
        self.gguf = gguf
        self.source = folder / "source.gguf"
        self.store = folder / "models"
        self.model = self.store / FILE
        self.sidecar = self.store / ".store" / (FILE + ".json")
        self.incoming = self.store / ".store" / "incoming"
        self.tokenizer = self.store / "tiny-q4_0.tokenizer.json"
        self.template = self.store / "tiny-q4_0.jinja"
        self.put(gguf.sentencepiece())

    def put(self, data: bytes) -> None:
        self.source.write_bytes(data)

    def wanted(self, **changes: str) -> Wanted:
        wanted = Wanted(str(self.store), "tiny", "q4_0", FILE, "", "")
        return wanted._replace(**changes)

    def run(self, check: bool = False, url: str = "", seal: bool = False, **changes: str) -> Outcome:
        wanted = self.wanted(**changes)
        source = model_source.parse_source("tiny", url or self.source.as_uri(), "", wanted.sha256)
        return present(wanted, source, ACCESS._replace(seal=seal), check)

    def error(self, **arguments: Any) -> StackError:
        with pytest.raises(StackError) as caught:
            self.run(**arguments)
        assert "\n" not in str(caught.value)
        return caught.value

    def files(self) -> set[str]:
        return {str(path.relative_to(self.store)) for path in self.store.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path, gguf: Any) -> Place:
    return Place(tmp_path, gguf)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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


def test_chat_template(place: Place) -> None:
    assert place.run(chat_template="{{ a }}\n").facts["chat_template"] == str(place.template)
    assert place.template.read_text() == "{{ a }}\n"
    assert not place.run(chat_template="{{ a }}\n").changed
    assert place.run(chat_template="{{ b }}").changed
    assert place.template.read_text() == "{{ b }}"
    assert place.run(check=True).changed
    assert place.run().changed
    assert not place.template.exists()
    for text in (" \n", "no expression", "{{ x }}" + " " * (1 << 20)):
        assert place.error(chat_template=text).id == "model.chat_template_invalid"


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


def test_what_others_are_writing_is_left_alone(place: Place) -> None:
    place.run()
    lock = str(place.sidecar.parent / "other.gguf.lock")
    descriptor = take_lock(lock)
    assert descriptor >= 0
    part = place.incoming / "other.gguf.part"
    part.write_bytes(b"x")
    place.tokenizer.unlink()
    place.run()
    assert part.exists()
    assert take_lock(lock) == -1
    release_lock(lock, descriptor)


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
