"""A proof is remembered for one run of one container."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.proof_record import Run, has_passed, remember

RUN = Run("c0ffee", "2026-11-27T01:12:15.663105Z")


def test_remembered_for_this_run_this_model_and_this_proof(tmp_path: Path) -> None:
    path = str(tmp_path / "mistral" / "proven.json")
    assert not has_passed(path, RUN, "m", "6 clients")
    remember(path, RUN, "m", "6 clients")
    assert has_passed(path, RUN, "m", "6 clients")
    assert not has_passed(path, RUN, "m", "7 clients")
    assert not has_passed(path, RUN, "other", "6 clients")
    assert not has_passed(path, Run("c0ffee", "2026-11-27T02:00:00Z"), "m", "6 clients")
    assert not has_passed(path, Run("decade", RUN.started_at), "m", "6 clients")
    assert os.stat(path).st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path / "mistral") == ["proven.json"]


def test_several_models_of_one_run(tmp_path: Path) -> None:
    path = str(tmp_path / "proven.json")
    remember(path, RUN, "m", "6 clients")
    remember(path, RUN, "n", "6 clients")
    assert has_passed(path, RUN, "m", "6 clients")
    assert has_passed(path, RUN, "n", "6 clients")
    remember(path, Run("decade", "now"), "n", "6 clients")
    assert set(json.loads(Path(path).read_text())["passed"]) == {"n"}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"container": "c0ffee"}', '{"passed": {"m": "6 clients"}}'])
def test_a_damaged_file_proves_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "proven.json"
    path.write_text(text)
    assert not has_passed(str(path), RUN, "m", "6 clients")
    remember(str(path), RUN, "m", "6 clients")
    assert has_passed(str(path), RUN, "m", "6 clients")


def test_a_container_that_is_not_known_is_never_remembered(tmp_path: Path) -> None:
    path = tmp_path / "proven.json"
    remember(str(path), Run("", ""), "m", "6 clients")
    assert not path.exists()
    path.write_text('{"container": "", "started_at": "", "passed": {"m": "6 clients"}}')
    assert not has_passed(str(path), Run("", ""), "m", "6 clients")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "proven.json"
    remember(str(path), RUN, "m", "6 clients")
    old = path.read_text()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        remember(str(path), Run("decade", "now"), "m", "6 clients")
    assert path.read_text() == old
    assert os.listdir(tmp_path) == ["proven.json"]
