# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that are directories of the host: SafeTensors, and what the engine's quantize wrote."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import http_client, huggingface, model_source
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.apply import present
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.outcome import Outcome

ACCESS = Access(http_client.Settings(timeout=10), huggingface.HubSettings())
CONFIG = json.dumps({"model_type": "qwen2", "num_hidden_layers": 2}).encode()


def tensors(count: int) -> bytes:
    header = json.dumps({"weight": {"dtype": "BF16", "shape": [count], "data_offsets": [0, 2 * count]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(2 * count)


UQFF = {
    "config.json": CONFIG,
    "model.q4k-0.uqff": b"0" * 100,
    "model.q4k-1.uqff": b"1",
    "residual.safetensors": tensors(8),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "result"
    path.mkdir()
    return path


def fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def run(folder: Path, check: bool = False, sha256: str = "") -> Outcome:
    wanted = Wanted(str(folder.parent / "models"), "tiny", "q4k", "tiny-q4k.gguf", sha256, "")
    source = model_source.parse_source("tiny", folder.as_uri(), "", sha256)
    return present(wanted, source, ACCESS, check)


def error(folder: Path) -> str:
    with pytest.raises(StackError) as caught:
        run(folder)
    assert not (folder.parent / "models" / "tiny-q4k").exists()
    return caught.value.id


def test_a_result_of_quantize_becomes_a_model(folder: Path) -> None:
    # Its README and a link's target outside are of no use to the engine, or as good as a file.
    fill(folder, {**UQFF, "README.md": b"Quantized"})
    (folder.parent / "elsewhere").write_bytes(b"{}")
    (folder / "tokenizer.json").symlink_to(folder.parent / "elsewhere")
    digests = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted({**UQFF, "tokenizer.json": b"{}"}.items())
    )
    predicted = run(folder, check=True)
    assert predicted.changed
    assert not (folder.parent / "models").exists()
    outcome = run(folder)
    model = folder.parent / "models" / "tiny-q4k"
    assert {path.name: path.read_bytes() for path in model.iterdir()} == {**UQFF, "tokenizer.json": b"{}"}
    assert not (model / "tokenizer.json").is_symlink()
    assert outcome.facts["sha256"] == hashlib.sha256(digests.encode()).hexdigest()
    assert outcome.facts["directory"]
    assert outcome.facts["gguf"]["quantization"] == "Q4K"
    assert outcome.facts["gguf"]["architecture"] == "qwen2"
    assert outcome.facts["size"] == predicted.facts["size"]
    assert not run(folder).changed
    assert run(folder, sha256=outcome.facts["sha256"]).changed is False


def test_a_directory_that_was_written_again_is_taken_again(folder: Path) -> None:
    fill(folder, UQFF)
    first = run(folder).facts["sha256"]
    fill(folder, {"model.q4k-1.uqff": b"2"})
    outcome = run(folder)
    assert outcome.changed
    assert outcome.facts["sha256"] != first
    assert (folder.parent / "models" / "tiny-q4k" / "model.q4k-1.uqff").read_bytes() == b"2"


def test_a_wrong_sha256_of_a_directory_is_found_in_check_mode(folder: Path) -> None:
    fill(folder, UQFF)
    with pytest.raises(StackError) as caught:
        run(folder, check=True, sha256="0" * 64)
    assert caught.value.id == "model.checksum_mismatch"


def test_safetensors_of_this_host_are_taken_over(folder: Path) -> None:
    fill(folder, {"config.json": CONFIG, "model.safetensors": tensors(4), "pytorch_model.bin": b"pickle"})
    outcome = run(folder)
    assert outcome.facts["files"] == ["config.json", "model.safetensors"]
    assert outcome.facts["gguf"]["parameters"] == 4


@pytest.mark.parametrize(
    ("remove", "add", "expected"),
    [
        ("model.q4k-0.uqff", {}, "model.uqff_shards"),
        ("", {"model.q8_0-0.uqff": b"x"}, "model.uqff_shards"),
        ("", {"model.q4k-1.uqff": b""}, "model.uqff_shards"),
        ("residual.safetensors", {}, "model.safetensors_incomplete"),
        ("", {"residual.safetensors": tensors(8)[:-1]}, "model.safetensors_truncated"),
    ],
)
def test_an_incomplete_result_is_refused(folder: Path, remove: str, add: dict[str, bytes], expected: str) -> None:
    fill(folder, {**UQFF, **add})
    if remove:
        (folder / remove).unlink()
    assert error(folder) == expected


def test_an_empty_directory_is_refused(folder: Path) -> None:
    assert error(folder) == "model.safetensors_incomplete"


def test_a_model_that_vanishes_is_named(folder: Path) -> None:
    fill(folder, UQFF)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("nowhere")
    assert error(folder) == "model.source_missing"
