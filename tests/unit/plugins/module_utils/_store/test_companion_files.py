# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the store makes of headers is there, complete, checked, and goes with the model."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import http_client, huggingface, model_source
from ansible_collections.mistralrs.stack.plugins.module_utils._store import companion_files, entry
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.apply import present
from ansible_collections.mistralrs.stack.plugins.module_utils._store.contents import absent, listing
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted, made_path
from ansible_collections.mistralrs.stack.plugins.module_utils._store.outcome import Outcome
from ansible_collections.mistralrs.stack.plugins.module_utils._store.verify import verified

FILE = "m-q4_0.gguf"
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
KINDS = ("tokenizer", "tokenizer_config", "config")
MISTRAL = {
    "general.architecture": "llama",
    "general.name": "Mistral 7B Instruct v0.3",
    "llama.block_count": 1,
    "llama.context_length": 64,
    "llama.embedding_length": 8,
    "llama.feed_forward_length": 16,
    "llama.attention.head_count": 2,
    "llama.attention.head_count_kv": 1,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 1000000.0,
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.chat_template": TEMPLATE,
}


class Place:
    """A source file and a store."""

    def __init__(self, folder: Path, gguf: Any) -> None:
        self.gguf, self.source, self.store = gguf, folder / "source.gguf", folder / "models"
        self.sidecar = self.store / ".store" / f"{FILE}.json"
        self.wanted = Wanted(str(self.store), "m", "q4_0", FILE, "", "")
        self.put()

    def put(self, **changes: Any) -> None:
        vocabulary = {
            "tokenizer.ggml.tokens": [piece for piece, _score, _kind in self.gguf.pieces],
            "tokenizer.ggml.scores": [score for _piece, score, _kind in self.gguf.pieces],
            "tokenizer.ggml.token_type": [kind for _piece, _score, kind in self.gguf.pieces],
        }
        self.source.write_bytes(self.gguf.build({**MISTRAL, **vocabulary, **changes}))

    def path(self, kind: str) -> Path:
        return Path(made_path(self.wanted, kind))

    def run(self, check: bool = False) -> Outcome:
        source = model_source.parse_source("m", self.source.as_uri(), "", "")
        access = Access(http_client.Settings(timeout=10), huggingface.HubSettings())
        return present(self.wanted, source, access, check)

    def made(self) -> set[str]:
        return {kind for kind in KINDS if self.path(kind).exists()}

    def make_old(self, *kinds: str) -> None:
        """What a store of 1.0 has: no such files, no such records, and a summary that does not tell."""
        record = json.loads(self.sidecar.read_text())
        del record["gguf"]["needs_config"], record["checks"]
        for kind in kinds:
            del record[kind]
            self.path(kind).unlink()
        self.sidecar.write_text(json.dumps(record))


@pytest.fixture
def place(tmp_path: Path, gguf: Any) -> Place:
    return Place(tmp_path, gguf)


def test_all_is_made_and_told(place: Place) -> None:
    predicted = place.run(check=True)
    assert not place.store.exists()
    outcome = place.run()
    for facts in (predicted.facts, outcome.facts):
        assert {kind: facts[kind] for kind in KINDS} == {kind: str(place.path(kind)) for kind in KINDS}
    assert {**predicted.after, "sha256": ""} == {**outcome.after, "sha256": ""}
    assert outcome.after["config"] == "m-q4_0.config.json"
    assert json.loads(place.path("config").read_text())["architectures"] == ["MistralForCausalLM"]
    assert json.loads(place.path("tokenizer_config").read_text())["chat_template"] == TEMPLATE
    for kind in KINDS:
        assert place.path(kind).stat().st_mode & 0o777 == 0o644
    record = json.loads(place.sidecar.read_text())
    assert all(record[kind]["file"] == place.path(kind).name for kind in KINDS)
    assert not place.run().changed
    assert listing(str(place.store))["others"] == []


def test_a_model_that_needs_less(place: Place) -> None:
    place.put(**{"general.name": "Llama 2"})
    assert place.run().facts["config"] == ""
    assert place.made() == {"tokenizer", "tokenizer_config"}
    place.put(**{"tokenizer.ggml.model": "gpt2"})
    facts = place.run().facts
    assert place.made() == {"config"}
    assert (facts["tokenizer"], facts["tokenizer_config"]) == ("", "")
    # What an earlier content had is gone with it.
    place.put(**{"general.name": "Other", "tokenizer.ggml.model": "gpt2"})
    place.run()
    assert place.made() == set()
    assert not place.run().changed


