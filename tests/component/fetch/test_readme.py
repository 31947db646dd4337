# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""README.md says which test injects which fault; each error about models is named by a test."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[1]
# Here the ids are named without their beginning.
ROOMS = TESTS / "unit" / "plugins" / "module_utils"
SHORT = (HERE, ROOMS / "_model" / "test_fitting.py", ROOMS / "_formats" / "test_safetensors_header.py")


@cache
def known() -> dict[tuple[Path, str], frozenset[str]]:
    """The texts in each test and its decorators."""
    found = {}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                constants = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
                found[path, node.name] = frozenset(each for each in constants if isinstance(each, str))
    return found


def rows() -> list[tuple[int, set[str]]]:
    table = re.findall(r"^\| (\d+) \|[^|]+\|(.+)\|$", (HERE / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    return [(int(number), set(re.findall(r"`(\w+)`", names))) for number, names in table]


def test_each_of_forty_faults_has_a_test_that_exists() -> None:
    assert sorted({number for number, _names in rows()}) == list(range(1, 41))
    named = set().union(*(names for _number, names in rows()))
    assert all(names for _number, names in rows())
    assert named - {name for _path, name in known()} == set()


def test_each_test_of_a_fault_is_in_its_row() -> None:
    missing = []
    for path, name in known():
        match = re.match(r"test_((?:\d+_)+)", name)
        if path.parent == HERE and match:
            for number in map(int, match[1].rstrip("_").split("_")):
                if number <= 40 and not any(name in names for other, names in rows() if other == number):
                    missing.append((number, name))
    assert missing == []


def test_each_error_about_models_is_named_by_a_test() -> None:
    listing = "import generate, json; print(json.dumps([*generate.yaml_uses(), *generate.code_errors()]))"
    # In a process of its own, because it makes the collection importable once more.
    done = subprocess.run(
        [sys.executable, "-c", listing], cwd=TESTS.parent / "docs", capture_output=True, text=True, check=True
    )
    ids = {each for each in json.loads(done.stdout) if each.startswith(("model.", "models."))}
    assert len(ids) > 80
    named: set[str] = set()
    for (path, _name), texts in known().items():
        for text in texts:
            named.update(re.findall(r"models?\.[a-z0-9_]+", text))
            if any(place in (path, *path.parents) for place in SHORT):
                named.add(f"model.{text}")
    assert sorted(ids - named) == []
