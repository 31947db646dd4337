"""Bases by digest."""

from __future__ import annotations

import json
from typing import Any, Callable

NewBuild = Callable[..., Any]
DIGEST = f"sha256:{'1' * 64}"


def test_a_base_keeps_the_digest_that_it_had(new_build: NewBuild) -> None:
    none = ("image inspect", (1, "", "No such image"))
    build = new_build(none, ("imagetools", (0, json.dumps({"digest": DIGEST}), "")))
    expected = {"DEVEL_IMAGE": f"nvidia/cuda@{DIGEST}"}
    assert build.check() == expected
    # The tag moves.
    moved = new_build(none, ("imagetools", (0, json.dumps({"digest": "sha256:2"}), "")))
    assert moved.check() == expected
    fixed = new_build(bases={"X": f"a/b@{DIGEST}"})
    assert fixed.check() == {"X": f"a/b@{DIGEST}"}
    local = new_build(("image inspect", (0, json.dumps([{"Id": DIGEST, "RepoDigests": []}]), "")), bases={"X": "a:1"})
    assert local.check() == {"X": "a:1"}
