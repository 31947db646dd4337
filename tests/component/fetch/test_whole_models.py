# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only a whole model that can be used gets a name in the store, whichever way it comes in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_summary, gguf_tokenizer
from ansible_collections.mistralrs.stack.plugins.module_utils._store import apply, companion_files, entry
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Fit

from tests.fakes.hub.model_files import shards
from tests.fakes.hub.place import LABEL, REMOTE, REPOSITORY, Place, make_model

OLLAMA = "application/vnd.ollama.image.model"


def by_file(place: Place, content: bytes) -> str:
    path = place.root / "given.gguf"
    path.write_bytes(content)
    return path.as_uri()


def by_hub(place: Place, content: bytes) -> str:
    place.hub.add(REPOSITORY, {REMOTE: content})
    return place.source


def by_http(place: Place, content: bytes) -> str:
    place.plain.files["/other.gguf"] = content
    return f"{place.plain.url}/other.gguf"


def by_mirror(place: Place, content: bytes) -> str:
    """A mirror of an earlier release, which took it."""
    record = {"format": 1, "files": {}, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    place.plain.files["/.store/x.gguf.json"] = json.dumps(record).encode()
    place.plain.files["/x.gguf"] = content
    place.mirror = place.plain.url
    return "mirror://x.gguf"


def by_registry(place: Place, content: bytes) -> str:
    place.hub.publish("library/x", [(OLLAMA, content, "")])
    return f"ollama://{place.hub.origin.server_address[0]!s}:{place.hub.origin.server_port}/library/x"


def by_ollama(place: Place, content: bytes) -> str:
    """The local store of Ollama."""
    root, digest = place.root / "ollama", hashlib.sha256(content).hexdigest()
    manifest = root / "manifests" / "registry.ollama.ai" / "library" / "x" / "latest"
    manifest.parent.mkdir(parents=True)
    layer = {"mediaType": OLLAMA, "digest": f"sha256:{digest}", "size": len(content)}
    manifest.write_text(json.dumps({"layers": [layer]}))
    (root / "blobs").mkdir()
    (root / "blobs" / f"sha256-{digest}").write_bytes(content)
    place.ollama = (str(root),)
    return "ollama://x"


WAYS: list[Callable[[Place, bytes], str]] = [by_file, by_hub, by_http, by_mirror, by_registry, by_ollama]


def shard(place: Place) -> bytes:
    return make_model(place.gguf, 65536, **{"split.count": 3, "split.no": 0, "split.tensors.count": 3})


def adapter(place: Place) -> bytes:
    return make_model(place.gguf, 65536, **{"general.type": "adapter", "adapter.type": "lora"})


def old_adapter(place: Place) -> bytes:
    """Of a converter that says no type: the tensors tell."""
    tensors = {f"blk.0.attn_q.weight.lora_{letter}": ([4, 2], 0, 32) for letter in "ab"}
    return bytes(place.gguf.build({"general.architecture": "llama"}, tensors))


def projector(place: Place) -> bytes:
    return make_model(place.gguf, 65536, **{"general.type": "mmproj", "general.architecture": "clip"})


def old_projector(place: Place) -> bytes:
    return make_model(place.gguf, 65536, **{"general.architecture": "clip"})


def matrix(place: Place) -> bytes:
    metadata = {"general.type": "imatrix", "imatrix.chunk_count": 10, "imatrix.datasets": ["calibration.txt"]}
    return bytes(place.gguf.build(metadata, {"blk.0.attn_q.weight.in_sum2": ([4, 2], 0, 32)}))


def vocabulary(place: Place) -> bytes:
    return bytes(place.gguf.build({"general.architecture": "llama", "tokenizer.ggml.model": "gpt2"}, {}))


def control_vector(place: Place) -> bytes:
    return make_model(place.gguf, 65536, **{"general.architecture": "controlvector"})


def part_of_a_model(place: Place) -> bytes:
    """A shard from whose header the number of files was taken out."""
    return make_model(place.gguf, 65536, **{"split.count": 0, "split.tensors.count": 291})


PARTS: list[tuple[Callable[[Place], bytes], str, str]] = [
    (shard, "shards_incomplete", "1 of its files are there, but its header says 3"),
    (adapter, "no_model", "is a LoRA adapter"),
    (old_adapter, "no_model", "is a LoRA adapter"),
    (projector, "no_model", "is a projector (mmproj)"),
    (old_projector, "no_model", "is a projector (mmproj)"),
    (matrix, "no_model", "is an importance matrix"),
    (vocabulary, "no_model", "is a vocabulary without tensors"),
    (control_vector, "no_model", "is a control vector"),
    (part_of_a_model, "shards_mixed", "they hold 1 tensors, of 291"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("make", "error", "words"), PARTS)
def test_a_part_of_a_model_is_not_taken_for_one(
    place: Place, way: Callable[[Place, bytes], str], make: Callable[[Place], bytes], error: str, words: str
) -> None:
    place.keep_old()
    source = way(place, make(place))
    message = place.fails(error, source)
    assert words in message
    assert message.startswith("Model m")
    assert place.final.read_bytes() == place.old
    assert place.leftovers() == []


@pytest.mark.parametrize("way", [by_hub, by_registry, by_mirror])
def test_its_header_tells_before_the_first_byte(place: Place, way: Callable[[Place, bytes], str]) -> None:
    place.fit = Fit(engine_version="0.9.2")
    source = way(place, adapter(place))
    for check in (True, False):
        place.fails("no_model", source, check=check)
    assert all("bytes=0-" in each.headers.get("Range", "") for each in place.hub.cdn.log if each.method == "GET")
    assert not place.final.exists()


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(("make", "error", "words"), PARTS)
def test_a_part_that_was_put_into_the_store_by_hand(
    place: Place, make: Callable[[Place], bytes], error: str, words: str, check: bool
) -> None:
    content = make(place)
    place.store.mkdir()
    place.final.write_bytes(content)
    place.final.chmod(0o600)
    place.old = content
    assert words in place.fails(error, by_file(place, place.content), check=check)
    assert place.final.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("check", [True, False])
def test_a_part_that_an_earlier_release_took(place: Place, check: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run says so, without reading the whole file, and replaces it as soon as the source has a model."""
    content = adapter(place)
    source = by_file(place, content)
    with monkeypatch.context() as patch:
        patch.setattr(gguf_summary, "_check_kind", lambda *_arguments: None)
        place.old = content
        place.fetch(source)
    record = place.store / ".store" / f"{place.final.name}.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "checks": 0}))
    with monkeypatch.context() as patch:
        patch.setattr(entry, "hash_file", lambda *_arguments: pytest.fail("the model was read"))
        place.fails("no_model", source, check=check)
    assert place.fetch(by_http(place, place.content)).changed
    place.check(there=True)


def directory(place: Place, files: dict[str, bytes]) -> str:
    folder = place.root / "folder"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder.as_uri()


def numbered(place: Place, count: int, numbers: list[int]) -> dict[str, bytes]:
    return {
        f"x-Q4_K_M-{index:05}-of-{count:05}.gguf": make_model(
            place.gguf, 65536, fill=index, **{"split.count": count, "split.no": number}
        )
        for index, number in enumerate(numbers, 1)
    }


@pytest.mark.parametrize(
    ("numbers", "error", "words"),
    [
        ([0, 1], "shards_incomplete", "2 of its files are there, but its header says 3"),
        ([0, 0, 2], "shards_mixed", "in the place of file 2 of 3 is file 1 of 3"),
        ([1, 0, 2], "shards_mixed", "in the place of file 1 of 3 is file 2 of 3"),
        ([0, 1, 2], "", ""),
    ],
)
@pytest.mark.parametrize("way", ["directory", "hub"])
def test_shards_are_all_there_and_in_their_order(
    place: Place, numbers: list[int], error: str, words: str, way: str
) -> None:
    files = numbered(place, 3, numbers)
    if way == "hub":
        # A hub's files are counted by their names, which these have kept.
        place.hub.add(REPOSITORY, files)
        error = "shards_missing" if len(numbers) < 3 else error
        words = "2 of the 3" if len(numbers) < 3 else words
    source = directory(place, files) if way == "directory" else place.source
    if error:
        assert words in place.fails(error, source)
        assert not place.final.with_suffix("").exists()
        assert place.leftovers() == []
    else:
        assert place.fetch(source).changed


def test_a_projector_beside_a_model(place: Place) -> None:
    """As LM Studio keeps them: the directory is not one model."""
    source = directory(place, {"model.gguf": place.content, "mmproj-model-f16.gguf": old_projector(place)})
    assert "file mmproj-model-f16.gguf is a projector (mmproj)" in place.fails("no_model", source)


def tensors(*names: str) -> bytes:
    entries = {
        name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * index, 4 * index + 4]}
        for index, name in enumerate(names)
    }
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4 * len(names))


LACKING = "safetensors_incomplete"
LAYERS = [f"model.layers.{number}.mlp.weight" for number in range(4)]
CONFIG = json.dumps({"model_type": "qwen2", "num_hidden_layers": 4}).encode()
INDEX = json.dumps({"weight_map": {name: "model.safetensors" for name in LAYERS}}).encode()
ADAPTER = tensors("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight")
WHOLE = {"config.json": CONFIG, "model.safetensors": tensors("model.embed_tokens.weight", *LAYERS)}


@pytest.mark.parametrize("way", ["directory", "hub", "mirror"])
@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        # One of three files, without the index.
        (
            {"config.json": CONFIG, "model-00001-of-00003.safetensors": tensors(*LAYERS[:2])},
            LACKING,
            "00002-of",
        ),
        # The same, and somebody gave it the name of a whole model.
        (
            {"config.json": CONFIG, "model.safetensors": tensors(*LAYERS[:2])},
            LACKING,
            "the layers 2, 3 of 4",
        ),
        # Parts of the model's config that sees.
        (
            {"config.json": b'{"text_config": %s}' % CONFIG, "model.safetensors": tensors(*LAYERS[1:])},
            LACKING,
            "the layers 0 of 4",
        ),
        # The index is of another version of the files.
        (
            {**WHOLE, "model.safetensors.index.json": INDEX[:-2] + b', "lm_head.weight": "model.safetensors"}}'},
            LACKING,
            "the tensor 'lm_head.weight'",
        ),
        ({"model.safetensors": tensors(*LAYERS)}, LACKING, "config.json"),
        (
            {"adapter_config.json": b"{}", "adapter_model.safetensors": ADAPTER},
            "safetensors_adapter",
            "is a LoRA adapter",
        ),
        ({"model.safetensors": ADAPTER}, "safetensors_adapter", "is a LoRA adapter"),
        (WHOLE, "", ""),
        ({**WHOLE, "model.safetensors.index.json": INDEX}, "", ""),
    ],
)
def test_safetensors_are_whole_too(place: Place, files: dict[str, bytes], error: str, words: str, way: str) -> None:
    if way == "directory":
        source = directory(place, files)
    elif way == "hub":
        place.hub.add("org/tensors", files)
        source = "hf://org/tensors"
    else:
        known = {
            name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        }
        place.plain.files["/.store/x.gguf.json"] = json.dumps({"format": 1, "files": known}).encode()
        place.plain.files.update({f"/x/{name}": content for name, content in files.items()})
        place.mirror, source = place.plain.url, "mirror://x"
    if error:
        assert words in place.fails(error, source)
        assert not place.final.with_suffix("").exists()
        assert place.leftovers() == []
    else:
        assert place.fetch(source).changed


def test_a_single_safetensors_file_is_seen_at_its_start(place: Place) -> None:
    """It may be one of many, and is of no use without what lies beside it."""
    content = tensors(*LAYERS) + bytes(24 << 20)
    place.hub.add("org/tensors", {"model-00001-of-00002.safetensors": content})
    place.fails("not_gguf", "hf://org/tensors/model-00001-of-00002.safetensors")
    assert place.hub.cdn.sent < 16 << 20


def test_an_adapter_in_a_registry(place: Place) -> None:
    """Ollama puts it on the model at each start; the model alone is not what the tag stands for."""
    place.hub.publish("library/x", [(OLLAMA, place.content, ""), ("application/vnd.ollama.image.adapter", b"x", "")])
    source = f"ollama://{place.hub.origin.server_address[0]!s}:{place.hub.origin.server_port}/library/x"
    assert "is a model with a LoRA adapter" in place.fails("with_adapter", source)
    assert place.hub.cdn.log == []


# What is refused does not take the place of what is good.


def without_scores(place: Place) -> bytes:
    metadata = {"general.architecture": "llama", "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["a", "b"]}
    return bytes(place.gguf.build(metadata))


def mistral(place: Place, **changes: Any) -> bytes:
    metadata = {"general.architecture": "llama", "general.name": "Mistral 7B", "tokenizer.ggml.model": "gpt2"}
    return bytes(place.gguf.build({**metadata, **changes}))


REFUSED: list[tuple[Callable[[Place], bytes], str]] = [
    (without_scores, "tokenizer_unusable"),
    (lambda place: mistral(place, **{"llama.block_count": "many"}), "config_unusable"),
    (lambda place: bytes(place.gguf.sentencepiece([("x" * 600, 0.0, 1)])), "tokenizer_unusable"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("make", "error"), REFUSED, ids=["scores", "config", "pieces"])
def test_what_can_not_be_used_replaces_nothing(
    place: Place, way: Callable[[Place, bytes], str], make: Callable[[Place], bytes], error: str
) -> None:
    place.old = bytes(place.gguf.sentencepiece())
    good = by_file(place, place.old)
    assert place.fetch(good).changed
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in place.store.rglob("*") if path.is_file()}
    place.fails(error, way(place, make(place)) if way is not by_file else other_file(place, make(place)))
    after = {path: (path.stat().st_ino, path.read_bytes()) for path in place.store.rglob("*") if path.is_file()}
    assert after == before
    assert not place.fetch(good).changed


def other_file(place: Place, content: bytes) -> str:
    path = place.root / "refused.gguf"
    path.write_bytes(content)
    return path.as_uri()


def test_a_split_model_that_can_not_be_used_replaces_nothing(place: Place) -> None:
    files = numbered(place, 2, [0, 1])
    place.hub.add(REPOSITORY, files)
    place.fetch()
    folder = place.final.with_suffix("")
    first = place.gguf.build(
        {"general.architecture": "llama", "split.count": 2, "tokenizer.ggml.model": "llama"}, {"a": ([4, 2], 0, 32)}
    )
    refused = {**files, "x-Q4_K_M-00001-of-00002.gguf": first}
    place.hub.add("org/refused", refused)
    place.fails("tokenizer_unusable", "hf://org/refused")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert not place.fetch().changed


@pytest.mark.parametrize("check", [True, False])
def test_a_file_of_this_host_is_read_before_it_is_copied(
    place: Place, check: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "copy", lambda *_arguments: pytest.fail("it was copied"))
    place.fails("tokenizer_unusable", other_file(place, without_scores(place)), check=check)
    assert not place.store.exists()


def test_what_was_put_there_by_hand_and_can_not_be_used_stays_as_it_is(place: Place) -> None:
    place.store.mkdir()
    place.old = without_scores(place)
    place.final.write_bytes(place.old)
    place.final.chmod(0o640)
    place.fails("tokenizer_unusable", by_http(place, place.content))
    assert place.final.stat().st_mode & 0o777 == 0o640
    assert place.leftovers() == []


def test_the_model_and_what_is_made_for_it_change_together(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full when the tokenizer is written leaves the old model with the old tokenizer."""
    place.old = bytes(place.gguf.sentencepiece())
    good = by_file(place, place.old)
    place.fetch(good)
    tokenizer = Path(str(place.store / f"m-{LABEL}.tokenizer.json"))
    before = tokenizer.read_bytes()
    place.content = bytes(place.gguf.sentencepiece([*place.gguf.pieces, ("new", -30.0, 1)]))

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(gguf_tokenizer, "write_tokenizer", full)
        place.fails("no_space", by_hub(place, place.content))
    assert (place.final.read_bytes(), tokenizer.read_bytes()) == (place.old, before)
    assert place.fetch().changed
    assert (place.final.read_bytes(), tokenizer.read_bytes() != before) == (place.content, True)


@pytest.fixture
def killed(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Fetches, and ends where a step that is named begins."""

    def fetch(module: Any, step: str, sha256: str) -> None:
        def end(*_arguments: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, step, end)
            with pytest.raises(KeyboardInterrupt):
                place.fetch(sha256=sha256)

    return fetch


@pytest.mark.parametrize("is_given", [True, False])
def test_a_run_that_was_killed_after_it_published(place: Place, killed: Callable[..., None], is_given: bool) -> None:
    """The next one finds the new content in the store, with what was made for the old one."""
    place.old = bytes(place.gguf.sentencepiece())
    place.fetch(by_hub(place, place.old))
    tokenizer = Path(str(place.store / f"m-{LABEL}.tokenizer.json"))
    before = tokenizer.read_bytes()
    place.content = bytes(place.gguf.sentencepiece([*place.gguf.pieces, ("new", -30.0, 1)]))
    by_hub(place, place.content)
    wanted = hashlib.sha256(place.content).hexdigest()
    killed(companion_files, "publish", wanted)
    assert (place.final.read_bytes(), tokenizer.read_bytes()) == (place.content, before)
    assert place.fetch(sha256=wanted if is_given else "").changed
    assert tokenizer.read_bytes() != before
    assert not place.fetch(sha256=wanted).changed


@pytest.mark.parametrize("is_given", [True, False])
def test_a_run_that_was_killed_after_it_published_several_files(
    place: Place, killed: Callable[..., None], is_given: bool
) -> None:
    old = shards(place.gguf)
    place.hub.add(REPOSITORY, old)
    place.fetch()
    name = "m-Q4_K_M-00002-of-00003.gguf"
    new = {**old, name: make_model(place.gguf, 65536, fill=11, **{"split.count": 3})}
    place.hub.add(REPOSITORY, new, commit="d" * 40)
    listing = "".join(f"{hashlib.sha256(new[name]).hexdigest()}  {name}\n" for name in sorted(new))
    wanted = hashlib.sha256(listing.encode()).hexdigest()
    killed(apply, "write_record", wanted)
    outcome = place.fetch(sha256=wanted if is_given else "")
    assert (outcome.changed, outcome.facts["sha256"], outcome.facts["files"]) == (True, wanted, sorted(new))
    place.hub.cdn.log.clear()
    assert not place.fetch(sha256=wanted).changed
    assert place.bodies() == []
