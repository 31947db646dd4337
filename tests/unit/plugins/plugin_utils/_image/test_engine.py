"""What versions are built with agrees with how they are started, and unknown ones are refused or derived."""

from __future__ import annotations

import contextlib
import re

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import (
    DEFAULT_VERSION,
    RELEASES,
    ROWS,
    engine_of,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import parse, text_of
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import (
    ENGINE_VERSIONS,
    KNOWN,
    engine_version,
    ranges,
)
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


def test_the_default_is_the_newest_that_serves_many_clients() -> None:
    """Upstream issue 2343 (0.9.0 to 0.9.2), fixed by pull request 2389, the first commit after v0.9.2."""
    newest = engine_version(DEFAULT_VERSION)
    assert newest == ENGINE_VERSIONS[-1]
    assert newest.version == "0.9.2+7"
    assert (newest.tag, newest.commit) == ("", "9e922623f24b32d41f3892b74f0eed18707f4e6c")
    assert newest.reported_version == "0.9.2"
    assert newest.warnings == ()
    assert (newest.package, newest.binary, newest.default_features) == ("mistralrs-cli", "mistralrs", False)
    assert newest.cuda_versions[-1] == "13.3"
    assert newest.command_generation == engine_version("0.9.2").command_generation
    assert not any("/metrics" in defect or "mistralrs (" in defect for defect in newest.defects)


@pytest.mark.parametrize(
    ("version", "commit", "tag", "reported"),
    [
        # `git rev-parse TAG^{commit}` in upstream's repository, and `version` in Cargo.toml there.
        ("0.7.0", "b5af26051d1ae87102bb2a2815dd7d526c02c5d6", "v0.7.0", "0.7.0"),
        ("0.8.0", "962112d18ea5729fe7acaae5085ce54c2fb66dab", "v0.8.0", "0.8.0"),
        ("0.8.4", "6f753eba732ecf6e1a6793dfaf2c1a30176e8ffc", "v0.8.4", "0.8.4"),
        ("0.8.10", "40ebc46091f47cca33dbf61eb5e5612a29488c1f", "v0.8.10", "0.8.9"),
        ("0.8.23", "8744ceb4fe5b5a89f40065259a723dca01deb5c1", "v0.8.23", "0.8.23"),
        ("0.9.0", "54957525b8b648108000af2004a4991cf08c0e69", "v0.9.0", "0.9.0"),
        ("0.9.1", "11f255058573e085afe0a149f8a19cbd39aa1200", "v0.9.1", "0.9.1"),
        ("0.9.2", "d184053f2441f897cf81429b98b0d868f4d96ff3", "v0.9.2", "0.9.2"),
        # .cargo_vcs_info.json of the crate mistralrs-cli 0.8.1; there is no tag.
        ("0.8.1", "9397956728e6508d1c7a288043161ad1d70b658f", "", "0.8.1"),
    ],
)
def test_releases(version: str, commit: str, tag: str, reported: str) -> None:
    found = engine_version(version)
    assert (found.version, found.commit, found.tag, found.reported_version) == (version, commit, tag, reported)


def test_every_release_is_listed_once() -> None:
    """28 tags from v0.6.0 on without candidates, the crate 0.8.1, and one commit after a release."""
    assert len(RELEASES) == len({release.commit for release in RELEASES.values()}) == 30
    assert [version for version in RELEASES if "+" in version] == ["0.9.2+7"]
    assert {f"0.8.{patch}" for patch in range(24)} <= set(RELEASES)
    assert all(re.fullmatch("[0-9a-f]{40}", release.commit) for release in RELEASES.values())
    assert [one.version for one in ENGINE_VERSIONS if not one.tag] == ["0.8.1", "0.9.2+7"]
    assert KNOWN == "0.6.0, 0.7.0, 0.8.0 to 0.8.23, 0.9.0 to 0.9.2, 0.9.2+7"


@pytest.mark.parametrize(
    ("versions", "text"),
    [
        ([], ""),
        (["0.9.2"], "0.9.2"),
        (["0.8.9", "0.8.10", "0.8.11", "0.9.0"], "0.8.9 to 0.8.11, 0.9.0"),
        (["0.9.2", "0.9.2+7", "0.9.3"], "0.9.2, 0.9.2+7, 0.9.3"),
    ],
)
def test_ranges(versions: list[str], text: str) -> None:
    assert ranges(versions) == text


def test_a_commit_after_a_release_is_like_the_release_but_for_what_it_fixed() -> None:
    release, after = engine_version("0.9.2"), engine_version("v0.9.2+7")
    same = ("package", "binary", "rust_version", "cuda_versions", "features", "command_generation", "reported_version")
    assert all(getattr(release, field) == getattr(after, field) for field in same)
    gone = set(release.defects) - set(after.defects)
    assert any("issue 2343" in defect for defect in gone)
    # The operator of the release is told, once and with the way out.
    assert len(release.warnings) == 1
    assert "fixed in 0.9.2+7" in release.warnings[0]
    # A later commit of the operator's own has the fix, an earlier one may not.
    assert not any("2343" in one for one in engine_version("0.9.2+9", COMMIT).warnings)
    assert any("2343" in one for one in engine_version("0.9.2+3", COMMIT).warnings)


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
        ("0.8.23", {"rust_minimum": "1.94", "command_generation": "0.8.11"}),
        ("0.9.0", {"command_generation": "0.9.0"}),
        ("0.9.5", {"command_generation": "0.9.1"}),
    ],
)
def test_where_versions_differ(version: str, differences: dict[str, object]) -> None:
    found = vars(engine_version(version, COMMIT))
    assert {key: found[key] for key in differences} == differences


