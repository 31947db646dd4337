# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each version of mistral.rs is built from and with.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Read in the engine's source at the tags (C(Cargo.toml), C(Cargo.lock), C(mistralrs-quant/build.rs), C(Dockerfile*),
C(.github/workflows)) and in the threads of its tracker that are named beside a statement.

There are two tables. C(LINES) says how versions differ; each row holds until the next one begins. C(COMMITS) lists the
versions whose commit is known, and only these are built without more ado: a tag can be moved, a commit can't. A commit
of fewer than 40 digits is the beginning of one; the build verifies that the commit that it checks out begins with it.
Any other version is built if the operator gives its commit, with the properties of the row that it falls into.

The newest version here is 0.9.2, the newest whose source has been read. The evaluation engine comes from PyPI, which
has 0.9.5 as a wheel without its source; so the two defaults differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_plan import ENGINES
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

VERSION_UNKNOWN = Fault(
    "image.version_unknown",
    "The commit of mistral.rs {version} isn't known (known are {known}).",
    "Set mistral_image_mistralrs_version to one of these, or mistral_image_commit to the commit to build.",
)
VERSION_INVALID = Fault(
    "image.version_invalid",
    "mistral_image_mistralrs_version is {version!r}, but must be three numbers such as 0.9.2 or v0.6.0.",
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

Number = tuple[int, int, int]

_CUDA_12_TO_12_8 = ("12.0", "12.1", "12.2", "12.3", "12.4", "12.5", "12.6", "12.8")
_CUDA_11 = ("11.4", "11.5", "11.6", "11.7", "11.8")
_CUDA_TO_13_2 = (*_CUDA_11, *_CUDA_12_TO_12_8, "12.9", "13.0", "13.1", "13.2")

# Known defects: the first version with it, the first without it (none: still there), what it is.
DEFECTS: tuple[tuple[Number, Number | None, str], ...] = (
    (
        (0, 6, 0),
        None,
        "GGUF models with a SentencePiece vocabulary (Mistral 7B, Llama 2, Mixtral, Gemma 1 to 3) are tokenized "
        "wrongly unless a tokenizer.json is given; this collection makes one.",
    ),
    ((0, 6, 0), (0, 7, 0), "The model that a request names is ignored; one model is served."),
    ((0, 6, 0), (0, 7, 0), "Requests can name files of the container as images (file:// and plain paths)."),
    ((0, 6, 0), (0, 7, 0), "Built with the feature nccl, GGUF models run on the CPU."),
    ((0, 7, 0), (0, 8, 0), "FlashAttention does not compile with CUDA 13 (upstream issue 1700)."),
    ((0, 6, 0), (0, 8, 2), "HF_HUB_OFFLINE is ignored: a model that is missing is looked for on the network."),
    ((0, 6, 0), (0, 8, 4), "There is no /metrics."),
    ((0, 7, 0), (0, 8, 4), "Upstream's published images lack the program mistralrs (upstream issue 1948)."),
    ((0, 8, 0), None, "GPUs below compute capability 8.0 do not compile (upstream issue 2092)."),
    ((0, 6, 0), None, "As process 1 of a container the engine ignores SIGTERM; start it below an init."),
)


class Line(NamedTuple):
    """One range of versions, from C(since) on: what it is built with."""

    since: Number
    package: str
    binary: str
    # The toolchain to build with, and the oldest that the engine's Cargo.toml allows.
    rust_version: str
    rust_minimum: str
    cuda_versions: tuple[str, ...]
    compute_minimum: str
    features: tuple[str, ...]
    default_features: bool
    threads_variable: str


class EngineVersion(NamedTuple):
    """What one version is built from and with.

    C(commit) has 8 to 40 hexadecimal digits. C(cuda_versions) are toolkits as C(12.8), oldest first. C(features) are
    those of a CUDA build without cuDNN; where C(default_features) is false, the build must have
    C(--no-default-features). C(threads_variable) limits how many CUDA compilers run at once. An image holds the code
    for one compute capability. C(command_generation) is the version that introduced this version's command line; the
    filter engine_plan understands it, also where it doesn't know the version itself.
    """

    version: str
    tag: str
    commit: str
    package: str
    binary: str
    rust_version: str
    rust_minimum: str
    cuda_versions: tuple[str, ...]
    compute_minimum: str
    features: tuple[str, ...]
    default_features: bool
    threads_variable: str
    defects: tuple[str, ...]
    command_generation: str
    warnings: tuple[str, ...] = ()


_FIRST = Line(
    since=(0, 6, 0),
    package="mistralrs-server",
    binary="mistralrs-server",
    # Its Cargo.toml says 1.82; dependencies of its time build with 1.88, too.
    rust_version="1.88.0",
    rust_minimum="1.82",
    # cudarc 0.13.9 ends at 12.8. CUDA 11 with it has not been seen anywhere.
    cuda_versions=_CUDA_12_TO_12_8,
    compute_minimum="7.5",
    # No flash-attn: it needs compute capability 8.0.
    features=("cuda",),
    # The server crate has no default feature that opens anything.
    default_features=True,
    threads_variable="RAYON_NUM_THREADS",
)
_0_7_0 = _FIRST._replace(
    since=(0, 7, 0),
    package="mistralrs-cli",
    binary="mistralrs",
    rust_minimum="1.88",
    # cudarc 0.17.8; upstream's Dockerfiles have 12.4 and 13.0.
    cuda_versions=(*_CUDA_12_TO_12_8, "12.9", "13.0"),
)
_0_8_0 = _0_7_0._replace(
    since=(0, 8, 0),
    # The list in mistralrs-quant/build.rs, which stops the build with any other.
    cuda_versions=_CUDA_TO_13_2,
    compute_minimum="8.0",
    # No nccl: the collection never splits a model with it, and up to 0.9.0 it changes the engine even with one GPU.
    features=("cuda", "flash-attn"),
    threads_variable="CUDAFORGE_THREADS",
)
# From here on the crate's default features let clients run code.
_0_8_2 = _0_8_0._replace(since=(0, 8, 2), default_features=False)
_0_8_4 = _0_8_2._replace(since=(0, 8, 4), rust_version="1.94.0", rust_minimum="1.94")
_0_9_2 = _0_8_4._replace(since=(0, 9, 2), cuda_versions=(*_CUDA_TO_13_2, "13.3"))

# Oldest first; each row holds until the next one begins.
LINES = (_FIRST, _0_7_0, _0_8_0, _0_8_2, _0_8_4, _0_9_2)

# The commits of the tags, oldest first. The last is the default. All begin as the tags do in upstream's repository; the
# rest of the first is from Homebrew's formula mistral-rs, of the last from projects that build upon it.
COMMITS: Mapping[str, str] = {
    "0.6.0": "3410183eec88bfc1f213ee8f447497f7037f5dce",
    "0.7.0": "b5af2605",
    "0.8.0": "962112d1",
    "0.9.2": "d184053f2441f897cf81429b98b0d868f4d96ff3",
}
DEFAULT_VERSION = list(COMMITS)[-1]
KNOWN = ", ".join(COMMITS)

_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})\Z", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{8,40}\Z")


