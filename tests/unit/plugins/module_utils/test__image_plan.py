"""From the role's variables to the plan of an image."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions import DEFAULT_VERSION
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._image_plan import (
    family_of,
    image_plan,
    image_result,
    split_credentials,
)

SETTINGS: dict[str, Any] = {
    "version": "0.9.2",
    "architecture": "x86_64",
    "driver": "570.124.06",
    "compute_capability": "8.9",
    "base_distribution": "ubuntu22.04",
    "git_url": "https://github.com/EricLBuehler/mistral.rs.git",
    "rustup_url": "https://static.rust-lang.org/rustup/archive/1.28.2/{target}/rustup-init",
    "rustup_sha256": {"x86_64": "a" * 64, "aarch64": "b" * 64},
    "rustflags": "-C target-cpu=generic",
}


def plan(source: str = "build", **more: Any) -> dict[str, Any]:
    return image_plan(source, {**SETTINGS, **more})


def test_the_default_version() -> None:
    made = plan(version="")
    assert made["engine_version"] == DEFAULT_VERSION
    assert made["tag"] == "0.9.2-cuda12.8.1-sm89"
    assert made["dockerfile"]["devel"] == "nvidia/cuda:12.8.1-devel-ubuntu22.04"
    assert made["dockerfile"]["source"]["SOURCE_TAG"] == "v0.9.2"
    assert made["git"]["commit"].startswith("d184053f")
    assert made["dockerfile"]["build"]["DEFAULT_FEATURES"] == "false"
    assert made["platform"] == "linux/amd64"


def test_the_former_pair() -> None:
    made = plan(version="v0.6.0", cuda_version="12.2.0", driver="535.54.03", compute_capability="8.6")
    assert made["dockerfile"]["devel"] == "nvidia/cuda:12.2.0-devel-ubuntu22.04"
    assert made["dockerfile"]["binary"] == "mistralrs-server"
    assert made["dockerfile"]["build"]["FEATURES"] == "cuda"
    assert made["dockerfile"]["build"]["THREADS_VARIABLE"] == "RAYON_NUM_THREADS"
    assert made["dockerfile"]["rust"]["RUST_VERSION"] == "1.88.0"


def test_arm() -> None:
    made = plan(architecture="aarch64", compute_capability="9.0")
    assert made["platform"] == "linux/arm64"
    assert made["dockerfile"]["rust"]["RUSTUP_SHA256"] == "b" * 64
    assert made["arguments"]["RUSTUP_INIT"].endswith("/aarch64-unknown-linux-gnu/rustup-init")


def test_where_things_come_from_makes_no_difference() -> None:
    mirrored = plan(
        git_url="https://me:pass@git.example.org/mistral.rs.git",
        git_mirrors={"https://github.com/": "https://x:y@git.example.org/github/"},
        cargo_registry_url="https://crates.example.org/index/",
        cargo_registry_token="t0ken",
        rust_server="https://rust.example.org",
    )
    assert (mirrored["dockerfile"], mirrored["labels"]) == (plan()["dockerfile"], plan()["labels"])
    assert "pass" not in str({**mirrored, "secrets": {}})
    assert mirrored["secrets"]["git-credentials"] == "https://me:pass@git.example.org\nhttps://x:y@git.example.org\n"
    assert "insteadOf = https://github.com/" in mirrored["secrets"]["gitconfig"]
    assert 'registry = "sparse+https://crates.example.org/index/"' in mirrored["secrets"]["cargo-config"]
    assert mirrored["secrets"]["cargo-credentials"] == '[registries.mirror]\ntoken = "t0ken"\n'
    assert "crate index" not in mirrored["reach"]


def test_a_commit_of_ones_own() -> None:
    made = plan(commit="0123456789abcdef0123456789abcdef01234567")
    assert made["dockerfile"]["source"]["SOURCE_TAG"] == ""
    assert made["warnings"]


def test_an_archive() -> None:
    made = plan(archive_url="https://example.org/x.tar.gz", archive_sha256="C" * 64)
    assert made["dockerfile"]["source"]["SOURCE_SHA256"] == "c" * 64
    assert made["git"] == {}
    assert made["reach"]["source archive"] == "https://example.org/x.tar.gz"


def test_published_and_loaded() -> None:
    made = plan("pull")
    assert made["bases"]["PUBLISHED_IMAGE"] == "ghcr.io/ericlbuehler/mistral.rs:cuda128-sm89-0.9.2"
    assert plan("load", load_archive="/x.tar", load_sha256="d" * 64)["inputs"] == "d" * 64


@pytest.mark.parametrize(
    ("source", "settings", "error_id"),
    [
        ("build", {"version": "0.9.9"}, "image.version_unknown"),
        ("build", {"driver": "470.0"}, "image.cuda_driver_too_old"),
        ("build", {"compute_capability": ""}, "image.capability_unknown"),
        ("build", {"archive_url": "https://example.org/x.tar.gz"}, "image.archive_checksum_missing"),
        ("build", {"git_url": "example.org"}, "image.value_invalid"),
        ("build", {"git_url": "https://example.org/$(reboot)"}, "image.value_invalid"),
        ("build", {"rustflags": "a`b`"}, "image.value_invalid"),
        ("build", {"features": ["cuda; reboot"]}, "image.value_invalid"),
        ("build", {"devel_base": "a b"}, "image.value_invalid"),
        ("build", {"devel_base": "example.org/base:1"}, "image.base_family_unknown"),
        ("build", {"rustup_sha256": {}}, "image.toolchain_checksum_missing"),
        ("build", {"architecture": "riscv64"}, "image.architecture_unsupported"),
        ("load", {}, "image.value_invalid"),
        ("load", {"load_archive": "/x.tar"}, "image.archive_checksum_missing"),
        ("pull", {"version": "0.7.0"}, "image.no_published_image"),
    ],
)
def test_refusals(source: str, settings: dict[str, Any], error_id: str) -> None:
    with pytest.raises(StackError) as caught:
        plan(source, **settings)
    assert caught.value.id == error_id


@pytest.mark.parametrize(
    ("base", "family"),
    [
        ("nvidia/cuda:12.8.1-devel-ubuntu22.04", "apt"),
        ("mirror.example.org/cuda:13.0.2-devel-ubi9@sha256:00", "dnf"),
        ("rockylinux/rockylinux:9", "dnf"),
        ("debian:13", "apt"),
    ],
)
def test_families(base: str, family: str) -> None:
    assert family_of(base, "") == family


def test_one_text_is_a_list_too() -> None:
    # As `-e mistral_image_features=cuda,nccl` gives it.
    assert plan(features="cuda,nccl")["dockerfile"]["build"]["FEATURES"] == "cuda,nccl"
    assert plan(compute_capability="", compute_capabilities="8.6")["compute_capabilities"] == ["86"]


def test_a_build_has_no_keys_for_ssh() -> None:
    with pytest.raises(StackError, match="must be an address that begins with https") as caught:
        plan(git_url="ssh://git@example.org/x.git")
    assert caught.value.id == "image.value_invalid"


@pytest.mark.parametrize(
    ("registry", "token", "asked"),
    [
        ("", "", "https://index.crates.io/config.json"),
        ("sparse+https://m.example.org/index/", "", "https://m.example.org/index/config.json"),
        ("https://m.example.org/index", "", "https://m.example.org/index/config.json"),
        ("https://m.example.org/index/", "s3cret", None),
        ("https://user:s3cret@m.example.org/index/", "", None),
    ],
)
def test_the_index_that_is_used_is_asked(registry: str, token: str, asked: str | None) -> None:
    wanted = {"crate_index_url": "https://index.crates.io/config.json", "cargo_registry_url": registry}
    assert plan(**wanted, cargo_registry_token=token)["reach"].get("crate index") == asked


def test_credentials_are_taken_out() -> None:
    assert split_credentials("https://a%40b:c@h:1/p") == ("https://h:1/p", "a@b", "c")
    assert split_credentials("ssh://git@h/p").url == "ssh://git@h/p"


def test_the_result() -> None:
    labels = {"io.mistralrs.stack.engine_version": "0.9.5", "io.mistralrs.stack.source": "evaluation"}
    found = image_result({"Id": "sha256:1", "RepoDigests": [], "Config": {"Labels": labels}}, "x:1")
    assert found["evaluation"] is True
    assert found["digest"] == "sha256:1"
    assert found["command_generation"] == "0.9.1"
    found = image_result({"Id": "sha256:1", "RepoDigests": ["r@sha256:2"], "Config": {"Labels": None}}, "x:1")
    assert (found["digest"], found["engine_version"], found["compute_capabilities"]) == ("sha256:2", "", [])
