"""The table of versions is whole: whatever is kept for a version is there for each, and a new one is one row.

What the rows say is compared with recordings in plugin_utils/_image/test_recorded_versions.py and
_engine/test_options_by_version.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.row import Release, Row
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import (
    ROWS,
    engine_of,
    known_versions,
    row_of,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import Number, parse, text_of
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine_defects import DEFECTS

ROOT = Path(__file__).resolve().parents[5]
RECORDED = "tests/recordings/mistralrs-source"


def recorded(name: str) -> list[list[str]]:
    text = (ROOT / RECORDED / name).read_text()
    return [line.split() for line in text.splitlines() if not line.startswith("#")]


def lacking_in_order(rows: Sequence[Row]) -> Iterator[str]:
    """What is wrong with the table itself."""
    ends: list[Number] = [row.since for row in rows[1:]]
    for row, end in zip(rows, [*ends, (10**4,)]):
        name = text_of(row.since)
        numbers = [parse(release.version) or () for release in row.releases]
        if row.since >= end:
            yield f"The row {name} does not come before the next one."
        if row.since not in numbers:
            yield f"The row {name} has no release {name}."
        if numbers != sorted(set(numbers)) or not all(row.since <= number < end for number in numbers):
            yield f"The releases of the row {name} are not in order, or belong to another row."
        if row.engine.generation > row.since:
            yield f"The command line of the row {name} is called after a later version."
    commits = [release.commit for row in rows for release in row.releases]
    for commit in commits:
        if not re.fullmatch("[0-9a-f]{40}", commit) or commits.count(commit) > 1:
            yield f"The commit {commit} is not one of 40 digits, or there twice."


def lacking_elsewhere(rows: Sequence[Row]) -> Iterator[str]:
    """What the versions of the table lack in what is recorded and written about versions."""
    releases = [release for row in rows for release in row.releases]
    commits = {line[1] for line in recorded("tags.txt")}
    images = {line[0] for line in recorded("published.txt")}
    compared = parse(recorded("options.txt")[0][1]) or ()
    for release in releases:
        number = parse(release.version) or ()
        if release.commit not in commits:
            yield f"{RECORDED}/tags.txt has no line for the commit of {release.version}."
        # The names of older images were taken from a workflow that is not recorded.
        if release.tagged and number >= (0, 8, 4) and f"v{release.version}" not in images:
            yield f"{RECORDED}/published.txt has no line for the images of {release.version}."
        if number > compared:
            yield (
                f"Compare {RECORDED}/options.txt with the configuration keys of {release.version}, and name that "
                "version in the line 'compared-up-to'."
            )
    known = {parse(release.version) for release in releases}
    for defect in DEFECTS:
        for number in (defect.first, defect.fixed):
            if number and number not in known:
                yield f"The table has no version {text_of(number)}, which engine_defects.py names."


def test_nothing_is_lacking() -> None:
    assert [*lacking_in_order(ROWS), *lacking_elsewhere(ROWS)] == []


def test_what_a_new_row_lacks_is_said() -> None:
    bare = replace(ROWS[-1], since=(0, 10, 0), releases=())
    assert list(lacking_in_order([*ROWS, bare])) == ["The row 0.10.0 has no release 0.10.0."]
    new = replace(bare, releases=(Release("0.10.0", "f" * 40),))
    assert list(lacking_in_order([*ROWS, new])) == []
    assert list(lacking_elsewhere([*ROWS, new])) == [
        "tests/recordings/mistralrs-source/tags.txt has no line for the commit of 0.10.0.",
        "tests/recordings/mistralrs-source/published.txt has no line for the images of 0.10.0.",
        "Compare tests/recordings/mistralrs-source/options.txt with the configuration keys of 0.10.0, and name that "
        "version in the line 'compared-up-to'.",
    ]


def test_a_row_that_is_out_of_order() -> None:
    twice = replace(ROWS[-1], releases=(*ROWS[-1].releases, ROWS[0].releases[0]))
    assert list(lacking_in_order([*ROWS[:-1], twice]))[:2] == [
        "The releases of the row 0.9.1 are not in order, or belong to another row.",
        f"The commit {ROWS[0].releases[0].commit} is not one of 40 digits, or there twice.",
    ]
    assert "The row 0.9.1 does not come before the next one." in list(lacking_in_order([*ROWS, ROWS[0]]))


NEW_ROW = """
_0_10_0 = replace(
    _0_9_1,
    since=(0, 10, 0),
    releases=(Release("0.10.0", "ffffffffffffffffffffffffffffffffffffffff"),),
    engine=replace(_0_9_1.engine, generation=(0, 10, 0)),
    build=replace(_0_9_1.build, rust_version="1.99.0"),
    gguf=replace(_0_9_1.gguf, architectures=_0_9_1.gguf.architectures | {"new"}),
)
ROWS = (*ROWS, _0_10_0)
"""
# What roles and filters ask of a version, by the functions that they call.
USED = """
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.plan import engine_plan
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import known_versions
from ansible_collections.mistralrs.stack.plugins.module_utils._model.gguf_support import check
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import engine_version
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.published import published_tag

engine_plan({}, "0.10.3", [], [{"name": "a:1b"}])
check({"architecture": "new", "tensor_types": ["Q4_K"]}, "0.10.0", "m")
engine = engine_version("0.10.0")
image = published_tag("580.95.05", ["8.9"], engine).reference.rpartition(":")[2]
print(known_versions(), engine.commit[:4], engine.rust_version, engine.command_generation, engine.tag, image, sep="; ")
"""


def test_a_new_version_is_one_row_of_one_file(tmp_path: Path) -> None:
    stack = tmp_path / "ansible_collections" / "mistralrs" / "stack" / "plugins"
    for part in ("module_utils", "plugin_utils"):
        shutil.copytree(ROOT / "plugins" / part, stack / part, ignore=shutil.ignore_patterns("__pycache__"))
    table = stack / "module_utils" / "_engine_versions" / "table.py"
    text = table.read_text()
    assert text.count("# By version, oldest first.\n") == 1
    table.write_text(text.replace("# By version, oldest first.\n", f"{NEW_ROW}# By version, oldest first.\n"))
    done = subprocess.run(
        [sys.executable, "-c", USED],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == (
        "0.6.0, 0.7.x, 0.8.x, 0.9.x and 0.10.x; ffff; 1.99.0; 0.10.0; v0.10.0; cuda130-sm89-0.10.0\n"
    ), done.stderr


def test_what_says_which_versions_are_known() -> None:
    assert known_versions() == "0.6.0, 0.7.x, 0.8.x and 0.9.x"
    assert f"The filter knows {known_versions()}." in (ROOT / "plugins" / "filter" / "engine_plan.py").read_text()
    variables = yaml.safe_load((ROOT / "roles" / "mistral_image" / "vars" / "main.yml").read_text())
    for version in variables["__mistral_image_evaluation_versions"]:
        assert engine_of(version)


@pytest.mark.parametrize(
    ("version", "since"),
    [
        ("0.5.0", "0.6.0"),
        ("0.6.9", "0.6.0"),
        ("0.8.10", "0.8.4"),
        ("0.9.0+5", "0.9.0"),
        ("0.9.2+7", "0.9.1"),
        ("1.0.0", "0.9.1"),
    ],
)
def test_rows_hold_until_the_next(version: str, since: str) -> None:
    assert text_of(row_of(parse(version) or ()).since) == since
