# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What files and servers say ends in records, results and logs: its size and its characters are limited there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError, StackErrors
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import answer, http_client, huggingface
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import parse_source
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import (
    gguf_header,
    gguf_summary,
    safetensors_header,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._image.network import Network
from ansible_collections.mistralrs.stack.plugins.module_utils._model import record as _model_record
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import store_file_name
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import make_directories
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.plan import prepare_all
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import read_sidecar, write_record

from tests.fakes.hub.place import LABEL, REMOTE, REPOSITORY, Place, make_model


def safetensors(entries: dict[str, Any], data: int) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


def test_tensors_of_many_types(gguf: Any) -> None:
    entries = {
        f"t{number}": {"dtype": f"X{number}", "shape": [1], "data_offsets": [number, number + 1]}
        for number in range(60_000)
    }
    content = safetensors(entries, 60_000)
    with pytest.raises(StackError, match="more types of tensors") as caught:
        safetensors_header.read_header(len(content), lambda start, end: content[start:end], "m")
    assert caught.value.id == "model.safetensors_malformed"


@pytest.mark.parametrize("kind", [0, 1000])
def test_tensors_larger_than_any_file(gguf: Any, kind: int) -> None:
    """Also of a type whose size is not known, which no other check refuses."""
    content = gguf.build(tensors={"t": ([1 << 62, 1 << 62], kind, 0)})
    with pytest.raises(StackError, match="is larger than any file"):
        gguf_header.parse_header(content, len(content), "m")


def test_texts_of_a_header_are_short_and_printable(gguf: Any) -> None:
    text = "\x1b]0;title\x07\n" + "x" * 900
    content = gguf.build({"general.architecture": text, "general.name": text, "tokenizer.ggml.model": text})
    summary = gguf_summary.summarize(gguf_header.parse_header(content, len(content), "m"), content, "m")
    for key in ("architecture", "name", "tokenizer"):
        assert str(summary[key]).isprintable()
        assert len(str(summary[key])) < 250
    config = {"model_type": text, "quantization_config": {"quant_method": text * 1000}}
    summary = safetensors_header.summarize([], config, False)
    for key in ("architecture", "quantization"):
        assert str(summary[key]).isprintable()
        assert len(str(summary[key])) < 100


def test_what_a_server_says_is_shown_in_one_short_line() -> None:
    fault = Fault("model.of_this_test", "It says {what}, {number}, {values}.", "Mend {what}.")
    error = StackError(fault, what=ValueError("\x1b[2J\r\nx" * 10_000), number=5, values=["\x1b"])
    assert str(error).isprintable()
    assert len(str(error)) < 5_000
    assert StackErrors([error]).sentence == error.sentence
    assert str(StackError(fault, what="größe", number=5, values=[])).startswith("It says größe, 5, [].")


def test_more_files_than_a_model_has(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_model_record, "MAX_FILES", 3)
    tensor = safetensors({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, 1)
    files = {"model.safetensors": tensor, "config.json": b"{}", "tokenizer.json": b"{}"}
    place.hub.add("org/few", files)
    assert place.fetch("hf://org/few").changed
    place.hub.add("org/many", {**files, "merges.txt": b""})
    assert "has 4 files for it, more than the 3" in place.fails("too_many_files", "hf://org/many", check=True)
    folder = place.root / "many"
    folder.mkdir()
    for name, content in {**files, "merges.txt": b""}.items():
        (folder / name).write_bytes(content)
    place.fails("too_many_files", folder.as_uri(), check=True)


def test_the_largest_record_can_be_read_again(place: Place) -> None:
    known = {"size": (1 << 63) - 1, "mtime_ns": (1 << 63) - 1, "inode": (1 << 63) - 1, "sha256": "0" * 64}
    files = {f"{number:0255}": known for number in range(_model_record.MAX_FILES)}
    record = {"format": 1, "checks": 1, "sha256": "0" * 64, "size": 1, "gguf": {}, "files": files}
    wanted = Wanted(str(place.store), "m", LABEL, place.final.name, "", "")
    make_directories(wanted)
    write_record(wanted, record)
    assert read_sidecar(wanted) == record


def test_an_answer_about_files_comes_to_an_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then is not a silence, and would go on for days."""
    monkeypatch.setattr(answer, "ANSWER_SECONDS", 1)
    place.mirror = place.plain.url
    place.plain.files["/.store/x.gguf.json"] = b"{" + b" " * 10_000 + b"}"
    place.plain.fault("/.store/x.gguf.json", drip_seconds=0.1, times=-1)
    message = place.fails("source_unreachable", "mirror://x", retries=1)
    assert "in 1 s, and they are not all" in message
    assert place.plain.asked() == ["/.store/x.gguf.json"] * 2
    with pytest.raises(OSError, match="in 1 s, and they are not all"):
        Network({}, "").get(f"{place.plain.url}/.store/x.gguf.json")


# Two names, one file


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("tokenizer.json", "tokenizer.JSON"),
        # The same letter, composed and decomposed.
        ("tokenizer-\u00e9.json", "tokenizer-e\u0301.json"),
        ("tokenizer-\ufb01.json", "tokenizer-fi.json"),
    ],
)
@pytest.mark.parametrize("way", ["hub", "directory"])
def test_two_files_that_one_file_system_takes_for_one(place: Place, first: str, second: str, way: str) -> None:
    tensor = safetensors({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, 1)
    files = {"model.safetensors": tensor, "config.json": b"{}", first: b"{}", second: b"[]"}
    if way == "hub":
        place.hub.add("org/two", files)
        source = "hf://org/two"
    else:
        folder = place.root / "two"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        source = folder.as_uri()
    place.fails("files_collide", source)
    assert not place.final.with_suffix("").exists()


def test_layers_of_a_registry_with_one_name(place: Place) -> None:
    kind = "application/vnd.docker.ai.gguf.v3"
    name = "m-00001-of-00002.gguf"
    place.hub.publish("library/x", [(kind, make_model(place.gguf, 65536, fill=fill), name) for fill in (1, 2)])
    place.fails(
        "files_collide", f"oci://{place.hub.origin.server_address[0]!s}:{place.hub.origin.server_port}/library/x"
    )


def test_what_auto_chooses_may_be_another_model_of_the_list(place: Place) -> None:
    place.hub.add(REPOSITORY, {REMOTE: place.content})
    access = Access(
        http=http_client.Settings(timeout=1, retries=0), hub=huggingface.HubSettings(endpoint=place.hub.url)
    )
    wanted = [Wanted(str(place.store), "m", label, store_file_name("m", label), "", "") for label in ("auto", "q4_k_m")]
    source = parse_source("m", place.source)
    with pytest.raises(StackError, match="would both be stored as m-q4_k_m.gguf") as caught:
        prepare_all(wanted, [source, source], access, read=True)
    assert caught.value.id == "model.duplicate"
    assert len(prepare_all(wanted[:1], [source], access, read=True)) == 1
