"""The tables of versions and of published images, against what upstream's repository holds at its tags.

The recordings are tests/recordings/mistralrs-source: tags.txt and published.txt say in their first lines from which
files each column comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import RELEASES, row_of
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import parse
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import engine_version
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.published import published_tag

RECORDED = Path(__file__).resolve().parents[4] / "recordings" / "mistralrs-source"


class Tag(NamedTuple):
    """One line of tags.txt."""

    tag: str
    commit: str
    version: str
    rust: str
    package: str
    features: str
    default: str
    cuda: str
    cudarc: str
    nvcc: str
    cutlass: str
    fp8: str


def lines(name: str) -> Iterator[list[str]]:
    for line in (RECORDED / name).read_text().splitlines():
        if not line.startswith("#"):
            yield line.split()


TAGS = {row.commit: row for row in (Tag(*line) for line in lines("tags.txt"))}


def number(text: str) -> list[int]:
    return [int(part) for part in text.split(".")]


def test_the_versions_are_those_of_the_repository() -> None:
    assert {row.tag.removeprefix("v"): row.commit for row in TAGS.values() if row.tag != "-"} == {
        version: release.commit for version, release in RELEASES.items() if release.tagged
    }
    assert {release.commit for release in RELEASES.values()} == set(TAGS)


@pytest.mark.parametrize("version", RELEASES)
def test_a_version_is_what_its_source_says(version: str) -> None:
    engine, source = engine_version(version), TAGS[RELEASES[version].commit]
    assert engine.tag == source.tag.removeprefix("-")
    assert engine.reported_version == source.version
    assert engine.rust_minimum == source.rust
    assert number(engine.rust_version) >= number(source.rust)
    assert engine.package == source.package
    assert sorted(engine.known_features) == source.features.split(",")
    assert set(engine.features) <= set(engine.known_features)
    # What lets clients run code is never built.
    assert engine.default_features == (source.default == "-")
    tool = "CUDAFORGE_THREADS" if source.nvcc.startswith("cudaforge") else "RAYON_NUM_THREADS"
    assert engine.threads_variable == tool
    assert engine.cutlass == (source.cutlass != "-")


# The newest toolkit that each release of cudarc knows: its build.rs stops the build with a newer one.
CUDARC = {"0.13.9": "12.8", "0.19.0": "13.1", "0.19.4": "13.2", "0.19.8": "13.3"}


@pytest.mark.parametrize("version", RELEASES)
def test_the_toolkits_are_those_that_compile(version: str) -> None:
    """All that the engine's list has, from where the kernels compile on, up to where CUTLASS and cudarc end."""
    engine, source = engine_version(version), TAGS[RELEASES[version].commit]
    # The newest in Cargo.lock is candle's; 0.17.8 is that of an optional crate.
    last = CUDARC[source.cudarc.split(",")[-1]]
    # cuda_fp8.h came with 11.8; CUTLASS 7d49e6c does not compile with 13.3 (upstream issue 2292).
    first = "11.8" if source.fp8 == "yes" else "11.4"
    if source.cutlass == "7d49e6c":
        last = min(last, "13.2", key=number)
    if source.cuda == "-":
        # 0.6.0 and 0.8.22 have no list; then cudarc's is the limit.
        assert number(engine.cuda_versions[-1]) == number(last)
        assert number(engine.cuda_versions[0]) >= number(first)
        return
    possible = [one for one in source.cuda.split(",") if number(first) <= number(one) <= number(last)]
    if version == "0.7.0":
        # Narrower on purpose: nothing was seen with 11.8 and 13.1.
        possible = [one for one in possible if one not in ("11.8", "13.1")]
    assert list(engine.cuda_versions) == possible


PUBLISHED_ROWS = [tuple(row) for row in lines("published.txt")]


def test_published_images_are_those_of_the_workflow() -> None:
    """Every lane of every release, and none besides."""
    for version in (one for one in RELEASES if "+" not in one and (parse(one) or ()) >= (0, 8, 4)):
        row = row_of(parse(version) or ()).published
        ours = {
            (cuda.replace(".", ""), sm, kind)
            for cuda, capabilities in row.lanes
            for sm in capabilities
            for kind, there in row.capabilities.items()
            if sm in there
        }
        names = {"x86_64": "amd64", "arm64": "arm64"}
        theirs = {
            (cuda, sm, architecture)
            for tag, _pattern, cuda, sm, architectures in PUBLISHED_ROWS
            if tag == f"v{version}"
            for architecture in architectures.split(",")
        }
        assert {(cuda, sm, names[kind]) for cuda, sm, kind in ours} == theirs, version
        patterns = {pattern for tag, pattern, *_rest in PUBLISHED_ROWS if tag == f"v{version}"}
        assert patterns == {row.tag.removesuffix("-{version}")}


@pytest.mark.parametrize("version", ["0.8.4", "0.8.13", "0.8.22", "0.9.0", "0.9.1", "0.9.2"])
def test_what_is_pulled_is_published(version: str) -> None:
    """Whatever CUDA a driver reports, the tag that is chosen is one of the workflow's."""
    tags = {
        f"{pattern.format(cuda=cuda, sm=sm)}-{version}"
        for tag, pattern, cuda, sm, _architectures in PUBLISHED_ROWS
        if tag == f"v{version}"
    }
    for gpu in ("8.0", "8.6", "8.9", "9.0", "10.0", "12.0"):
        for reported in ("13.1", "13.2", "13.3", "14.0"):
            image = published_tag("600.1", [gpu], engine_version(version), driver_cuda=reported)
            assert image.reference.rpartition(":")[2] in tags
