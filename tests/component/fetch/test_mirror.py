# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's mirror: a store that a plain file server gives out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import parse_source

from tests.fakes.hub.place import LABEL, Place, make_model


@pytest.fixture
def mirror(place: Place) -> Path:
    """A store with the model in it, which the plain server gives out; the place's own store is another one."""
    place.fetch()
    served = place.store
    place.plain.root = served
    place.mirror = place.plain.url
    place.store = place.root / "second"
    place.hub.origin.log.clear()
    place.hub.cdn.log.clear()
    return served


def asked(place: Place) -> list[str]:
    """What the mirror was asked for; the hub is asked for nothing."""
    assert place.hub.origin.log == []
    assert place.hub.cdn.log == []
    return [each.path for each in place.plain.log]


def test_a_model_of_the_mirror(place: Place, mirror: Path) -> None:
    source = f"mirror://m-{LABEL}.gguf"
    record = f"/.store/m-{LABEL}.gguf.json"
    sha256 = hashlib.sha256(place.content).hexdigest()
    predicted = place.fetch(source, check=True)
    assert predicted.changed
    assert (predicted.facts["sha256"], predicted.facts["size"]) == (sha256, len(place.content))
    assert asked(place) == [record]
    outcome = place.fetch(source)
    assert outcome.after == predicted.after
    assert outcome.facts["source"] == source
    place.check(there=True)
    assert asked(place) == [record, record, f"/m-{LABEL}.gguf"]
    # A second run asks nobody.
    assert not place.fetch(source).changed
    assert len(asked(place)) == 3


def test_a_model_of_several_files(place: Place, mirror: Path) -> None:
    names = [f"x-{number:05}-of-00002.gguf" for number in (1, 2)]
    folder = place.root / "split"
    folder.mkdir()
    for index, name in enumerate(names):
        split = {"split.no": index, "split.count": 2}
        (folder / name).write_bytes(make_model(place.gguf, 1 << 16, fill=index, **split))
    second, place.store = place.store, mirror
    place.fetch(folder.as_uri(), label="q8_0")
    place.store = second
    place.fails("checksum_mismatch", "mirror://m-q8_0", label="q8_0", sha256="0" * 64)
    assert len(asked(place)) == 1
    outcome = place.fetch("mirror://m-q8_0", label="q8_0")
    assert outcome.facts["directory"]
    for name in names:
        assert (second / "m-q8_0" / name).read_bytes() == (folder / name).read_bytes()


def test_a_file_that_is_not_what_its_record_says(place: Place, mirror: Path) -> None:
    file = mirror / f"m-{LABEL}.gguf"
    file.write_bytes(make_model(place.gguf, fill=9))
    place.fails("checksum_mismatch", f"mirror://{file.name}")
    place.check(there=False)


def test_another_sha256_is_refused_before_the_first_byte(place: Place, mirror: Path) -> None:
    place.fails("checksum_mismatch", f"mirror://m-{LABEL}.gguf", sha256="0" * 64)
    assert len(asked(place)) == 1


def test_what_the_mirror_does_not_have(place: Place, mirror: Path) -> None:
    message = place.fails("not_in_mirror", "mirror://other.gguf")
    assert "no other.gguf, or does not serve its record .store/other.gguf.json" in message


def test_no_mirror_is_known(place: Place, mirror: Path) -> None:
    place.mirror = ""
    assert "mistral_models_mirror_url" in place.fails("mirror_missing", f"mirror://m-{LABEL}.gguf")


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ([], "http_answer"),
        ({"format": 2}, "http_answer"),
        ({"format": 1, "files": {}, "size": 5, "sha256": "x"}, "http_answer"),
        ({"format": 1, "files": {"a.gguf": 5}}, "http_answer"),
        ({"format": 1, "files": {"../a.gguf": {"size": 5, "sha256": "0" * 64}}}, "unsafe_name"),
    ],
)
def test_a_record_that_is_none(place: Place, mirror: Path, record: Any, error: str) -> None:
    (mirror / ".store" / f"m-{LABEL}.gguf.json").write_text(json.dumps(record))
    place.fails(error, f"mirror://m-{LABEL}.gguf")


@pytest.mark.parametrize("source", ["mirror://", "mirror://a/b.gguf", "mirror://../b.gguf", "mirror://.store"])
def test_names_that_no_mirror_has(source: str) -> None:
    with pytest.raises(StackError) as caught:
        parse_source("m", source)
    assert caught.value.id == "model.source_invalid"
