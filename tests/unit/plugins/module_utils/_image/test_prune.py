"""Old images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._image import prune

NewBuild = Callable[..., Any]


def pruned(build: Any) -> list[str]:
    return prune.prune(build.options, build.host)


def test_old_images(new_build: NewBuild, tmp_path: Path) -> None:
    rows = "".join(f"sha256:{number} mistralrs-stack/engine:{number}\n" for number in range(1, 7))
    generation = tmp_path / "mistral" / "generations" / "1" / "image"
    generation.parent.mkdir(parents=True)
    generation.write_text("mistralrs-stack/engine:4\n")
    answers = (
        ("image ls", (0, rows, "")),
        ("docker ps", (0, "c1\n", "")),
        ("docker inspect", (0, "sha256:5 mistralrs-stack/engine:5\n", "")),
    )
    assert pruned(new_build(*answers)) == ["mistralrs-stack/engine:3", "mistralrs-stack/engine:6"]
    assert pruned(new_build(*answers, keep=0)) == []
    unknown = ("docker ps", (1, "", "Cannot connect\n"))
    assert pruned(new_build(unknown, *answers)) == []


def test_builds_that_have_ended_are_removed_with_their_locks(tmp_path: Path) -> None:
    builds = tmp_path / "builds"
    for number in range(5):
        (builds / str(number)).mkdir(parents=True)
        (builds / f"{number}.lock").touch()
        os.utime(builds / str(number), (number, number))
    (builds / "1" / "attempt.json").touch()
    os.utime(builds / "1", (1, 1))
    prune.prune_logs(str(builds / "2"), keep=1)
    assert sorted(path.name for path in builds.iterdir()) == ["1", "1.lock", "2", "2.lock", "4", "4.lock"]
