"""From the role's variables to the plan of an image."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import DEFAULT_VERSION
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.plan import image_plan

SETTINGS: dict[str, Any] = {
    "version": "0.9.2",
    "architecture": "x86_64",
    "driver": "570.124.06",
    "compute_capability": "8.9",
    "base_distribution": "ubuntu22.04",
    "git_url": "https://github.com/EricLBuehler/mistral.rs.git",
    "rustup_url": "https://static.rust-lang.org/rustup/archive/1.28.2/{target}/rustup-init",
    "rustup_sha256": {"x86_64": "a" * 64, "aarch64": "b" * 64},
    "swagger_ui_url": "https://example.org/swagger-ui.zip",
    "crate_url": "https://static.crates.io/crates/{name}/{name}-{version}.crate",
}
# A host without a GPU. The flags are those of /proc/cpuinfo of an Intel Haswell, shortened to what the choice reads.
CPU: dict[str, Any] = {
    "driver": [],
    "driver_cuda": [],
    "compute_capability": "",
    "compute_capabilities": [],
    "gpus_found": "0",
    "hosts_not_seen": [],
    "processor_flags": "flags\t\t: fpu sse4_2 movbe xsave avx f16c abm bmi1 avx2 bmi2 fma",
}


def plan(source: str = "build", **more: Any) -> dict[str, Any]:
    return image_plan(source, {**SETTINGS, **more})


def test_the_default_version() -> None:
    made = plan(version="")
    assert made["engine_version"] == DEFAULT_VERSION
    # An image's tag may not hold a plus sign; no tag of git points to the commit.
    assert made["tag"] == "0.9.2-7-cuda12.8.1-sm89"
    assert made["labels"]["io.mistralrs.stack.engine_version"] == "0.9.2+7"
    assert made["reported_version"] == "0.9.2"
    assert made["dockerfile"]["devel"] == "nvidia/cuda:12.8.1-devel-ubuntu22.04"
    assert made["dockerfile"]["source"]["SOURCE_TAG"] == ""
    assert made["git"]["commit"].startswith("9e922623")
    assert made["git"]["tag"] == ""
    assert made["dockerfile"]["build"]["DEFAULT_FEATURES"] == "false"
    assert made["platform"] == "linux/amd64"


@pytest.mark.parametrize(
    ("version", "tag", "source_tag", "reported"),
    [
        ("0.9.2", "0.9.2-cuda12.8.1-sm89", "v0.9.2", "0.9.2"),
        ("0.8.10", "0.8.10-cuda12.8.1-sm89", "v0.8.10", "0.8.9"),
    ],
)
def test_a_release(version: str, tag: str, source_tag: str, reported: str) -> None:
    made = plan(version=version)
    assert (made["tag"], made["reported_version"]) == (tag, reported)
    assert made["dockerfile"]["source"]["SOURCE_TAG"] == source_tag


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


def test_a_crate_for_the_cpu() -> None:
    made = plan(version="0.8.1", **CPU)
    assert made["tag"] == "0.8.1-cpu"
    assert made["device"] == "cpu"
    assert made["bases"] == {"DEVEL_IMAGE": "ubuntu:22.04", "RUNTIME_IMAGE": "ubuntu:22.04"}
    assert made["dockerfile"]["source"] == {
        "SOURCE_KIND": "crate",
        "SOURCE_SHA256": "26bc2a0267ea22fa09eb61c6e78257f58d2704671c9666527ccb91a29275939c",
        "SOURCE_COMMIT": "9397956728e6508d1c7a288043161ad1d70b658f",
        "SOURCE_TAG": "",
    }
    address = "https://static.crates.io/crates/mistralrs-cli/mistralrs-cli-0.8.1.crate"
    assert made["arguments"]["SOURCE_ARCHIVE"] == made["reach"]["engine's crate"] == address
    assert (made["git"], made["secrets"]) == ({}, {})
    build = made["dockerfile"]["build"]
    assert (build["PACKAGE"], build["BINARY"], build["FEATURES"]) == ("mistralrs-cli", "mistralrs", "")
    assert build["CUDA_COMPUTE_CAP"] == ""
    assert build["RUSTFLAGS"] == "-C target-cpu=x86-64-v3"
    assert made["labels"]["io.mistralrs.stack.cuda"] == ""
    assert made["labels"]["io.mistralrs.stack.compute_capabilities"] == ""
    assert made["labels"]["io.mistralrs.stack.command_generation"] == "0.8.0"
    assert (made["cuda_version"], made["compute_capabilities"]) == ("", [])


def test_other_braces_in_an_address_are_left() -> None:
    made = plan(
        **CPU,
        version="0.8.1",
        crate_url="https://example.org/{mirror}/{name}@{version}",
        rustup_url="https://example.org/{mirror}/{target}",
    )
    assert made["arguments"]["SOURCE_ARCHIVE"] == "https://example.org/{mirror}/mistralrs-cli@0.8.1"
    assert made["arguments"]["RUSTUP_INIT"] == "https://example.org/{mirror}/x86_64-unknown-linux-gnu"


def test_git_for_the_cpu() -> None:
    made = plan(**CPU, base_distribution="debian12")
    assert made["tag"] == "0.9.2-cpu"
    assert made["bases"]["DEVEL_IMAGE"] == "debian:12-slim"
    assert made["dockerfile"]["source"]["SOURCE_TAG"] == "v0.9.2"
    # Its default features let clients run code.
    assert made["dockerfile"]["build"]["DEFAULT_FEATURES"] == "false"


def test_a_crate_with_cuda() -> None:
    made = plan(version="0.8.1", driver="580.95.05")
    assert made["dockerfile"]["source"]["SOURCE_KIND"] == "crate"
    assert made["dockerfile"]["build"]["FEATURES"].startswith("cuda")
    assert made["dockerfile"]["build"]["RUSTFLAGS"] == "-C target-cpu=generic"
    assert made["tag"].startswith("0.8.1-cuda")


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "git"),
        ({"version": "v0.8.1"}, "crate"),
        ({"version": "0.8.1", "commit": "9397956728e6508d1c7a288043161ad1d70b658f"}, "git"),
        ({"version": "0.8.1", "build_from": "git", "commit": "93979567"}, "git"),
        ({"version": "0.8.1", "archive_url": "https://example.org/x.crate", "archive_sha256": "e" * 64,
          "commit": "93979567"}, "archive"),
        ({"build_from": "git", "archive_url": "https://example.org/x.tar.gz"}, "git"),
    ],
)  # fmt: skip
def test_what_the_source_is_taken_from(settings: dict[str, Any], kind: str) -> None:
    assert plan(**{**CPU, **settings})["dockerfile"]["source"]["SOURCE_KIND"] == kind


@pytest.mark.parametrize(
    ("settings", "device"),
    [
        ({}, "cpu"),
        ({"driver": [""], "driver_cuda": [""]}, "cpu"),
        # A GPU whose capability isn't known yet, and one that the operator tells of.
        ({"gpus_found": "1", "compute_capabilities": ["8.9"], "driver": ["580.95.05"]}, "cuda"),
        ({"compute_capability": "8.9"}, "cuda"),
        ({"features": ["cuda"], "compute_capability": "8.9"}, "cuda"),
        ({"gpus_found": "1", "device": "cpu"}, "cpu"),
        ({"device": "cuda", "compute_capability": "8.9", "driver": ["580.95.05"]}, "cuda"),
    ],
)
def test_for_what_it_is_built(settings: dict[str, Any], device: str) -> None:
    assert plan(**{**CPU, **settings})["device"] == device


def test_a_host_with_gpus_is_told_that_they_rest() -> None:
    assert plan(**{**CPU, "gpus_found": "2", "device": "cpu"})["warnings"][0].startswith("mistral_image_device is cpu")
    assert plan(**CPU)["warnings"] == []


@pytest.mark.parametrize(
    "settings", [{"gpus_found": "1"}, {"hosts_not_seen": ["gpu01"]}, {"device": "cuda"}, {"features": "cuda"}]
)
def test_a_gpu_that_is_not_known_yet_gets_no_image_for_the_cpu(settings: dict[str, Any]) -> None:
    with pytest.raises(StackError) as caught:
        plan(**{**CPU, **settings})
    assert caught.value.id == "image.capability_unknown"


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        ({"processor_flags": ""}, "-C target-cpu=generic"),
        ({"processor_flags": CPU["processor_flags"].replace(" avx2", "")}, "-C target-cpu=generic"),
        ({"processor_flags": CPU["processor_flags"].replace(" bmi2", "")}, "-C target-cpu=generic"),
        ({"architecture": "aarch64"}, "-C target-cpu=generic"),
        # Built on another architecture than the image's, whose flags say nothing.
        ({"own_architecture": "aarch64"}, "-C target-cpu=generic"),
        ({"rustflags": "-C target-cpu=native"}, "-C target-cpu=native"),
    ],
)
def test_the_processor_that_is_compiled_for(settings: dict[str, Any], flags: str) -> None:
    assert plan(**{**CPU, **settings})["dockerfile"]["build"]["RUSTFLAGS"] == flags


@pytest.mark.parametrize(
    ("version", "sha256"),
    [
        ("0.6.0", "481244d0812097b11fbaeef79f71d942b171617f9c9f9514e63acbe13e71ccdc"),
        ("0.7.0", "481244d0812097b11fbaeef79f71d942b171617f9c9f9514e63acbe13e71ccdc"),
        ("0.8.0", ""),
        ("0.9.2", ""),
    ],
)
def test_swagger_ui_where_the_build_would_fetch_it(version: str, sha256: str) -> None:
    made = plan(version=version)
    assert made["dockerfile"]["build"]["SWAGGER_UI_SHA256"] == sha256
    wanted = "https://example.org/swagger-ui.zip" if sha256 else None
    assert made["arguments"].get("SWAGGER_UI_URL") == made["reach"].get("Swagger UI") == wanted


def test_what_cargo_compiled_is_kept_for_the_same_flags() -> None:
    def cache(**more: Any) -> str:
        return str(plan(**more)["dockerfile"]["target_cache"])

    assert cache() == cache(features="cuda") == cache(cargo_profile={"opt-level": 1}) == cache(commit="d184053f")
    others = [
        cache(),
        # nvcc's flags reach build scripts that don't see that they are others.
        cache(nvcc_flags="-fPIE"),
        cache(compute_capability="9.0"),
        cache(rustflags="-C target-cpu=native"),
        cache(rust_version="1.95.0"),
        cache(devel_base="example.org/cuda-debian:12"),
        cache(**CPU),
    ]
    assert len(set(others)) == len(others)


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
        ("build", {"build_from": "crate"}, "image.crate_unknown"),
        ("build", {"build_from": "pypi"}, "image.value_invalid"),
        ("build", {"build_from": "archive"}, "image.value_invalid"),
        ("build", {"version": "0.8.1", "crate_url": "ssh://example.org/{name}"}, "image.value_invalid"),
        ("build", {"device": "tpu"}, "image.value_invalid"),
        ("build", {"device": "cpu", "features": ["flash-attn"]}, "image.feature_needs_cuda"),
        ("build", {"device": "cpu", "features": ["onnx"]}, "image.feature_unsupported"),
        ("build", {"device": "cpu", "architecture": "riscv64"}, "image.processor_unsupported"),
        ("build", {"device": "cpu", "features": ["nonsense"]}, "image.feature_unsupported"),
        ("build", {"device": "cpu", "version": "0.8.1", "features": ["code-execution"]}, "image.feature_unsupported"),
        ("build", {"features": ["cuda", "nonsense"]}, "image.feature_unsupported"),
        ("build", {"device": "cpu", "base_distribution": "alpine3"}, "image.base_distribution_unknown"),
        ("build", {"rustup_sha256": {}}, "image.toolchain_checksum_missing"),
        ("build", {"version": "0.9.2", "rust_version": "1.93.1"}, "image.rust_version_too_old"),
        ("build", {"version": "0.8.1", "device": "cpu", "rust_version": "1.9"}, "image.rust_version_too_old"),
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
