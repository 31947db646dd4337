"""Files appear whole or not at all, with the mode that was asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._files import atomic


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_text("old")
    path.chmod(0o666)
    atomic.write_atomically(str(path), b"new", 0o640)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["settings"]


def test_who_reads_meanwhile_has_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_text("old")
    with path.open() as reader:
        atomic.write_atomically(str(path), b"new")
        assert reader.read() == "old"


def test_nobody_else_reads_what_is_staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    chmod = os.fchmod

    def seen(descriptor: int, mode: int) -> None:
        modes.append(os.fstat(descriptor).st_mode & 0o777)
        chmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", seen)
    staged = Path(atomic.stage(str(tmp_path / "nginx.conf"), b"x", 0o644))
    assert modes == [0o600]
    assert staged.name.startswith(".nginx.conf.")
    assert staged.parent == tmp_path


@pytest.mark.parametrize("failing", ["fsync", "fchmod", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "settings"
    path.write_text("old")

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        atomic.write_atomically(str(path), b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["settings"]


def test_a_path_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    atomic.write_atomically("here", b"x")
    assert (tmp_path / "here").read_bytes() == b"x"
