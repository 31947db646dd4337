# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of several files: complete, of one commit, fetched once, and going on after an interruption."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.verify import verified

from tests.fakes.hub.hub import COMMIT
from tests.fakes.hub.model_files import CONFIG, repository, shards, tensors
from tests.fakes.hub.place import LABEL, REPOSITORY, Place, make_model


@pytest.mark.parametrize("source", ["", f"/{'m-Q4_K_M-00002-of-00003.gguf'}"])
def test_a_split_model_is_complete(place: Place, source: str) -> None:
    files = shards(place.gguf)
    place.hub.add(REPOSITORY, files)
    outcome = place.fetch(place.source + source)
    folder = place.final.with_suffix("")
    assert outcome.facts["path"] == str(folder)
    assert outcome.facts["files"] == sorted(files)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    listing = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    assert outcome.facts["sha256"] == hashlib.sha256(listing.encode()).hexdigest()
    assert outcome.facts["gguf"]["shards"] == 3
    asked = len(place.hub.origin.log)
    assert not place.fetch(place.source + source).changed
    assert len(place.hub.origin.log) == asked


def test_40_one_of_three_shards_is_bad(place: Place) -> None:
    files = shards(place.gguf)
    place.hub.add(REPOSITORY, files)
    bad = place.hub.blob_path(files["m-Q4_K_M-00002-of-00003.gguf"])
    place.hub.cdn.fault(bad, body=make_model(place.gguf, 65536, fill=9, **{"split.count": 3}), times=-1)
    place.fails("checksum_mismatch")
    assert not place.final.with_suffix("").exists()
    place.hub.cdn.faults.clear()
    place.hub.cdn.log.clear()
    place.fetch()
    # The first one was complete already.
    assert len(place.bodies()) == 2


def test_of_a_new_commit_only_what_is_new_is_fetched(place: Place) -> None:
    """A publisher who mends one file of a large model; or one shard of many that has rotted on the disk."""
    old = shards(place.gguf)
    place.hub.add(REPOSITORY, old)
    place.fetch()
    name = "m-Q4_K_M-00002-of-00003.gguf"
    new = {**old, name: make_model(place.gguf, 65536, fill=11, **{"split.count": 3})}
    place.hub.add(REPOSITORY, new, commit="d" * 40)
    place.hub.cdn.log.clear()
    folder = place.final.with_suffix("")
    assert place.fetch(f"{place.source}@{'d' * 40}").changed
    assert [each.path.partition("?")[0] for each in place.hub.cdn.log] == [place.hub.blob_path(new[name])]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == new
    # What is not what its record says is not taken over.
    damaged = folder / "m-Q4_K_M-00001-of-00003.gguf"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    place.hub.cdn.log.clear()
    assert place.fetch(f"{place.source}@{'d' * 40}").changed
    assert len(place.hub.cdn.log) == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == new


def test_40_a_shard_of_another_commit(place: Place) -> None:
    """The publisher replaced the files between two runs: what is kept of the first run is none of them."""
    old = shards(place.gguf)
    place.hub.add(REPOSITORY, old)
    place.hub.cdn.fault(place.hub.blob_path(old["m-Q4_K_M-00002-of-00003.gguf"]), cut_after=30_000)
    place.fails("interrupted", retries=0)
    new = {name: make_model(place.gguf, 65536, fill=10 + index, **{"split.count": 3}) for index, name in enumerate(old)}
    place.hub.add(REPOSITORY, new, commit="d" * 40)
    place.hub.cdn.log.clear()
    outcome = place.fetch()
    assert outcome.facts["revision"] == "d" * 40
    assert {path.name: path.read_bytes() for path in place.final.with_suffix("").iterdir()} == new
    assert place.bodies() == ["", "", ""]


def test_40_shards_that_are_not_one_model(place: Place) -> None:
    files = shards(place.gguf)
    files["m-Q4_K_M-00001-of-00003.gguf"] = make_model(place.gguf, 65536, **{"split.count": 5})
    place.hub.add(REPOSITORY, files)
    assert "3 of its files are there, but its header says 5" in place.fails("shards_incomplete")
    assert not place.final.with_suffix("").exists()


def test_a_split_model_has_a_tokenizer_too(place: Place) -> None:
    """Its vocabulary is in the first shard; also where an earlier version made none."""
    first = place.gguf.sentencepiece(count=2)
    second = place.gguf.build({"general.architecture": "llama", "split.count": 2}, {"b": ([256], 12, 144)})
    files = {"m-Q4_K_M-00001-of-00002.gguf": first, "m-Q4_K_M-00002-of-00002.gguf": second}
    place.hub.add(REPOSITORY, files)
    facts = place.fetch().facts
    assert facts["tokenizer"] == str(place.store / f"m-{LABEL}.tokenizer.json")
    assert facts["prompt_tokens"] > 0
    tokenizer = Path(facts["tokenizer"])
    content = tokenizer.read_bytes()
    record = place.store / ".store" / f"{place.final.name}.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "tokenizer": None}))
    tokenizer.unlink()
    assert place.fetch().changed
    assert tokenizer.read_bytes() == content
    assert not place.fetch().changed


def test_a_repository_of_safetensors(place: Place) -> None:
    files = repository()
    place.hub.add(REPOSITORY, files)
    outcome = place.fetch()
    folder = place.final.with_suffix("")
    there = {path.name for path in folder.iterdir()}
    assert there == set(files) - {"README.md", "pytorch_model.bin", ".gitattributes"}
    assert all((folder / name).read_bytes() == files[name] for name in there)
    gguf = outcome.facts["gguf"]
    assert (gguf["architecture"], gguf["parameters"], gguf["chat_template"]) == ("qwen2", 2048, True)
    assert not place.fetch().changed
    # Git's digest is all that the hub says of small files.
    place.hub.repositories[REPOSITORY].commit = "d" * 40
    wanted = Wanted(str(place.store), "m", LABEL, place.final.name, "", "")
    assert verified(wanted).facts["verified_by"] == "hash"


def test_the_same_weights_are_fetched_once(place: Place) -> None:
    """Mistral's repositories hold them once more for its own programs."""
    place.hub.add(REPOSITORY, {**repository(), "consolidated.safetensors": tensors()})
    assert "consolidated.safetensors" not in place.fetch().facts["files"]
    place.hub.add("org/own", {"consolidated.safetensors": tensors(), "config.json": b"{}"})
    assert place.fetch("hf://org/own").facts["files"] == ["config.json", "consolidated.safetensors"]


def test_a_small_file_is_checked_by_gits_digest(place: Place) -> None:
    place.hub.add(REPOSITORY, repository())
    path = f"/{REPOSITORY}/resolve/{COMMIT}/config.json"
    headers = {"Location": f"{place.plain.url}/config.json"}
    place.hub.origin.fault(path, status=302, headers=headers, times=-1)
    place.plain.files["/config.json"] = b'{"model_type": "evil"}'.ljust(len(json.dumps(CONFIG)))
    place.fails("checksum_mismatch")


def test_an_interrupted_set_goes_on(place: Place) -> None:
    files = shards(place.gguf)
    place.hub.add(REPOSITORY, files)
    place.hub.cdn.fault(place.hub.blob_path(files["m-Q4_K_M-00002-of-00003.gguf"]), cut_after=30_000)
    place.fails("interrupted", retries=0)
    place.hub.cdn.log.clear()
    place.fetch()
    assert place.bodies() == ["bytes=30000-", ""]
    assert {path.name for path in place.final.with_suffix("").iterdir()} == set(files)
