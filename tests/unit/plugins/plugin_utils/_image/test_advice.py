"""What is offered and said before a build: upstream's image where there is one, and how long a build takes."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import DEFAULT_VERSION
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.advice import build_time, evaluation_warnings
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import engine_version
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.plan import image_plan

SETTINGS: dict[str, Any] = {
    "version": "",
    "architecture": "x86_64",
    "driver": ["580.95.05"],
    "compute_capabilities": ["8.9"],
    "base_distribution": "ubuntu22.04",
    "git_url": "https://github.com/EricLBuehler/mistral.rs.git",
    "rustup_url": "https://static.rust-lang.org/rustup/archive/1.28.2/{target}/rustup-init",
    "rustup_sha256": {"x86_64": "a" * 64, "aarch64": "b" * 64},
    "rustflags": "-C target-cpu=generic",
    "crate_url": "https://static.crates.io/crates/{name}/{name}-{version}.crate",
    "swagger_ui_url": "https://static.crates.io/crates/swagger-ui/swagger-ui-0.1.2.crate",
    "cores": 16,
}


def offer(**more: Any) -> str:
    return str(image_plan("build", {**SETTINGS, **more})["quick_way"])


def test_the_default_version() -> None:
    """The release's image stands in for a commit after it, and its drawback is said."""
    said = offer()
    assert said.startswith("The build compiles for about 10 to 90 minutes on 16 cores.")
    assert "Upstream publishes ghcr.io/ericlbuehler/mistral.rs:cuda130-sm89-0.9.2 for this GPU and driver" in said
    assert "set mistral_image_source: pull and mistral_image_mistralrs_version: 0.9.2 to have it" in said
    assert "about 4 GB" in said
    assert "defects that 0.9.2+7 is without: Many clients at once" in said


def test_what_is_offered_can_be_pulled() -> None:
    """What the sentence names is what the plan of a pull takes."""
    for version in ("0.9.2", ""):
        assert image_plan("pull", {**SETTINGS, "version": version})["bases"]["PUBLISHED_IMAGE"] in offer()


@pytest.mark.parametrize(
    ("more", "image"),
    [
        ({"version": "0.9.2"}, "cuda130-sm89-0.9.2"),
        ({"version": "0.8.4", "driver": "590.48.01"}, "cuda-sm89-0.8.4"),
        ({"version": "v0.6.0", "cuda_version": "12.2.0", "compute_capabilities": ["8.6"]}, "cuda-86-0.6.0"),
        ({"driver": "", "compute_capabilities": [], "compute_capability": "9.0"}, "cuda128-sm90-0.9.2"),
        ({"architecture": "aarch64", "compute_capabilities": ["12.1"]}, "cuda130-sm121-0.9.2"),
    ],
)
def test_offered(more: dict[str, Any], image: str) -> None:
    said = offer(**{**more, "features": []})
    assert f"mistral.rs:{image} for this" in said
    assert ("mistral_image_mistralrs_version" in said) == ("version" not in more)


@pytest.mark.parametrize(
    "more",
    [
        # No image of that release, for that driver, GPU or processor.
        {"version": "0.7.0"},
        {"version": "0.8.1"},
        {"version": "0.8.4"},
        {"driver": "550.163.01"},
        {"compute_capabilities": ["8.7"]},
        {"architecture": "aarch64"},
        # The operator wants what upstream's image has not.
        {"commit": "0123456789abcdef0123456789abcdef01234567"},
        {"archive_url": "https://example.org/a.tar.gz", "archive_sha256": "c" * 64},
        {"features": ["cuda"]},
        {"version": "0.9.9", "commit": "0123456789abcdef0123456789abcdef01234567"},
    ],
)
def test_nothing_to_offer(more: dict[str, Any]) -> None:
    assert offer(**more) == ""


def test_other_sources_have_no_offer() -> None:
    assert image_plan("pull", {**SETTINGS, "version": "0.9.2"})["quick_way"] == ""
    loaded = image_plan("load", {**SETTINGS, "load_archive": "/a.tar", "load_sha256": "d" * 64})
    assert loaded["quick_way"] == ""


@pytest.mark.parametrize(
    ("version", "features", "cores", "text"),
    [
        # 58 CPU minutes for one capability without FlashAttention (0.8.1, measured).
        ("0.8.1", ["cuda"], 1, "about 58 to 116 minutes"),
        ("0.8.1", ["cuda"], 2, "about 29 to 58 minutes"),
        ("0.8.1", ["cuda"], 64, "about 10 to 20 minutes"),
        # "flash-attn's ~90min hdim512 ptxas" (release.yml at v0.9.2), eight of them, not before v0.8.4.
        ("0.8.1", ["cuda", "flash-attn"], 16, "about 10 to 20 minutes"),
        ("0.9.2", ["cuda", "flash-attn"], 16, "about 10 to 90 minutes"),
        ("0.9.2", ["cuda", "flash-attn"], 4, "about 15 minutes to 4 hours"),
        ("0.9.2", ["cuda", "flash-attn"], 2, "about 29 minutes to 7 hours"),
        # Not known: as on one.
        ("0.9.2", ["cuda"], 0, "about 58 to 116 minutes"),
    ],
)
def test_how_long_a_build_takes(version: str, features: list[str], cores: int, text: str) -> None:
    assert build_time(engine_version(version), features, cores) == text


@pytest.mark.parametrize(
    ("version", "warned"), [("0.9.5", True), ("0.9.3", True), (DEFAULT_VERSION, False), ("0.9.2", False), ("?", False)]
)
def test_an_evaluation_engine_newer_than_what_is_deployed(version: str, warned: bool) -> None:
    said = evaluation_warnings(version)
    assert len(said) == int(warned)
    assert all(f"mistral.rs {version}, newer than {DEFAULT_VERSION}" in one for one in said)
    plan = image_plan("evaluation", {"version": version})
    assert (plan["warnings"], plan["errors"]) == (said, [])
