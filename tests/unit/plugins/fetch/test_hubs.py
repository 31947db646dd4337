# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files hubs and registries give for what is asked, and what is refused before the first byte."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import huggingface
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Fit
from ansible_collections.mistralrs.stack.plugins.module_utils._store.contents import absent
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.suitability import doubt
from ansible_collections.mistralrs.stack.plugins.module_utils._store.verify import verified
from hub import COMMIT, TOKEN, Hub
from huggingface_hub import errors
from place import LABEL, REMOTE, REPOSITORY, Place, make_model

GIB = 1 << 30
TENSOR = {"dtype": "F32", "shape": [1024], "data_offsets": [0, 4096]}
CONFIG = {"model_type": "qwen2", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 8}


def tensors(name: str = "a") -> bytes:
    text = json.dumps({name: TENSOR}).encode()
    return len(text).to_bytes(8, "little") + text + os.urandom(4096)


def repository(count: int = 2) -> dict[str, bytes]:
    names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    index = {"weight_map": {f"tensor{number}": name for number, name in enumerate(names)}}
    return {
        **{name: tensors(f"tensor{number}") for number, name in enumerate(names)},
        "model.safetensors.index.json": json.dumps(index).encode(),
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": b'{"model": {}}',
        "tokenizer_config.json": b'{"chat_template": "{{ x }}"}',
        "README.md": b"not for the engine",
        "pytorch_model.bin": b"a pickle",
        ".gitattributes": b"",
    }


def shards(gguf: Any, count: int = 3) -> dict[str, bytes]:
    return {
        f"m-Q4_K_M-{number:05}-of-{count:05}.gguf": make_model(gguf, 65536, fill=number, **{"split.count": count})
        for number in range(1, count + 1)
    }


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
    assert "3 of its files are there, its header says 5" in place.fails("shards_incomplete")
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


def test_what_the_hub_has_is_here_already(place: Place) -> None:
    """Another source of the same content costs no download."""
    file = place.root / "x.gguf"
    file.write_bytes(place.content)
    place.fetch(file.as_uri())
    assert not place.fetch().changed
    assert place.bodies() == []
    assert place.fetch().facts["source"] == place.source


# What was put into the store by hand


def put_by_hand(place: Place, content: bytes) -> None:
    place.store.mkdir()
    place.final.write_bytes(content)
    place.final.chmod(0o664)
    if os.geteuid() == 0:
        os.chown(place.final, 12345, 12345)


@pytest.mark.parametrize("check", [True, False])
def test_a_file_put_there_by_hand_is_what_its_source_has(place: Place, check: bool) -> None:
    put_by_hand(place, place.content)
    outcome = place.fetch(check=check)
    assert (outcome.changed, outcome.facts["revision"]) == (True, COMMIT)
    assert place.hub.cdn.log == []
    if not check:
        status = place.final.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (os.geteuid(), 0o644)
        assert not place.fetch().changed


@pytest.mark.parametrize("check", [True, False])
def test_a_file_put_there_by_hand_that_its_source_does_not_have(place: Place, check: bool) -> None:
    """Nobody knows which of the two is meant: neither is lost."""
    place.old = place.content[:-100] + bytes(100)
    put_by_hand(place, place.old)
    digest = hashlib.sha256(place.old).hexdigest()
    assert digest in place.fails("not_of_source", check=check)
    assert place.final.read_bytes() == place.old
    # Both ways out that the message names.
    assert place.fetch(sha256=digest, check=check).facts["sha256"] == digest
    place.final.unlink()
    assert place.fetch(sha256="", check=check).facts["sha256"] == hashlib.sha256(place.content).hexdigest()


@pytest.mark.parametrize(
    ("options", "revision"), [({"gated": True}, COMMIT), ({"private": True}, "")], ids=["gated", "private"]
)
def test_a_file_put_there_by_hand_because_the_host_may_not_read_its_source(
    place: Place, options: dict[str, Any], revision: str
) -> None:
    """Somebody with a licence copied it here. What is gated is compared all the same, its lists are public."""
    place.hub.add(REPOSITORY, {REMOTE: place.content}, **options)
    put_by_hand(place, place.content)
    assert place.fetch(token="").facts["revision"] == revision