@pytest.mark.parametrize("lacking", [("config",), ("tokenizer_config", "config")], ids=["config", "both"])
def test_an_older_store_is_completed_without_reading_the_model(
    place: Place, monkeypatch: pytest.MonkeyPatch, lacking: tuple[str, ...]
) -> None:
    place.run()
    contents = {kind: place.path(kind).read_bytes() for kind in KINDS}
    verified_at = json.loads(place.sidecar.read_text())["verified_at"]
    place.make_old(*lacking)
    kept = {kind: place.path(kind).stat() for kind in KINDS if kind not in lacking}
    place.source.unlink()
    monkeypatch.setattr(entry, "hash_file", lambda *_arguments: pytest.fail("the model was read"))
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    predicted = place.run(check=True)
    assert place.made() == set(KINDS) - set(lacking)
    outcome = place.run()
    assert (predicted.changed, outcome.changed) == (True, True)
    assert predicted.facts == outcome.facts
    assert (predicted.before, predicted.after) == (outcome.before, outcome.after)
    assert [key for key in outcome.after if outcome.after[key] != outcome.before[key]] == list(lacking)
    assert {kind: place.path(kind).read_bytes() for kind in KINDS} == contents
    assert {kind: place.path(kind).stat() for kind in kept} == kept
    assert json.loads(place.sidecar.read_text())["verified_at"] == verified_at
    assert not place.run().changed


def test_an_older_record_of_a_model_that_needs_nothing_is_no_change(place: Place) -> None:
    place.put(**{"general.name": "Other", "tokenizer.ggml.model": "gpt2"})
    place.run()
    place.make_old()
    before = place.run(check=True)
    outcome = place.run()
    assert (before.changed, outcome.changed) == (False, False)
    assert json.loads(place.sidecar.read_text())["gguf"]["needs_config"] is False
    record = place.sidecar.stat()
    assert not place.run().changed
    assert place.sidecar.stat() == record


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_lost_or_altered_is_made_again(place: Place, kind: str) -> None:
    place.run()
    content = place.path(kind).read_bytes()
    others = {other: place.path(other).stat() for other in KINDS if other != kind}
    place.path(kind).unlink()
    assert place.run(check=True).changed
    assert place.run().changed
    assert place.path(kind).read_bytes() == content
    place.path(kind).write_text("{}")
    assert place.run().changed
    assert place.path(kind).read_bytes() == content
    assert {other: place.path(other).stat() for other in others} == others
    assert not place.run().changed


@pytest.mark.parametrize("kind", KINDS)
def test_verified_reads_it(place: Place, kind: str) -> None:
    place.run()
    path = place.path(kind)
    content, status = path.read_bytes(), path.stat()
    path.write_bytes(content[:-2] + b" }")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(StackError, match="fetches or makes it again") as caught:
        verified(place.wanted)
    assert caught.value.id == "model.corrupt"
    assert path.name in str(caught.value)
    # As the message says: it is known now, and only that file is made again.
    assert place.run().changed
    assert path.read_bytes() == content
    facts = verified(place.wanted).facts
    assert facts[kind] == str(path)


def test_verified_tells_of_nothing_that_an_older_store_lacks(place: Place) -> None:
    place.run()
    place.make_old("config")
    facts = verified(place.wanted).facts
    assert (facts["config"], facts["tokenizer"]) == ("", str(place.path("tokenizer")))


def test_absent_removes_all(place: Place) -> None:
    place.run()
    assert absent(place.wanted, check=False).changed
    assert place.made() == set()
    # Also what a run left that was killed before it wrote its record.
    place.path("config").write_text("{}")
    assert absent(place.wanted, check=False).changed
    assert place.made() == set()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_published_before_it_is_complete(place: Place, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    place.run()
    place.make_old()
    place.path(kind).unlink()
    kept = {other: place.path(other).stat() for other in KINDS if other != kind}
    written = companion_files._written

    def interrupted(wanted: Any, what: str, write: Any) -> Any:
        if what == kind:
            raise OSError(5, "Input/output error", place.path(kind))
        return written(wanted, what, write)

    with monkeypatch.context() as patched:
        patched.setattr(companion_files, "_written", interrupted)
        with pytest.raises(StackError, match="store_unusable"):
            place.run()
    assert not place.path(kind).exists()
    assert {other: place.path(other).stat() for other in kept} == kept
    assert not list((place.store / ".store" / "incoming").iterdir())
    assert place.run().changed
    assert place.made() == set(KINDS)


def test_a_split_model_is_looked_at_as_a_whole(place: Place) -> None:
    """Its metadata is in the first file, and its last tensor, which says that nothing is tied, in the last."""
    metadata = {**MISTRAL, "split.count": 2, "split.no": 0, "tokenizer.ggml.model": "gpt2"}
    first = place.gguf.build({**metadata, "llama.vocab_size": 300})
    second = place.gguf.build({"general.architecture": "llama", "split.count": 2}, {"output.weight": ([4, 2], 0, 32)})
    place.source.unlink()
    place.source.mkdir()
    (place.source / "m-00001-of-00002.gguf").write_bytes(first)
    (place.source / "m-00002-of-00002.gguf").write_bytes(second)
    facts = place.run().facts
    assert facts["directory"]
    config = json.loads(Path(facts["config"]).read_text())
    assert (config["tie_word_embeddings"], config["vocab_size"]) == (False, 300)
    assert place.made() == {"config"}
    assert not place.run().changed


def test_a_header_that_can_not_be_used_writes_none_of_them(place: Place) -> None:
    place.put(**{"llama.block_count": "many"})
    with pytest.raises(StackError, match="config_unusable"):
        place.run()
    assert place.made() == set()
    assert not place.sidecar.exists()
