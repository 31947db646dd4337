# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine that an image is for: what the version that the operator names is built from and with.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

What there is to know about versions is in C(module_utils/_engine_versions/table.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.row import Build, Release
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import RELEASES, ROWS, row_of
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import Number, parse, text_of
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine_defects import DEFECTS, warnings_of

VERSION_UNKNOWN = Fault(
    "image.version_unknown",
    "The commit of mistral.rs {version} isn't known (known are {known}).",
    "Set mistral_image_mistralrs_version to one of these, or mistral_image_commit to the commit to build.",
)
VERSION_INVALID = Fault(
    "image.version_invalid",
    "mistral_image_mistralrs_version is {version!r}, but must be three numbers such as 0.9.2 or v0.6.0, followed by "
    "+7 for the seventh commit after that release.",
    "Set it to one of {known}.",
)
VERSION_TOO_OLD = Fault(
    "image.version_too_old",
    "mistral.rs {version} is older than {oldest}, the oldest that this collection can build and start.",
    "Set mistral_image_mistralrs_version to one of {known}.",
)
COMMIT_INVALID = Fault(
    "image.commit_invalid",
    "mistral_image_commit is {commit!r}, but must be a git commit, in hexadecimal digits (40, or the first 8 or more).",
    "Take them from `git ls-remote https://github.com/EricLBuehler/mistral.rs`.",
)


@dataclass(frozen=True)
class EngineVersion(Build):
    """What one version is built from and with.

    C(commit) has 8 to 40 hexadecimal digits; C(tag) is empty if none points to it. C(reported_version) is what the
    program calls itself. An image holds the code for one compute capability. C(command_generation) is the version that
    introduced this version's command line; the filter engine_plan understands it, also where it doesn't know the
    version itself.
    """

    version: str
    tag: str
    commit: str
    reported_version: str
    defects: tuple[str, ...]
    command_generation: str
    warnings: tuple[str, ...] = ()


_COMMIT = re.compile(r"[0-9a-f]{8,40}\Z")


def ranges(versions: Sequence[str]) -> str:
    """Versions in order, with C(to) between those that follow one another."""
    groups: list[list[str]] = []
    last: Number = ()
    for one in versions:
        number = parse(one) or ()
        if len(number) == len(last) == 3 and number[:2] == last[:2] and number[2] == last[2] + 1:
            groups[-1] = [groups[-1][0], one]
        else:
            groups.append([one])
        last = number
    return ", ".join(" to ".join(group) for group in groups)


KNOWN = ranges(list(RELEASES))


def number_of(version: str) -> Number:
    """The numbers of a version such as C(0.9.2), C(v0.6.0) or C(0.9.2+7).

    Raises StackError C(image.version_invalid) and C(image.version_too_old).
    """
    number = parse(version)
    if not number:
        raise StackError(VERSION_INVALID, version=version, known=KNOWN)
    if number < ROWS[0].since:
        raise StackError(VERSION_TOO_OLD, version=text_of(number), oldest=text_of(ROWS[0].since), known=KNOWN)
    return number


def _commit(version: str, given: str) -> tuple[str, tuple[str, ...]]:
    """The commit to build and what the operator should know about it."""
    known = RELEASES[version].commit if version in RELEASES else ""
    if not given:
        if not known:
            raise StackError(VERSION_UNKNOWN, version=version, known=KNOWN)
        return known, ()
    commit = given.lower()
    if not _COMMIT.match(commit):
        raise StackError(COMMIT_INVALID, commit=given)
    if known and known.startswith(commit):
        return known, ()
    other = [
        release for release in RELEASES.values() if release.commit.startswith(commit) and release.version != version
    ]
    if other:
        return other[0].commit, (
            f"mistral_image_commit {commit} is mistral.rs {other[0].version}, but is built as {version}: set "
            "mistral_image_mistralrs_version to that instead.",
        )
    if known:
        return commit, (f"mistral_image_commit {commit} is built as {version}, but mistral.rs {version} is {known}.",)
    return commit, ()


def engine_version(version: str, commit: str = "") -> EngineVersion:
    """What the version (with or without C(v)) is built from and with; C(commit) as the operator gave it, or nothing.

    Raises StackError C(image.version_unknown) if the version is not listed and no commit is given,
    C(image.version_invalid), C(image.version_too_old) and C(image.commit_invalid).
    """
    number = number_of(version)
    name = text_of(number)
    commit, warnings = _commit(name, commit)
    row = row_of(number)
    if name not in RELEASES:
        warnings += (
            f"mistral.rs {name} is not among the versions that this collection knows ({KNOWN}); it is built and "
            f"started like {text_of(row.since)}.",
        )
    # A release that isn't known is taken to have a tag.
    release = RELEASES.get(name, Release(name, commit, tagged="+" not in name))
    return EngineVersion(
        **vars(row.build),
        version=name,
        tag=f"v{name}" if release.tagged else "",
        commit=commit,
        reported_version=release.reported or text_of(number[:3]),
        defects=tuple(defect.sentence for defect in DEFECTS if defect.holds(number)),
        command_generation=text_of(row.engine.generation),
        warnings=(*warnings, *warnings_of(number, name)),
    )


# The versions that are built without a commit of the operator's, oldest first.
ENGINE_VERSIONS = tuple(engine_version(version) for version in RELEASES)