def number_of(version: str) -> Number:
    """The three numbers of a version such as C(0.9.2) or C(v0.6.0).

    Raises StackError C(image.version_invalid) and C(image.version_too_old).
    """
    match = _VERSION.match(version)
    if not match:
        raise StackError(VERSION_INVALID, version=version, known=KNOWN)
    number = (int(match.group(1)), int(match.group(2)), int(match.group(3)))
    if number < LINES[0].since:
        raise StackError(VERSION_TOO_OLD, version=_dotted(number), oldest=_dotted(LINES[0].since), known=KNOWN)
    return number


def _dotted(number: Number) -> str:
    return ".".join(str(part) for part in number)


def _commit(version: str, given: str) -> tuple[str, tuple[str, ...]]:
    """The commit to build and what the operator should know about it."""
    known = COMMITS.get(version, "")
    if not given:
        if not known:
            raise StackError(VERSION_UNKNOWN, version=version, known=KNOWN)
        return known, ()
    commit = given.lower()
    if not _COMMIT.match(commit):
        raise StackError(COMMIT_INVALID, commit=given)
    if known and (commit.startswith(known) or known.startswith(commit)):
        return max(commit, known, key=len), ()
    if known:
        return commit, (f"mistral_image_commit {commit} is built as {version}, but v{version} was tagged at {known}.",)
    return commit, ()


def engine_version(version: str, commit: str = "") -> EngineVersion:
    """What the version (with or without C(v)) is built from and with; C(commit) as the operator gave it, or nothing.

    Raises StackError C(image.version_unknown) if the version is not listed and no commit is given,
    C(image.version_invalid), C(image.version_too_old) and C(image.commit_invalid).
    """
    number = number_of(version)
    name = _dotted(number)
    commit, warnings = _commit(name, commit)
    line = [row for row in LINES if row.since <= number][-1]
    if name not in COMMITS:
        warnings += (
            f"mistral.rs {name} is not among the versions that this collection knows ({KNOWN}); it is built and "
            f"started like {_dotted(line.since)}.",
        )
    generation = [engine.since for engine in ENGINES if engine.since <= number][-1]
    return EngineVersion(
        version=name,
        tag=f"v{name}",
        commit=commit,
        **{field: value for field, value in line._asdict().items() if field != "since"},
        defects=tuple(
            sentence for first, fixed, sentence in DEFECTS if first <= number and (fixed is None or number < fixed)
        ),
        command_generation=_dotted(generation),
        warnings=warnings,
    )


# The versions that are built without a commit of the operator's, oldest first.
ENGINE_VERSIONS = tuple(engine_version(version) for version in COMMITS)


def as_data(version: EngineVersion) -> dict[str, Any]:
    """The same as plain data for roles."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in version._asdict().items()}


class Crate(NamedTuple):
    """A version as the registry of crates has it: name and SHA-256 of the crate, and the commit it was made from.

    The registry's index says the SHA-256 (C(cksum)), the crate's C(.cargo_vcs_info.json) says the commit.
    """

    name: str
    sha256: str
    commit: str


# The versions that the registry of crates has with their lock file. 0.8.1 has no tag in git.
CRATES: Mapping[str, Crate] = {
    "0.8.1": Crate(
        name="mistralrs-cli",
        sha256="26bc2a0267ea22fa09eb61c6e78257f58d2704671c9666527ccb91a29275939c",
        commit="9397956728e6508d1c7a288043161ad1d70b658f",
    ),
}
