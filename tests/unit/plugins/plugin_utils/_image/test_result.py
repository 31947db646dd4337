"""The role's result from an image's labels."""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.result import image_result


def test_the_result() -> None:
    labels = {"io.mistralrs.stack.engine_version": "0.9.5", "io.mistralrs.stack.source": "evaluation"}
    found = image_result({"Id": "sha256:1", "RepoDigests": [], "Config": {"Labels": labels}}, "x:1")
    assert found["evaluation"] is True
    assert found["digest"] == "sha256:1"
    assert found["command_generation"] == "0.9.1"
    found = image_result({"Id": "sha256:1", "RepoDigests": ["r@sha256:2"], "Config": {"Labels": None}}, "x:1")
    assert (found["digest"], found["engine_version"], found["compute_capabilities"]) == ("sha256:2", "", [])
