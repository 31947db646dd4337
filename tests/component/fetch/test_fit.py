# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine can't load, or the GPUs have no memory for, is refused before the first byte."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Fit
from ansible_collections.mistralrs.stack.plugins.module_utils._store.suitability import doubt

from tests.fakes.hub.model_files import repository
from tests.fakes.hub.place import REMOTE, REPOSITORY, Place, make_model

GIB = 1 << 30


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
