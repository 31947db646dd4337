"""Files of several programs, put in place as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import host_files

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*files: dict[str, Any], **more: Any) -> dict[str, Any]:
        arguments = {
            "files": [{**entry, "path": str(tmp_path / entry["path"])} for entry in files],
            "_ansible_remote_tmp": str(tmp_path),
            **more,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            host_files.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


def test_files_and_their_folders_are_made_once(tmp_path: Path, run: Run) -> None:
    files = [{"path": "a/b/one", "content": "1\n"}, {"path": "two", "content": "2\n", "mode": "0600"}]
    assert run(*files)["changed_files"] == [str(tmp_path / "a/b/one"), str(tmp_path / "two")]
    assert (tmp_path / "a/b/one").read_text() == "1\n"
    assert (tmp_path / "two").stat().st_mode & 0o7777 == 0o600
    assert run(*files)["changed"] is False


def test_check_mode_says_it_and_makes_nothing(tmp_path: Path, run: Run) -> None:
    result = run({"path": "a/one", "content": "1\n"}, _ansible_check_mode=True, _ansible_diff=True)
    assert result["changed"]
    assert result["diff"][0]["after"] == "1\n"
    assert not (tmp_path / "a").exists()


def test_a_file_is_taken_away(tmp_path: Path, run: Run) -> None:
    (tmp_path / "old").write_text("x")
    assert run({"path": "old", "state": "absent"})["changed"]
    assert not (tmp_path / "old").exists()
    assert run({"path": "old", "state": "absent"})["changed"] is False


def test_it_is_said_whether_a_file_is_there(tmp_path: Path, run: Run) -> None:
    (tmp_path / "there").write_text("x")
    result = run({"path": "there", "state": "as_is"}, {"path": "gone", "state": "as_is"})
    assert (result["changed"], result["present_files"]) == (False, [str(tmp_path / "there")])
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_none_is_written_if_one_cannot_be(tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_text("x")
    result = run({"path": "first", "content": "1"}, {"path": "file/second", "content": "2"})
    assert result["error_id"] == "gateway.configuration_not_written"
    assert not (tmp_path / "first").exists()
