# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._files.existing_folder import existing_folder


def test_the_next_folder_above(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("", "new", "new/deeper", "file"):
        assert existing_folder(str(tmp_path / name)) == str(tmp_path)


@pytest.mark.parametrize(
    ("path", "expected"), [("", "/"), ("/", "/"), ("/no/such", "/"), ("no/such", "."), ("no", ".")]
)
def test_it_always_ends(path: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert existing_folder(path) == (str(tmp_path) if expected == "." else expected)
