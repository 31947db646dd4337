"""Old images."""

from __future__ import annotations

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
