# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Rust toolchain that builds the engine, and the registry that its crates come from.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import EngineVersion
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.values import SHA256, checked, checked_url, text_of

TOOLCHAIN_CHECKSUM_MISSING = Fault(
    "image.toolchain_checksum_missing",
    "There is no checksum of rustup-init for {architecture} in mistral_image_rustup_sha256.",
    "Add it (it is at the file's address with .sha256 appended), or set mistral_image_rust_toolchain: distribution.",
)
RUST_VERSION_TOO_OLD = Fault(
    "image.rust_version_too_old",
    "mistral_image_rust_version is {version}, but mistral.rs {engine} needs Rust {minimum} or newer.",
    "Set it to '', which takes {default}, or to a newer version.",
)

_RUST_TARGETS = {"x86_64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
_RUST_VERSION = re.compile(r"\d+\.\d+(\.\d+)?\Z")


class Toolchain(NamedTuple):
    """C(pinned) is in the Dockerfile, C(arguments) are given to the build."""

    pinned: dict[str, str]
    arguments: dict[str, str]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def toolchain_of(settings: Mapping[str, Any], engine: EngineVersion, kind: str) -> Toolchain:
    """The toolchain for an architecture (C(x86_64) or C(arm64)).

    Raises StackError C(image.toolchain_checksum_missing), C(image.rust_version_too_old) and C(image.value_invalid).
    """
    toolchain = text_of(settings, "rust_toolchain") or "rustup"
    if toolchain == "distribution":
        return Toolchain({"RUST_VERSION": "distribution", "RUSTUP_SHA256": ""}, {})
    version = checked(settings, "rust_version", _RUST_VERSION, "a version such as 1.94.0", False)
    if version and _numbers(version) < _numbers(engine.rust_minimum):
        known = {"engine": engine.version, "minimum": engine.rust_minimum, "default": engine.rust_version}
        raise StackError(RUST_VERSION_TOO_OLD, version=version, **known)
    target = _RUST_TARGETS[kind]
    architecture = target.partition("-")[0]
    sha256 = str((settings.get("rustup_sha256") or {}).get(architecture, "")).lower()
    if not SHA256.match(sha256):
        raise StackError(TOOLCHAIN_CHECKSUM_MISSING, architecture=architecture)
    url = checked_url(settings, "rustup_url", required=True).replace("{target}", target)
    return Toolchain(
        {"RUST_VERSION": version or engine.rust_version, "RUSTUP_SHA256": sha256},
        {"RUSTUP_INIT": url, "RUSTUP_SERVER": checked_url(settings, "rust_server")},
    )


def crate_index(registry: str, settings: Mapping[str, Any]) -> str:
    """What has to answer if crates can be fetched: a sparse registry has its C(config.json) where it begins.

    One that wants a token or a password answers nobody without it, and so isn't asked.
    """
    if not registry:
        return text_of(settings, "crate_index_url")
    if text_of(settings, "cargo_registry_token") or "@" in registry:
        return ""
    return registry.removeprefix("sparse+").rstrip("/") + "/config.json"
