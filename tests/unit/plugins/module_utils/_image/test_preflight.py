"""What is checked before a build begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError

NewBuild = Callable[..., Any]
DIGEST = f"sha256:{'1' * 64}"


def error_of(build: Any) -> str:
    with pytest.raises(StackError) as caught:
        build.check()
    return caught.value.id


def test_checks(new_build: NewBuild) -> None:
    assert error_of(new_build(("docker version", (1, "", "Cannot connect\n")))) == "image.docker_not_answering"
    assert error_of(new_build(("buildx version", (1, "", "")))) == "image.buildkit_missing"
    platforms = ("buildx inspect", (0, "Name: default\nPlatforms: linux/amd64, linux/386\n", ""))
    assert error_of(new_build(platforms, platform="linux/arm64")) == "image.cross_building"
    none = ("image inspect", (1, "", "No such image"))
    refused = ("imagetools", (1, "", "ERROR: lookup registry-1.docker.io: no such host\n"))
    unpulled = ("docker pull", (1, "", "no such host\n"))
    assert error_of(new_build(none, refused, unpulled)) == "image.base_unreachable"


def test_room_is_looked_for_before_a_build(new_build: NewBuild, tmp_path: Path) -> None:
    root = ("docker info", (0, f"{tmp_path}\n", ""))
    assert error_of(new_build(root, minimum_free_mb=1 << 40)) == "image.disk_full"
    assert new_build(root, minimum_free_mb=1, bases={}).check() == {}
    for silent in ((1, "", "Cannot connect\n"), (0, "\n", "")):
        build = new_build(("docker info", silent), minimum_free_mb=1, bases={})
        assert error_of(build) == "image.docker_not_answering"


def test_docker_20_10_builds_without_buildx(new_build: NewBuild) -> None:
    build = new_build(
        ("docker version", (0, "20.10.24 linux/amd64\n", "")),
        ("buildx version", (1, "", "")),
        bases={},
    )
    assert build.check() == {}


BUILDX = ("buildx version", (0, "github.com/docker/buildx v0.15.1 2c47f9e\n", ""))
# The first as buildx 0.29.1 says it.
UNRESOLVED = (
    'none.invalid/cuda:1: failed to resolve source metadata for none.invalid/cuda:1: failed to do request: Head "https:'
    '//none.invalid/v2/cuda/manifests/1": dial tcp: lookup none.invalid on 127.0.0.11:53: no such host'
)


@pytest.mark.parametrize(
    ("message", "error_id"),
    [
        (UNRESOLVED, "image.base_unreachable"),
        ("dockerfile parse error on line 3: unknown instruction: RUM", "image.dockerfile_invalid"),
    ],
    ids=str,
)
def test_buildkit_looks_at_the_dockerfile(message: str, error_id: str, new_build: NewBuild) -> None:
    said = json.dumps({"warnings": None, "buildError": {"message": message}})
    build = new_build(BUILDX, ("check,format=json", (1, said, "")), bases={})
    with pytest.raises(StackError, match=message[-20:]) as caught:
        build.check()
    assert caught.value.id == error_id


def test_what_buildkit_would_do_otherwise_is_a_warning(new_build: NewBuild) -> None:
    location = {"ranges": [{"start": {"line": 7}, "end": {"line": 7}}]}
    rule = {"ruleName": "FromAsCasing", "detail": "'as' and 'FROM' keywords' casing do not match"}
    said = json.dumps({"warnings": [{**rule, "location": location}]})
    build = new_build(BUILDX, ("check,format=json", (1, said, "")), bases={"X": f"a/b@{DIGEST}"})
    assert build.check() == {"X": f"a/b@{DIGEST}"}
    assert build.warnings == [
        "BuildKit on b1 says of line 7 of the image's Dockerfile: 'as' and 'FROM' keywords' casing do not match "
        "(FromAsCasing)."
    ]
    asked = next(command for command in build.host.asked if "check,format=json" in command)
    assert f"--build-arg=X=a/b@{DIGEST}" in asked


@pytest.mark.parametrize("version", ["github.com/docker/buildx 0.13.1+ds1 0.13.1+ds1-3\n", "", "v0.14.9"])
def test_an_older_buildx_is_not_asked(version: str, new_build: NewBuild) -> None:
    build = new_build(("buildx version", (0, version, "")), bases={})
    build.check()
    assert not any("check,format=json" in command for command in build.host.asked)


def test_a_daemon_that_can_not_check_is_no_reason(new_build: NewBuild) -> None:
    refused = (
        "check,format=json",
        (1, "", "ERROR: unsupported frontend capability moby.buildkit.frontend.subrequests"),
    )
    assert new_build(BUILDX, refused, bases={}).check() == {}
