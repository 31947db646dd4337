"""The module's own part: what it says when the disk refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import link_tree


def test_a_folder_that_cannot_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_root: str, _steps: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(link_tree.link_tree, "apply", full)
    root = tmp_path / "serve"
    with patch_module_args({"path": str(root), "links": {"a": "/b"}}), pytest.raises(SystemExit):
        link_tree.main()
    result = json.loads(capsys.readouterr().out)
    assert result["error_id"] == "links.not_written"
    assert result["msg"].startswith(f"The links in {root} could not be changed: {root}: No space left on device. ")