@pytest.mark.parametrize("offline", [True, False])
def test_a_file_put_there_by_hand_where_no_hub_answers(
    place: Place, offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_by_hand(place, place.content)
    if not offline:
        monkeypatch.setattr(Hub, "url", "http://127.0.0.1:9")
    assert place.fetch(offline=offline, retries=0).changed
    assert place.hub.origin.log == []


# What can't be loaded or does not fit


@pytest.mark.parametrize(
    ("fit", "error"),
    [
        ({"engine_version": "0.6.0"}, "engine_too_old"),
        ({"gpu_memory": (1 * GIB,)}, "does_not_fit"),
        ({"engine_version": "0.9.5", "gpu_memory": (4 * GIB,)}, ""),
    ],
)
def test_refused_by_the_header_alone(place: Place, fit: dict[str, Any], error: str) -> None:
    place.content = make_model(place.gguf, **{"general.architecture": "gemma3"})
    place.hub.add(REPOSITORY, {REMOTE: place.content})
    place.fit = Fit(**fit)
    if error:
        place.fails(error)
        assert not place.store.exists()
    else:
        place.fetch(check=True)
    assert all(asked.startswith("bytes=0-") for asked in place.bodies())


def test_a_file_of_this_host_has_to_fit_too(place: Place) -> None:
    file = place.root / "big.gguf"
    file.write_bytes(place.content)
    place.fit = Fit(gpu_memory=(1 * GIB,))
    place.fails("does_not_fit", file.as_uri())
    assert not place.store.exists()
    place.fit = Fit(gpu_memory=(4 * GIB,))
    assert place.fetch(file.as_uri()).changed


def test_a_server_without_ranges_is_looked_at_later(place: Place) -> None:
    place.plain.fault("/model.gguf", ignore_range=True, times=-1)
    place.fit = Fit(engine_version="0.9.5", gpu_memory=(4 * GIB,))
    assert place.fetch(f"{place.plain.url}/model.gguf").changed
    place.old = place.content
    place.content = place.plain.files["/model.gguf"] = make_model(place.gguf, **{"general.architecture": "falcon"})
    place.fails("unsupported_architecture", f"{place.plain.url}/model.gguf?new", retries=0, sha256="")
    # The one that was there stays; the refused one is gone.
    assert place.leftovers() == []
    file = place.root / "falcon.gguf"
    file.write_bytes(place.content)
    place.fails("unsupported_architecture", file.as_uri(), check=True)


def test_the_header_of_a_quantization_that_can_not_be_loaded(place: Place) -> None:
    content = place.gguf.build({"general.architecture": "llama"}, {"a": ([256], 23, 136)})
    place.hub.add(REPOSITORY, {REMOTE: content})
    place.fit = Fit(engine_version="0.9.5")
    assert "IQ4_XS" in place.fails("unsupported_quantization", check=True)


def test_a_later_shard_that_can_not_be_loaded(place: Place) -> None:
    """The types of tensors differ from shard to shard, and the first may have none."""
    kinds: list[dict[str, Any]] = [{}, {"a": ([256], 12, 144)}, {"b": ([256], 23, 136)}]
    metadata = {"general.architecture": "llama", "split.count": 3}
    place.hub.add(
        REPOSITORY,
        {
            f"m-Q4_K_M-{number:05}-of-00003.gguf": place.gguf.build(metadata, kind, data=None if kind else b"")
            for number, kind in enumerate(kinds, start=1)
        },
    )
    place.fit = Fit(engine_version="0.9.5")
    assert "IQ4_XS" in place.fails("unsupported_quantization")
    assert not place.store.exists()


def test_odd_tensors_are_looked_at_when_they_are_here(place: Place) -> None:
    header = b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}'
    files = {**repository(), "extra.safetensors": len(header).to_bytes(8, "little") + header + bytes(8)}
    place.hub.add(REPOSITORY, files)
    place.fit = Fit(gpu_memory=(2 * GIB,))
    assert place.fetch().facts["files"] == sorted(set(files) - {"README.md", "pytorch_model.bin", ".gitattributes"})


