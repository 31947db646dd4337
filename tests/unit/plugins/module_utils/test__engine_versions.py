"""What versions are built with agrees with how they are started, and unknown ones are refused or derived."""

from __future__ import annotations

import contextlib
import re

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_plan import ENGINES, engine_of
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions import (
    COMMITS,
    DEFAULT_VERSION,
    DEFECTS,
    ENGINE_VERSIONS,
    LINES,
    as_data,
    engine_version,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from hypothesis import given
from hypothesis import strategies as st

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_seeds_version() -> None:
    seed = engine_version("v0.6.0")
    assert (seed.version, seed.tag, seed.commit[:8]) == ("0.6.0", "v0.6.0", "3410183e")
    assert (seed.package, seed.binary, seed.features) == ("mistralrs-server", "mistralrs-server", ("cuda",))
    assert (seed.rust_minimum, seed.threads_variable, seed.compute_minimum) == ("1.82", "RAYON_NUM_THREADS", "7.5")
    assert "12.2" in seed.cuda_versions
    assert "12.9" not in seed.cuda_versions
    assert any("/metrics" in defect for defect in seed.defects)
    assert seed == engine_version("0.6.0")


def test_the_default_is_the_newest() -> None:
    newest = engine_version(DEFAULT_VERSION)
    assert newest == ENGINE_VERSIONS[-1]
    assert newest.version == "0.9.2"
    assert (newest.package, newest.binary, newest.default_features) == ("mistralrs-cli", "mistralrs", False)
    assert newest.cuda_versions[-1] == "13.3"
    assert not any("/metrics" in defect or "mistralrs (" in defect for defect in newest.defects)


@pytest.mark.parametrize(
    ("version", "differences"),
    [
        ("0.6.0", {"compute_minimum": "7.5", "default_features": True, "rust_minimum": "1.82"}),
        ("0.7.0", {"compute_minimum": "7.5", "threads_variable": "RAYON_NUM_THREADS", "binary": "mistralrs"}),
        ("0.8.0", {"compute_minimum": "8.0", "threads_variable": "CUDAFORGE_THREADS", "default_features": True}),
        ("0.8.1", {"default_features": True, "command_generation": "0.8.0"}),
        ("0.8.2", {"default_features": False, "rust_minimum": "1.88", "command_generation": "0.8.2"}),
        ("0.8.3", {"rust_version": "1.88.0", "command_generation": "0.8.2"}),
        ("0.8.4", {"rust_version": "1.94.0", "rust_minimum": "1.94", "command_generation": "0.8.4"}),
        ("0.8.23", {"rust_minimum": "1.94", "command_generation": "0.8.4"}),
        ("0.9.0", {"command_generation": "0.9.0"}),
        ("0.9.5", {"command_generation": "0.9.1"}),
    ],
)
def test_where_versions_differ(version: str, differences: dict[str, object]) -> None:
    found = engine_version(version, COMMIT)._asdict()
    assert {key: found[key] for key in differences} == differences


def test_cuda_of_the_lines() -> None:
    """As the engine's build script has it: never 12.7, 13.3 from 0.9.2 on, never 13.4."""
    for line in LINES:
        assert "12.7" not in line.cuda_versions
        assert "13.4" not in line.cuda_versions
        assert ("13.3" in line.cuda_versions) == (line.since >= (0, 9, 2))
        assert list(line.cuda_versions) == sorted(line.cuda_versions, key=lambda one: [int(n) for n in one.split(".")])


def test_tables_are_in_order() -> None:
    assert [line.since for line in LINES] == sorted(line.since for line in LINES)
    assert all(re.fullmatch("[0-9a-f]{8}|[0-9a-f]{40}", commit) for commit in COMMITS.values())
    assert all(first < fixed for first, fixed, _sentence in DEFECTS if fixed)


@pytest.mark.parametrize("version", [*COMMITS, "0.8.1", "0.8.4", "0.8.23", "0.9.1", "0.9.99"])
def test_the_command_line_is_that_of_the_plan(version: str) -> None:
    generation = engine_version(version, COMMIT).command_generation
    assert engine_of(generation) == engine_of(version)
    assert generation in {".".join(str(part) for part in engine.since) for engine in ENGINES}


def test_unknown_without_a_commit() -> None:
    with pytest.raises(
        StackError, match=r"0\.8\.5 isn't known \(known are 0\.6\.0, .*0\.9\.2\).*mistral_image_commit"
    ) as e:
        engine_version("v0.8.5")
    assert e.value.id == "image.version_unknown"


@pytest.mark.parametrize(
    ("version", "like", "generation"),
    [
        ("0.6.1", "0.6.0", "0.6.0"),
        ("0.8.5", "0.8.4", "0.8.4"),
        ("0.10.0", "0.9.2", "0.9.1"),
        ("1.0.0", "0.9.2", "0.9.1"),
    ],
)
def test_unknown_with_a_commit(version: str, like: str, generation: str) -> None:
    found = engine_version(version, COMMIT.upper())
    assert found.commit == COMMIT
    assert found.command_generation == generation
    assert len(found.warnings) == 1
    assert f"like {like}." in found.warnings[0]
    # The plan can start it by its generation, also where it doesn't know the version.
    engine_of(generation)


@pytest.mark.parametrize(
    ("given", "commit", "warnings"),
    [
        ("", COMMITS["0.9.2"], 0),
        (COMMITS["0.9.2"], COMMITS["0.9.2"], 0),
        (COMMITS["0.9.2"][:10], COMMITS["0.9.2"], 0),
        ("9e922623", "9e922623", 1),
    ],
)
def test_a_commit_for_a_known_version(given: str, commit: str, warnings: int) -> None:
    found = engine_version("0.9.2", given)
    assert found.commit == commit
    assert len(found.warnings) == warnings


def test_a_short_known_commit_is_completed() -> None:
    full = COMMITS["0.7.0"] + "0" * (40 - len(COMMITS["0.7.0"]))
    assert engine_version("0.7.0", full).commit == full
    assert engine_version("0.7.0", full).warnings == ()


@pytest.mark.parametrize("version", ["", "0.9", "latest", "v", "0.9.2-rc1", "0.9.2\n", "0.9.x", "٠.٩.٢", "1.2.3.4"])
def test_no_version(version: str) -> None:
    with pytest.raises(StackError) as caught:
        engine_version(version, COMMIT)
    assert caught.value.id == "image.version_invalid"


@pytest.mark.parametrize("commit", ["", COMMIT])
def test_too_old(commit: str) -> None:
    with pytest.raises(StackError) as caught:
        engine_version("0.5.0", commit)
    assert caught.value.id == "image.version_too_old"


@pytest.mark.parametrize("commit", ["master", "0123456", COMMIT + "0", "v0.9.2", "0123456g", COMMIT + "\n"])
def test_no_commit(commit: str) -> None:
    with pytest.raises(StackError) as caught:
        engine_version("0.9.2", commit)
    assert caught.value.id == "image.commit_invalid"


@given(st.text(), st.text())
def test_nothing_else_is_raised(version: str, commit: str) -> None:
    with contextlib.suppress(StackError):
        assert engine_version(version, commit).tag.startswith("v")


def test_data_for_roles() -> None:
    data = as_data(engine_version("0.9.2"))
    assert data["cuda_versions"][-1] == "13.3"
    assert data["features"] == ["cuda", "flash-attn"]
    assert not any(isinstance(value, tuple) for value in data.values())
