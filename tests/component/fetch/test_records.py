# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores and records that somebody else may have written: nothing outside a model's own files is ever touched."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import registry
from ansible_collections.mistralrs.stack.plugins.module_utils._model import record as _model_record
from ansible_collections.mistralrs.stack.plugins.module_utils._store.contents import absent, listing, surplus
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import check_store
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import read_sidecar, set_digest

from tests.fakes.hub.place import LABEL, Place, make_model

SOMEBODY = 12345
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def wanted(place: Place) -> Wanted:
    return Wanted(str(place.store), "m", LABEL, place.final.name, "", "")


def known(path: Path) -> dict[str, Any]:
    status, content = path.stat(), path.read_bytes()
    identity = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}
    return {"sha256": hashlib.sha256(content).hexdigest(), **identity}


def record_of(files: dict[str, dict[str, Any]], **changes: Any) -> dict[str, Any]:
    digest = set_digest({name: str(each.get("sha256")) for name, each in files.items()})
    return {"format": 1, "checks": 1, "sha256": digest, "size": 1, "gguf": {}, "files": files, **changes}


def put_record(place: Place, record: Any, name: str = "") -> Path:
    path = place.store / ".store" / (name or f"{place.final.name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


@pytest.fixture
def secret(place: Place) -> Path:
    """A file outside of the store."""
    path = place.root / "rootsecret"
    path.write_bytes(b"secret")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("through", ["parent", "link", "absolute"])
def test_a_record_does_not_lead_out_of_its_model(place: Place, secret: Path, through: str) -> None:
    """Root would give the file the mode of a model's."""
    folder = place.final.with_suffix("")
    folder.mkdir(parents=True)
    name = {"parent": "../../rootsecret", "link": "inner/rootsecret", "absolute": str(secret)}[through]
    (folder / "inner").symlink_to(place.root)
    put_record(place, record_of({name: known(secret)}))
    assert read_sidecar(wanted(place)) == {}
    source = place.root / "x.gguf"
    source.write_bytes(place.content)
    assert place.fetch(source.as_uri()).changed
    absent(wanted(place), check=False)
    assert (secret.read_bytes(), secret.stat().st_mode & 0o777) == (b"secret", 0o600)


@pytest.mark.parametrize("name", ["...json", "..gguf.json", "....gguf.json", ".gguf.json"])
def test_what_is_pruned_is_a_model_of_the_store(place: Place, secret: Path, name: str) -> None:
    """The names of records and of parts are those of models: these would be the store itself, or what it lies in."""
    place.fetch()
    files = {".store": {**known(secret), "size": 1}}
    put_record(place, record_of(files), name)
    (place.store / ".store" / "incoming" / name.replace("json", "gguf.part")).write_bytes(b"x")
    for file, found in surplus(str(place.store), [place.final.name]).items():
        absent(Wanted(str(place.store), found["file"], "", file, "", ""), check=False)
    assert secret.exists()
    place.check(there=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": 5},
        {"sha256": "x"},
        {"size": -1},
        {"size": "5"},
        {"mtime_ns": "x"},
        {"files": []},
        {"files": {"a.gguf": {"size": 1}}},
        {"files": {str(number): {"size": 1, "sha256": "0" * 64} for number in range(_model_record.MAX_FILES + 1)}},
        {"gguf": []},
        {"gguf": {"tensor_types": ["x"] * 1000}},
        {"gguf": {"architecture": {"a": "b"}}},
        {"source": 5},
        {"sealed": "x" * 10_000},
        {"tokenizer": {"file": "x"}},
        {"tokenizer": {"size": 1, "sha256": "0" * 64, "prompt_tokens": "many"}},
        {"verified_at": "now"},
    ],
)
def test_a_record_that_is_none_is_as_good_as_none(place: Place, changes: dict[str, Any]) -> None:
    place.fetch()
    path = place.store / ".store" / f"{place.final.name}.json"
    good = json.loads(path.read_text())
    path.write_text(json.dumps({**good, **changes}))
    assert read_sidecar(wanted(place)) == {}
    assert listing(str(place.store))["models"] == []
    # The file is read once more and recorded.
    assert place.fetch().changed
    assert json.loads(path.read_text())["sha256"] == good["sha256"]
    assert not place.fetch().changed


def test_the_mirrors_records_are_checked_by_the_same_rules(place: Place) -> None:
    place.mirror = place.plain.url
    record = record_of({"inner/a.gguf": {"size": 1, "sha256": "0" * 64}})
    place.plain.files["/.store/x.gguf.json"] = json.dumps(record).encode()
    place.fails("unsafe_name", "mirror://x")


def untrusted(place: Place) -> str:
    with pytest.raises(StackError) as caught:
        check_store(wanted(place))
    assert caught.value.id == "model.store_untrusted"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@root_only