@pytest.mark.parametrize(("label", "nearest"), [("", "quantization q8_0"), ("q8_0", ""), ("q4_k", "")])
def test_safetensors_that_fit_only_if_they_are_quantized(place: Place, label: str, nearest: str) -> None:
    """They are fetched all the same, since they may be converted on this host."""
    place.hub.add(REPOSITORY, repository())
    place.fit = Fit(gpu_memory=(2 * GIB,))
    predicted = place.fetch(check=True, label=label).facts["gguf"]
    facts = place.fetch(label=label).facts
    # Whether there is a template is in a file that is not looked at before.
    assert {**predicted, "chat_template": True} == facts["gguf"]
    large = {**facts, "gguf": {**facts["gguf"], "quantization": "BF16"}, "size": 3 * GIB // 2}
    doubted = doubt(large, place.fit)
    assert nearest in str(doubted) if nearest else doubted is None


def test_the_best_that_fits_is_chosen_and_kept(place: Place) -> None:
    sizes = {"Q4_K_M": 1 << 20, "Q8_0": 2 << 20, "IQ4_XS": 3 << 20}
    models = {label: make_model(place.gguf, size) for label, size in sizes.items()}
    place.hub.add(REPOSITORY, {f"m-{label}.gguf": content for label, content in models.items()})
    place.fit = Fit(gpu_memory=(4 * GIB,))
    assert place.choose().facts["file"] == "m-q8_0.gguf"
    # Other GPUs don't make it fetch another one unasked.
    place.fit = Fit(gpu_memory=(1 * GIB,))
    assert not place.choose().changed


# Registries

OLLAMA = "application/vnd.ollama.image.model"
OTHERS = [("application/vnd.ollama.image.license", b"MIT", ""), ("application/vnd.ollama.image.params", b"{}", "")]


@pytest.mark.parametrize("challenge", [False, True])
def test_ollamas_registry(place: Place, challenge: bool) -> None:
    place.hub.publish("library/m", [(OLLAMA, place.content, ""), *OTHERS], "7b")
    place.hub.challenge = challenge
    source = f"ollama://127.0.0.1:{place.hub.origin.server_port}/library/m:7b"
    assert place.fetch(source, check=True).after["size"] == len(place.content)
    outcome = place.fetch(source)
    place.check(there=True)
    assert outcome.facts["revision"].startswith("sha256:")
    assert not place.hub.cdn.secrets("registry-token")
    # The token of the hub is the hub's: here it has the same origin.
    assert not place.fetch(source).changed


@pytest.mark.parametrize(
    ("layers", "error"),
    [
        ([("application/vnd.ollama.image.tensor", b"x", "")], "no_gguf_layer"),
        ([], "no_gguf_layer"),
        ([("application/vnd.cncf.model.weight.v1.raw", b"x", "../m.gguf")], "unsafe_name"),
    ],
)
def test_what_a_registry_does_not_offer(place: Place, layers: list[Any], error: str) -> None:
    place.hub.publish("ai/m", layers)
    place.fails(error, f"oci://127.0.0.1:{place.hub.origin.server_port}/ai/m")


def test_a_registry_that_wants_an_account(place: Place) -> None:
    host = f"127.0.0.1:{place.hub.origin.server_port}"
    manifest = "/v2/library/m/manifests/latest"
    place.hub.origin.fault(manifest, status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}, times=-1)
    assert "logged in" in place.fails("registry_login", f"ollama://{host}/library/m")
    place.hub.origin.faults.clear()
    # It gives out a token without an account, which is not enough for this model.
    place.hub.origin.fault(
        manifest, status=401, times=1, headers={"WWW-Authenticate": f'Bearer realm="{place.hub.url}/token"'}
    )
    place.hub.origin.fault(manifest, status=403, times=-1)
    place.fails("registry_login", f"ollama://{host}/library/m")


