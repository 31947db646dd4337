# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the source of an engine image comes from: git, an archive, or a crate.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import RELEASES
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import text_of as number_text
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import (
    EngineVersion,
    engine_version,
    number_of,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.values import (
    SHA256,
    VALUE_INVALID,
    checked_url,
    text_of,
)

ARCHIVE_CHECKSUM_MISSING = Fault(
    "image.archive_checksum_missing",
    "{variable} is set, but {variable_sha256} is {value!r}, which is not a SHA-256.",
    "Set it to the 64 hexadecimal digits that belong to the archive.",
)
CRATE_UNKNOWN = Fault(
    "image.crate_unknown",
    "The checksum of mistral.rs {version} as a crate isn't known (known are {known}).",
    "Set mistral_image_build_from to git, or to archive with mistral_image_archive_url and its SHA-256.",
)

# Up to 0.7.0 the locked utoipa-swagger-ui 9.0.2 fetches this archive of Swagger UI 5.17.14 in its build script; from
# 0.8.0 on the crate utoipa-swagger-ui-vendored 0.1.2 brings it. The SHA-256 is that of the archive in that crate
# (res/v5.17.14.zip; the crate's own is e2eebbbfe4093922c2b6734d7c679ebfebd704a0d7e56dfcb0d05818ce28977d).
SWAGGER_UI_SHA256 = "481244d0812097b11fbaeef79f71d942b171617f9c9f9514e63acbe13e71ccdc"

# The versions that the registry of crates has with their lock file.
CRATES = {name: release.crate for name, release in RELEASES.items() if release.crate}
BUILD_FROM = ("auto", "git", "archive", "crate")


class Split(NamedTuple):
    """An address without the user and password that it may have, and these."""

    url: str
    user: str
    password: str


class Source(NamedTuple):
    """Where the source comes from.

    C(pinned) is in the Dockerfile, C(arguments) are given to the build. C(url) is the address as the operator gave it,
    with the user and password that it may have.
    """

    kind: str
    pinned: dict[str, str]
    arguments: dict[str, str]
    url: str


def split_credentials(url: str) -> Split:
    """Take user and password out of an address. The user stays in ssh addresses, where it is not a secret."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return Split(url, "", "")
    host = parts.netloc.rpartition("@")[2]
    return Split(
        urllib.parse.urlunsplit(parts._replace(netloc=host)),
        urllib.parse.unquote(parts.username or ""),
        urllib.parse.unquote(parts.password or ""),
    )


def _name(version: str) -> str:
    """A version as the tables have it."""
    return number_text(number_of(version))


def build_from(settings: Mapping[str, Any], version: str) -> str:
    """The kind of source: as it was said, or the one that has this version."""
    wanted = text_of(settings, "build_from") or "auto"
    if wanted not in BUILD_FROM:
        raise StackError(
            VALUE_INVALID, variable="mistral_image_build_from", value=wanted, expected=" or ".join(BUILD_FROM)
        )
    if wanted != "auto":
        return wanted
    if text_of(settings, "archive_url"):
        return "archive"
    # With a commit of the operator's own it is git, which has every commit.
    return "crate" if _name(version) in CRATES and not text_of(settings, "commit") else "git"


def engine_to_build(settings: Mapping[str, Any], version: str) -> EngineVersion:
    """The engine that the settings ask for; a crate says itself which commit it was made from."""
    commit = text_of(settings, "commit")
    if build_from(settings, version) == "crate":
        crate = CRATES.get(_name(version))
        if not crate:
            raise StackError(CRATE_UNKNOWN, version=_name(version), known=", ".join(CRATES))
        commit = RELEASES[_name(version)].commit
    return engine_version(version, commit)


def engine_source(settings: Mapping[str, Any], engine: EngineVersion) -> Source:
    """Where the engine's source comes from.

    Raises StackError C(image.value_invalid), C(image.archive_checksum_missing) and C(image.crate_unknown).
    """
    kind = build_from(settings, engine.version)
    if kind == "crate":
        crate = CRATES[engine.version]
        url = checked_url(settings, "crate_url", required=True)
        url = url.replace("{name}", crate.name).replace("{version}", engine.version)
        return Source(
            kind,
            {
                "SOURCE_KIND": kind,
                "SOURCE_SHA256": crate.sha256,
                "SOURCE_COMMIT": RELEASES[engine.version].commit,
                "SOURCE_TAG": "",
            },
            {"SOURCE_ARCHIVE": url},
            url,
        )
    if kind == "archive":
        archive = checked_url(settings, "archive_url", required=True)
        sha256 = text_of(settings, "archive_sha256").lower()
        if not SHA256.match(sha256):
            raise StackError(
                ARCHIVE_CHECKSUM_MISSING,
                variable="mistral_image_archive_url",
                variable_sha256="mistral_image_archive_sha256",
                value=sha256,
            )
        return Source(
            kind,
            {"SOURCE_KIND": kind, "SOURCE_SHA256": sha256, "SOURCE_COMMIT": engine.commit, "SOURCE_TAG": ""},
            {"SOURCE_ARCHIVE": archive},
            archive,
        )
    given = checked_url(settings, "git_url", required=True)
    # A commit of the operator's own needn't be what the tag points to.
    tag = "" if text_of(settings, "commit") else engine.tag
    return Source(
        kind,
        {"SOURCE_KIND": kind, "SOURCE_SHA256": "", "SOURCE_COMMIT": engine.commit, "SOURCE_TAG": tag},
        {"SOURCE_GIT": split_credentials(given).url},
        given,
    )


def swagger_ui(settings: Mapping[str, Any], engine: EngineVersion) -> tuple[str, str]:
    """SHA-256 and address of Swagger UI, where the engine's build would fetch it by itself; else nothing.

    The address is that of the archive, or of the crate that has it inside. Raises StackError C(image.value_invalid).
    """
    if not engine.fetches_swagger_ui:
        return "", ""
    return SWAGGER_UI_SHA256, checked_url(settings, "swagger_ui_url", required=True)
