# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files hubs give for what is asked, and what is refused before the first byte."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors

from tests.fakes.hub.hub import COMMIT, TOKEN
from tests.fakes.hub.model_files import shards
from tests.fakes.hub.place import REMOTE, REPOSITORY, Place


def test_a_revision_is_pinned_to_its_commit(place: Place) -> None:
    outcome = place.fetch()
    assert outcome.facts["revision"] == COMMIT
    assert json.loads((place.store / ".store" / f"{place.final.name}.json").read_text())["revision"] == COMMIT
    assert f"/{REPOSITORY}/resolve/{COMMIT}/{REMOTE}" in place.hub.origin.asked("GET")


def test_check_mode_asks_only_for_metadata(place: Place) -> None:
    outcome = place.fetch(check=True)
    assert outcome.after["sha256"] == hashlib.sha256(place.content).hexdigest()
    assert place.hub.cdn.log == []
    assert all(path.startswith("/api/") for path in place.hub.origin.asked("GET"))
    # Whether it may be read, which the lists don't say.
    assert place.hub.origin.asked("HEAD") == [f"/{REPOSITORY}/resolve/{COMMIT}/{REMOTE}"]


@pytest.mark.parametrize("two_origins", [True, False])
def test_a_single_file(place: Place, two_origins: bool) -> None:
    place.hub.two_origins = two_origins
    place.fetch(f"{place.source}/{REMOTE}")
    place.check(there=True)
    assert len(place.hub.cdn.log) == two_origins


def test_a_mirror_without_an_api(place: Place) -> None:
    place.hub.has_api = False
    outcome = place.fetch(f"{place.source}/{REMOTE}")
    assert outcome.facts["revision"] == COMMIT
    place.check(there=True)


def test_long_listings_come_in_pages(place: Place) -> None:
    files = {f"other/{number}.txt": b"" for number in range(25)}
    place.hub.add(REPOSITORY, {**files, REMOTE: place.content})
    place.hub.page_size = 10
    place.fetch()
    assert len([path for path in place.hub.origin.asked() if "/tree/" in path]) == 3


@pytest.mark.parametrize(
    ("files", "error", "hint"),
    [
        (["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"], "ambiguous", "matches 2 files"),
        (["a-Q8_0.gguf", "a-Q5_K_M.gguf"], "ambiguous", "a-Q5_K_M.gguf, a-Q8_0.gguf"),
        (["README.md"], "entry_not_found", "README.md"),
        (["a-Q4_K_M-00001-of-00003.gguf", "a-Q4_K_M-00003-of-00003.gguf"], "shards_missing", "2 of the 3"),
        (["a.Q4_K_M.gguf.part1of2", "a.Q4_K_M.gguf.part2of2"], "byte_split", "part1of2"),
        (["a.Q4_K_M.gguf-split-a", "a.Q4_K_M.gguf-split-b"], "byte_split", "split-a"),
        (["mmproj-Q4_K_M.gguf"], "entry_not_found", "mmproj"),
        (["../../etc/Q4_K_M.gguf"], "unsafe_name", ""),
        (["/etc/Q4_K_M.gguf"], "unsafe_name", ""),
        (["a/\0Q4_K_M.gguf"], "unsafe_name", ""),
        ([f"{'x' * 300}-Q4_K_M.gguf"], "unsafe_name", "too long"),
    ],
)
def test_what_a_repository_does_not_offer(place: Place, files: list[str], error: str, hint: str) -> None:
    place.hub.add(REPOSITORY, dict.fromkeys(files, place.content))
    assert hint in place.fails(error, check=True)
    assert place.hub.cdn.log == []


@pytest.mark.parametrize("name", ["model.Q4_K_M.gguf", "dir/model-q4_k_m.gguf", "Modell größe-Q4_K_M.gguf"])
def test_names_that_are_fine(place: Place, name: str) -> None:
    place.hub.add(REPOSITORY, {name: place.content, "mmproj-model-f16.gguf": b"x", "model-Q8_0.gguf": b"y"})
    place.fetch()
    place.check(there=True)


@pytest.mark.parametrize("asked", ["fp16", "f16", "FP16"])
@pytest.mark.parametrize("name", ["model-fp16.gguf", "model-F16.gguf"])
def test_both_ways_to_write_half_precision(place: Place, asked: str, name: str) -> None:
    place.hub.add(REPOSITORY, {name: place.content, "model-Q4_K_M.gguf": b"y"})
    assert place.fetch(label=asked, check=True).after["size"] == len(place.content)


def test_one_file_is_taken_before_shards(place: Place) -> None:
    place.hub.add(REPOSITORY, {REMOTE: place.content, **shards(place.gguf)})
    place.fetch()
    assert place.final.is_file()


def test_the_publishers_client_agrees(place: Place) -> None:
    api = huggingface_hub.HfApi(endpoint=place.hub.url, token=TOKEN)
    options = {"endpoint": place.hub.url, "cache_dir": str(place.root / "cache"), "token": TOKEN}
    path = huggingface_hub.hf_hub_download(REPOSITORY, REMOTE, **options)
    assert Path(path).read_bytes() == place.content
    assert Path(huggingface_hub.hf_hub_download(REPOSITORY, "config.json", **options)).read_bytes() == b"{}"
    (info,) = api.get_paths_info(REPOSITORY, [REMOTE])
    assert (info.size, info.lfs.sha256) == (len(place.content), hashlib.sha256(place.content).hexdigest())
    assert {each.path for each in api.list_repo_tree(REPOSITORY)} == {REMOTE, "config.json"}
    assert api.model_info(REPOSITORY).sha == COMMIT
    with pytest.raises(errors.RevisionNotFoundError):
        api.model_info(REPOSITORY, revision="v9")
    with pytest.raises(errors.RemoteEntryNotFoundError):
        huggingface_hub.hf_hub_download(REPOSITORY, "nothing", **options)
    with pytest.raises(errors.RepositoryNotFoundError):
        api.model_info("org/nothing")
    place.hub.add("org/gated", {REMOTE: place.content}, gated=True)
    with pytest.raises(errors.GatedRepoError):
        huggingface_hub.hf_hub_download("org/gated", REMOTE, **{**options, "token": False})
    assert not place.hub.cdn.secrets(TOKEN)


def test_a_run_without_changes_is_fast(place: Place) -> None:
    place.fetch()
    started = time.monotonic()
    for _index in range(20):
        place.fetch()
    assert (time.monotonic() - started) / 20 < 0.02
