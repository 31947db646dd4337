# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the role's variables to what goes into the engine's image: the Dockerfile's variables and the labels.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

What makes a difference to the image is in the plan's C(dockerfile) and C(labels), and so in the hash that names it.
What only says where things are fetched from (mirrors, tokens, proxies) or how fast is in C(arguments) and C(secrets):
another mirror is not a reason to build again, since commit, checksums and Cargo.lock pin what comes from it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import (
    DEFAULT_VERSION,
    NEWEST_PUBLISHED,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import tag_of
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.advice import evaluation_warnings, quick_way
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.base_families import FAMILIES, family_of
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.cargo_profile import cargo_profile
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.cpu import (
    GENERIC,
    PROCESSOR_UNSUPPORTED,
    cpu_build,
    is_for_cpu,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.cuda import (
    ARCHITECTURE_UNSUPPORTED,
    ARCHITECTURES,
    cuda_choice,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.cuda_releases import oldest
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import EngineVersion, engine_version
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.published import published_tag
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.secrets import cargo_files, git_files
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.source import (
    ARCHIVE_CHECKSUM_MISSING,
    Source,
    engine_source,
    engine_to_build,
    swagger_ui,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.toolchain import crate_index, toolchain_of
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.values import (
    SHA256,
    VALUE_INVALID,
    checked,
    list_of,
    text_of,
    words_of,
)

# What gets into a Dockerfile or a shell line has no characters that mean something there.
_REFERENCE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._/:@-]*\Z")
_FLAGS = re.compile(r"[A-Za-z0-9_+=,./ :-]*\Z")
_REGISTRY = re.compile(r"(sparse\+)?(https?|file)://[^\s'\"\\$`]+\Z")


def _kind(settings: Mapping[str, Any]) -> str:
    architecture = text_of(settings, "architecture")
    if architecture not in ARCHITECTURES and is_for_cpu(settings):
        raise StackError(PROCESSOR_UNSUPPORTED, architecture=architecture)
    if architecture not in ARCHITECTURES:
        raise StackError(ARCHITECTURE_UNSUPPORTED, architecture=architecture, known="x86_64 or aarch64")
    return ARCHITECTURES[architecture]


def _docker_platform(kind: str) -> str:
    return "linux/arm64" if kind == "arm64" else "linux/amd64"


def _labels(engine: EngineVersion, source: str, cuda: str, capabilities: Sequence[str], **more: str) -> dict[str, str]:
    prefix = "io.mistralrs.stack."
    own = {
        "source": source,
        "engine_version": engine.version,
        "command_generation": engine.command_generation,
        "cuda": cuda,
        "compute_capabilities": ",".join(capabilities),
        **more,
    }
    return {
        "org.opencontainers.image.title": "mistral.rs",
        "org.opencontainers.image.version": engine.version,
        "org.opencontainers.image.licenses": "MIT",
        **{prefix + key: value for key, value in own.items()},
    }


class _Ground(NamedTuple):
    """What an image is built upon and for: CUDA and one GPU, or the CPU. C(tag) is the end of the image's tag."""

    device: str
    devel: str
    runtime: str
    features: list[str]
    target_cpu: str
    cuda_version: str
    capabilities: tuple[str, ...]
    tag: str
    warnings: tuple[str, ...]


def _ground(settings: Mapping[str, Any], engine: EngineVersion) -> _Ground:
    if is_for_cpu(settings):
        cpu = cpu_build(settings, engine)
        return _Ground("cpu", cpu.devel, cpu.runtime, cpu.features, cpu.target_cpu, "", (), "cpu", cpu.warnings)
    features = words_of(settings, "features") or list(engine.features)
    choice = cuda_choice(
        oldest(settings.get("driver")),
        list_of(settings, "compute_capabilities"),
        engine,
        text_of(settings, "cuda_version"),
        text_of(settings, "base_distribution"),
        text_of(settings, "architecture"),
        driver_cuda=oldest(settings.get("driver_cuda")),
        compute_capability=text_of(settings, "compute_capability"),
        features=features,
    )
    return _Ground(
        "cuda",
        choice.devel,
        choice.runtime,
        features,
        GENERIC,
        choice.cuda_version,
        tuple(choice.capabilities),
        f"cuda{choice.cuda_version}-sm{choice.capabilities[0]}",
        tuple(choice.warnings),
    )


def _build_arguments(
    settings: Mapping[str, Any], engine: EngineVersion, ground: _Ground, swagger_ui_sha256: str
) -> dict[str, str]:
    """The arguments of the Dockerfile that make a difference to the image."""
    return {
        "PACKAGE": engine.package,
        "BINARY": engine.binary,
        "FEATURES": ",".join(ground.features),
        "DEFAULT_FEATURES": str(engine.default_features).lower(),
        "CUDA_COMPUTE_CAP": "".join(ground.capabilities[:1]),
        "THREADS_VARIABLE": engine.threads_variable,
        "RUSTFLAGS": checked(settings, "rustflags", _FLAGS, "plain compiler flags", False)
        or f"-C target-cpu={ground.target_cpu}",
        "CUDA_NVCC_FLAGS": checked(settings, "nvcc_flags", _FLAGS, "plain compiler flags", False),
        "CARGO_PROFILE": " ".join(cargo_profile(settings.get("cargo_profile"), engine)),
        "SWAGGER_UI_SHA256": swagger_ui_sha256,
    }


def _target_cache(devel: str, rust: Mapping[str, str], platform: str, arguments: Mapping[str, str]) -> str:
    """The name of the cache with what cargo compiled, for the next build with the same compilers for the same device.

    Cargo itself tells apart features and profiles; the build scripts that compile for CUDA don't see that their flags
    are others.
    """
    cache = [devel, rust, platform, *(arguments[name] for name in ("CUDA_COMPUTE_CAP", "RUSTFLAGS", "CUDA_NVCC_FLAGS"))]
    return hashlib.sha256(json.dumps(cache, sort_keys=True).encode()).hexdigest()[:16]


def _reach(index: str, rustup: str, swagger_ui_url: str, source: Source) -> dict[str, str]:
    """What the build downloads besides git: what it is, and the address that has to answer."""
    archive = "engine's crate" if source.kind == "crate" else "source archive"
    reach = {
        "crate index": index,
        "Rust toolchain": rustup,
        "Swagger UI": swagger_ui_url,
        archive: source.arguments.get("SOURCE_ARCHIVE", ""),
    }
    return {what: url for what, url in reach.items() if url}


def _git(source: Source, commit: str) -> dict[str, str]:
    """The repository, tag and commit that have to be there; empty for another kind of source."""
    if source.kind != "git":
        return {}
    return {"url": source.arguments["SOURCE_GIT"], "tag": source.pinned["SOURCE_TAG"], "commit": commit}


def _build(settings: Mapping[str, Any], engine: EngineVersion) -> dict[str, Any]:
    kind = _kind(settings)
    ground = _ground(settings, engine)
    expected = "the reference of an image, with tag or digest"
    devel = checked(settings, "devel_base", _REFERENCE, expected, False) or ground.devel
    runtime = checked(settings, "runtime_base", _REFERENCE, expected, False) or ground.runtime
    family = FAMILIES[family_of(devel, text_of(settings, "base_family"))]
    source = engine_source(settings, engine)
    toolchain = toolchain_of(settings, engine, kind)
    suffix = "_cpu" if ground.device == "cpu" else ""
    swagger_ui_sha256, swagger_ui_url = swagger_ui(settings, engine)
    registry = checked(settings, "cargo_registry_url", _REGISTRY, "an address or sparse+ and an address", False)
    mirrors = {str(key): str(value) for key, value in (settings.get("git_mirrors") or {}).items()}
    arguments = _build_arguments(settings, engine, ground, swagger_ui_sha256)
    platform = text_of(settings, "platform") or _docker_platform(kind)
    return {
        "device": ground.device,
        "dockerfile": {
            "device": ground.device,
            "devel": devel,
            "runtime": runtime,
            "family": dict(family),
            "build_packages": words_of(settings, "build_packages") or family[f"build{suffix}"],
            "runtime_packages": words_of(settings, "runtime_packages") or family[f"runtime{suffix}"],
            "binary": engine.binary,
            "source": source.pinned,
            "rust": toolchain.pinned,
            "build": arguments,
            "target_cache": _target_cache(devel, toolchain.pinned, platform, arguments),
        },
        "labels": _labels(
            engine,
            "build",
            ground.cuda_version,
            ground.capabilities,
            commit=engine.commit,
            features=",".join(ground.features),
        ),
        "bases": {"DEVEL_IMAGE": devel, "RUNTIME_IMAGE": runtime},
        "arguments": {
            **source.arguments,
            **toolchain.arguments,
            **({"SWAGGER_UI_URL": swagger_ui_url} if swagger_ui_url else {}),
        },
        "secrets": {
            **git_files([source.url] if source.kind == "git" else [], mirrors),
            **cargo_files(registry, text_of(settings, "cargo_registry_token")),
        },
        "git": _git(source, engine.commit),
        "reach": _reach(
            crate_index(registry, settings), toolchain.arguments.get("RUSTUP_INIT", ""), swagger_ui_url, source
        ),
        "tag": f"{engine.version}-{ground.tag}",
        "cuda_version": ground.cuda_version,
        "compute_capabilities": list(ground.capabilities),
        "platform": platform,
        "warnings": list(ground.warnings),
    }


def _pull(settings: Mapping[str, Any], engine: EngineVersion) -> dict[str, Any]:
    kind = _kind(settings)
    wanted = checked(settings, "published", _REFERENCE, "the reference of an image, with tag or digest", False)
    warnings: list[str] = []
    capabilities: list[str] = []
    cuda = ""
    if not wanted:
        published = published_tag(
            oldest(settings.get("driver")),
            list_of(settings, "compute_capabilities"),
            engine,
            text_of(settings, "architecture"),
            driver_cuda=oldest(settings.get("driver_cuda")),
            compute_capability=text_of(settings, "compute_capability"),
        )
        wanted, cuda = published.reference, published.cuda_version
        capabilities, warnings = list(published.capabilities), list(published.warnings)
    return {
        "dockerfile": {"published": wanted, "binary": engine.binary},
        "labels": _labels(engine, "pull", cuda, capabilities, commit="", features=""),
        "bases": {"PUBLISHED_IMAGE": wanted},
        "arguments": {},
        "secrets": {},
        "git": {},
        "reach": {},
        "tag": f"{engine.version}-published",
        "cuda_version": cuda,
        "compute_capabilities": capabilities,
        "device": "cuda",
        "platform": text_of(settings, "platform") or _docker_platform(kind),
        "warnings": warnings,
    }


def _load(settings: Mapping[str, Any], engine: EngineVersion) -> dict[str, Any]:
    sha256 = text_of(settings, "load_sha256").lower()
    if not text_of(settings, "load_archive"):
        raise StackError(
            VALUE_INVALID,
            variable="mistral_image_load_archive",
            value="",
            expected="the path of an archive on the controller, or its address (https:// or file:// on the host)",
        )
    if not SHA256.match(sha256):
        raise StackError(
            ARCHIVE_CHECKSUM_MISSING,
            variable="mistral_image_load_archive",
            variable_sha256="mistral_image_load_sha256",
            value=sha256,
        )
    return {
        "tag": f"{engine.version}-loaded",
        "cuda_version": "",
        "compute_capabilities": [],
        "warnings": [],
        "labels": {},
        "inputs": sha256,
    }


_PLANS = {"build": _build, "pull": _pull, "load": _load}


def image_plan(source: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of an image from C(build), C(pull), C(load) or C(evaluation).

    C(settings) are the role's variables without C(mistral_image_) before their names, C(version) and C(architecture)
    besides. Beside what the source needs the plan has C(engine_version), C(reported_version) (what the program calls
    itself), C(command_generation), C(tag) (of the image, without the hash), C(cuda_version), C(compute_capabilities),
    C(quick_way) (what saves a build, or nothing) and C(warnings). Raises StackError; a StackErrors has several in
    C(errors). Of C(evaluation) there are only version and warnings.
    """
    if source == "evaluation":
        version = text_of(settings, "version")
        return {"engine_version": version, "warnings": evaluation_warnings(version), "errors": []}
    version = text_of(settings, "version") or (NEWEST_PUBLISHED if source == "pull" else DEFAULT_VERSION)
    if source == "build":
        engine = engine_to_build(settings, version)
    else:
        engine = engine_version(version, text_of(settings, "commit"))
    plan = _PLANS[source](settings, engine)
    return {
        **plan,
        "tag": tag_of(plan["tag"]),
        "quick_way": quick_way(engine, plan, settings) if source == "build" else "",
        "engine_version": engine.version,
        "reported_version": engine.reported_version,
        "command_generation": engine.command_generation,
        "commit": engine.commit,
        "errors": [],
    }


def image_errors(error: StackError) -> list[str]:
    """The lines of an error, one for each thing that is wrong."""
    return [str(one) for one in error.errors]