@pytest.mark.parametrize("part", ["", ".store", ".store/incoming", ".store/jobs"])
@pytest.mark.parametrize(
    ("owner", "group", "mode", "why"),
    [
        (SOMEBODY, SOMEBODY, 0o755, "belongs to the user 12345"),
        (0, SOMEBODY, 0o775, "others than its owner may write to it (mode 0775)"),
        (0, 0, 0o777, "others than its owner may write to it (mode 0777)"),
        (0, 0, 0o1777, "others than its owner may write to it (mode 1777)"),
    ],
)
def test_a_store_that_others_may_write(place: Place, part: str, owner: int, group: int, mode: int, why: str) -> None:
    (place.store / ".store" / "incoming").mkdir(parents=True)
    (place.store / ".store" / "jobs").mkdir()
    check_store(wanted(place))
    os.chown(place.store / part, owner, group)
    (place.store / part).chmod(mode)
    message = untrusted(place)
    assert f"the store's directory {str(place.store / part).rstrip('/')} can't be trusted" in message
    assert why in message


@root_only
def test_a_store_that_is_fine(place: Place) -> None:
    check_store(wanted(place))
    place.store.mkdir()
    # A group that has its owner's number is the owner's alone.
    place.store.chmod(0o775)
    check_store(wanted(place))
    link = place.root / "link"
    link.symlink_to(place.store)
    through = wanted(place)._replace(store=str(link))
    check_store(through)
    os.lchown(link, SOMEBODY, SOMEBODY)
    with pytest.raises(StackError, match="it is a link that belongs to the user 12345"):
        check_store(through)


@root_only
@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o1777, False), (0o775, False)])
def test_a_store_below_a_directory_of_everybody(place: Place, mode: int, refused: bool) -> None:
    """Whoever may rename it may put another one in its place."""
    folder = place.root / "everybody"
    folder.mkdir()
    folder.chmod(mode)
    place.store = folder / "models"
    place.store.mkdir()
    if refused:
        assert f"anyone may replace files in {folder}" in untrusted(place)
    else:
        check_store(wanted(place))


@root_only
def test_a_record_of_somebody_else_is_not_believed(place: Place) -> None:
    """Also in a store that was given back to root: only its content, read again, counts."""
    place.fetch()
    path = place.store / ".store" / f"{place.final.name}.json"
    os.chown(path, SOMEBODY, SOMEBODY)
    assert read_sidecar(wanted(place)) == {}
    assert place.fetch().facts["verified_by"] == "hash"
    assert path.stat().st_uid == 0
    path.chmod(0o666)
    assert read_sidecar(wanted(place)) == {}


@root_only
@pytest.mark.parametrize("several", [False, True])
def test_a_file_of_somebody_else_is_read_again(place: Place, several: bool) -> None:
    """Its owner can alter it and set its time back."""
    if several:
        names = [f"m-Q4_K_M-{number:05}-of-00002.gguf" for number in (1, 2)]
        place.hub.add("org/split", {name: make_model(place.gguf, 65536, **{"split.count": 2}) for name in names})
        source, path = "hf://org/split", place.final.with_suffix("") / names[0]
    else:
        source, path = place.source, place.final
    place.fetch(source)
    good, status = path.read_bytes(), path.stat()
    os.chown(path, SOMEBODY, SOMEBODY)
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    if not several:
        place.old = path.read_bytes()
    assert place.fetch(source).changed
    assert (path.read_bytes(), path.stat().st_uid) == (good, 0)
    os.chown(path, SOMEBODY, SOMEBODY)
    assert place.fetch(source, check=True).changed
    assert place.fetch(source).changed
    assert path.stat().st_uid == 0
    assert not place.fetch(source).changed


@root_only
def test_a_models_directory_of_somebody_else(place: Place) -> None:
    names = [f"m-Q4_K_M-{number:05}-of-00002.gguf" for number in (1, 2)]
    place.hub.add("org/split", {name: make_model(place.gguf, 65536, **{"split.count": 2}) for name in names})
    place.fetch("hf://org/split")
    os.chown(place.final.with_suffix(""), SOMEBODY, SOMEBODY)
    place.fails("store_untrusted", "hf://org/split")


def test_a_pipe_in_ollamas_store_does_not_stop_the_run(place: Place) -> None:
    path = place.root / "ollama" / "manifests" / "registry.ollama.ai" / "library" / "x" / "latest"
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    source = registry.Source("ollama", "", "", "registry.ollama.ai", "library/x", "latest")
    assert registry._local_manifest(source, [str(place.root / "ollama")]) is None


@root_only
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    ("owner", "target", "refused"), [(SOMEBODY, 0, True), (SOMEBODY, SOMEBODY, False), (0, 5, False)]
)
def test_a_link_of_somebody_else_gives_out_nothing_of_others(
    place: Place, several: bool, owner: int, target: int, refused: bool
) -> None:
    """In a directory that another user fills, such as the container of a conversion; a hub's cache is full of links."""
    folder = place.root / "somebodys"
    folder.mkdir()
    secret = place.root / "secret"
    secret.write_bytes(place.content)
    os.chown(secret, target, target)
    link = folder / "model.gguf"
    link.symlink_to(secret)
    os.lchown(link, owner, owner)
    source = folder.as_uri() if several else link.as_uri()
    if refused:
        assert f"it is a link of the user {SOMEBODY} to a file of the user 0" in place.fails(
            "source_unreadable", source
        )
        assert not place.store.exists()
    else:
        assert place.fetch(source).changed