def test_cuda_of_the_lines() -> None:
    """mistralrs-quant/build.rs at the tags: never 12.7 or 13.4.

    11.4 to 11.7 are in its list, but the kernels include cuda_fp8.h of 11.8. 13.3 is there from v0.8.23 on, whose
    CUTLASS 7d49e6c does not compile with it (upstream issue 2292); v0.9.0 has another.
    """
    for row in ROWS:
        line = row.build
        assert not {"11.4", "11.5", "11.6", "11.7", "12.7", "13.4"} & set(line.cuda_versions)
        assert ("11.8" in line.cuda_versions) == (row.since >= (0, 8, 0))
        assert ("13.2" in line.cuda_versions) == (row.since >= (0, 8, 0))
        assert ("13.3" in line.cuda_versions) == (row.since >= (0, 9, 0))
        assert list(line.cuda_versions) == sorted(line.cuda_versions, key=lambda one: [int(n) for n in one.split(".")])


def test_tables_are_in_order() -> None:
    assert [row.since for row in ROWS] == sorted(row.since for row in ROWS)
    numbers = [parse(version) or () for version in RELEASES]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("version", [*RELEASES, "0.9.3+1", "0.9.99"])
def test_the_command_line_is_that_of_the_plan(version: str) -> None:
    generation = engine_version(version, COMMIT).command_generation
    assert engine_of(generation) == engine_of(version)
    assert generation in {text_of(row.engine.generation) for row in ROWS}


def test_unknown_without_a_commit() -> None:
    with pytest.raises(
        StackError, match=r"0\.9\.5 isn't known \(known are 0\.6\.0, .*0\.9\.2\+7\).*mistral_image_commit"
    ) as e:
        engine_version("v0.9.5")
    assert e.value.id == "image.version_unknown"


@pytest.mark.parametrize(
    ("version", "like", "generation"),
    [
        ("0.6.1", "0.6.0", "0.6.0"),
        ("0.8.24", "0.8.22", ""),
        ("0.9.2+8", "0.9.1", ""),
        ("0.9.3", "0.9.1", ""),
        ("0.10.0", "0.9.1", ""),
        ("1.0.0", "0.9.1", ""),
    ],
)
def test_unknown_with_a_commit(version: str, like: str, generation: str) -> None:
    found = engine_version(version, COMMIT.upper())
    assert found.commit == COMMIT
    assert generation in ("", found.command_generation)
    assert len(found.warnings) == 1
    assert f"like {like}." in found.warnings[0]
    # The plan can start it by its generation, also where it doesn't know the version.
    engine_of(found.command_generation)


@pytest.mark.parametrize(
    ("given", "commit", "warnings"),
    [
        ("", RELEASES["0.8.23"].commit, []),
        (RELEASES["0.8.23"].commit, RELEASES["0.8.23"].commit, []),
        (RELEASES["0.8.23"].commit[:10], RELEASES["0.8.23"].commit, []),
        (COMMIT, COMMIT, [f"is built as 0.8.23, but mistral.rs 0.8.23 is {RELEASES['0.8.23'].commit}"]),
        # What the name for it would be is said, and an abbreviated one is completed.
        ("9e922623", RELEASES["0.9.2+7"].commit, ["is mistral.rs 0.9.2+7, but is built as 0.8.23: set"]),
    ],
)
def test_a_commit_for_a_known_version(given: str, commit: str, warnings: list[str]) -> None:
    found = engine_version("0.8.23", given)
    assert found.commit == commit
    assert len(found.warnings) == len(warnings)
    assert all(part in said for part, said in zip(warnings, found.warnings))


@pytest.mark.parametrize(
    "version",
    ["", "0.9", "latest", "v", "0.9.2-rc1", "0.9.2\n", "0.9.x", "٠.٩.٢", "1.2.3.4", "0.9.2+", "0.9.2+x", "0.9.2+7\n"],
)
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
        assert engine_version(version, commit).binary.startswith("mistralrs")
