# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the store in the order in which they may use each other: each only those before it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

STORE = Path(__file__).resolve().parents[5] / "plugins" / "module_utils" / "_store"
ROOM = "ansible_collections.mistralrs.stack.plugins.module_utils._store"
# What every step uses, then the steps of a model, then what is done besides, then the job that does all of it.
COMMON = ["layout", "disk_space", "permissions", "incoming", "publish", "chat_template", "records", "lock", "hashing"]
STORED = ["companion_files", "entry", "structure", "outcome"]
STEPS = [
    "access_options",
    "checksum",
    *("remote_headers", "suitability", "local_source", "selection", "plan", "predict"),
    "fetch",
    "acceptance",
    "apply",
]
BESIDES = ["verify", "contents"]
ORDER = [*COMMON, *STORED, *STEPS, *BESIDES, "work"]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == ROOM:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{ROOM}."):
            found.add(str(node.module).rpartition(".")[2])
    return found


def test_every_file_has_its_place() -> None:
    assert {path.stem for path in STORE.glob("*.py")} == set(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_a_file_uses_only_those_before_it(name: str) -> None:
    assert imported(STORE / f"{name}.py") <= set(ORDER[: ORDER.index(name)])


@pytest.mark.parametrize("name", BESIDES)
def test_no_step_uses_what_is_done_besides(name: str) -> None:
    assert not [step for step in STEPS if name in imported(STORE / f"{step}.py")]