def test_a_file_that_hubs_do_not_give_out_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface, "_HTTP_LIMIT", len(place.content) - 1)
    assert "splits the file" in place.fails("too_large_for_http")
    assert place.hub.cdn.log == []


def test_a_tag_that_is_not_there(place: Place) -> None:
    place.fails("not_in_registry", f"ollama://127.0.0.1:{place.hub.origin.server_port}/library/m:9b")


@pytest.mark.parametrize(
    ("media_type", "title"),
    [
        ("application/vnd.docker.ai.gguf.v3", ""),
        ("application/vnd.cncf.model.weight.v1.raw", "m.Q4_K_M.gguf"),
    ],
)
def test_model_artifacts(place: Place, media_type: str, title: str) -> None:
    place.hub.publish("ai/m", [(media_type, place.content, title)])
    place.fetch(f"oci://127.0.0.1:{place.hub.origin.server_port}/ai/m")
    place.check(there=True)


def test_a_blob_that_is_not_what_its_name_says(place: Place) -> None:
    place.hub.publish("library/m", [(OLLAMA, place.content, "")])
    place.hub.cdn.fault(place.cdn_path, body=make_model(place.gguf, fill=5))
    place.fails("checksum_mismatch", f"ollama://127.0.0.1:{place.hub.origin.server_port}/library/m")


def local_ollama(place: Place, content: bytes, host: str = "registry.ollama.ai") -> Path:
    """A store as Ollama lays it out."""
    root = place.root / "ollama"
    digest = hashlib.sha256(place.content).hexdigest()
    manifest = root / "manifests" / host / "library" / "m" / "latest"
    manifest.parent.mkdir(parents=True)
    layer = {"mediaType": OLLAMA, "digest": f"sha256:{digest}", "size": len(place.content)}
    manifest.write_text(json.dumps({"layers": [layer]}))
    (root / "blobs").mkdir()
    (root / "blobs" / f"sha256-{digest}").write_bytes(content)
    place.ollama = (str(root),)
    return root


def test_the_local_ollama_needs_no_download(place: Place) -> None:
    local_ollama(place, place.content)
    assert place.fetch("ollama://library/m", offline=True).changed
    place.check(there=True)
    assert place.final.stat().st_nlink == 1


def test_the_local_ollamas_header_is_read_where_it_lies(place: Place) -> None:
    """What the engine can't load or can't fit is refused without a request to the registry, and what fits is taken."""
    local_ollama(place, place.content)
    place.fit = Fit(engine_version="0.9.5", gpu_memory=(4 * GIB,))
    for check in (True, False):
        assert place.fetch("ollama://library/m", check=check, offline=True).changed
    place.check(there=True)
    absent(Wanted(str(place.store), "m", LABEL, place.final.name, "", ""), check=False)
    place.fit = Fit(gpu_memory=(1,))
    place.fails("does_not_fit", "ollama://library/m", offline=True)


def test_a_damaged_local_ollama(place: Place) -> None:
    local_ollama(place, make_model(place.gguf, fill=3))
    place.fails("checksum_mismatch", "ollama://library/m", offline=True)
    place.check(there=False)


@pytest.mark.parametrize("cut", [False, True])
def test_instead_of_a_damaged_local_ollama_its_registry_is_asked(place: Place, cut: bool) -> None:
    host = f"127.0.0.1:{place.hub.origin.server_port}"
    place.hub.publish("library/m", [(OLLAMA, place.content, "")])
    local_ollama(place, place.content[:-1] if cut else make_model(place.gguf, fill=3), host)
    assert place.fetch(f"ollama://{host}/library/m").changed
    place.check(there=True)
    assert place.leftovers() == []


# Against the publisher's own client: the stand-in speaks the real protocol.


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
