# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each version of mistral.rs is built from and with.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

Read in the engine's source at the tags (C(Cargo.toml), C(Cargo.lock), C(mistralrs-quant/build.rs), C(Dockerfile*),
C(.github/workflows)), in the crates that build the kernels (bindgen_cuda, cudaforge, cudarc) at the versions of its
Cargo.lock, and in the threads of its tracker that are named beside a statement.

There are two tables. C(LINES) says how versions differ; each row holds until the next one begins. C(COMMITS) lists
every release and what else is worth running, and only these are built without more ado: a tag can be moved, a commit
can't. Any other version is built if the operator gives its commit, with the properties of the row that it falls into.

The default is the newest that serves many clients at once (DEFECTS, upstream issue 2343), seven commits after the
release 0.9.2. The evaluation engine comes from PyPI, which has 0.9.5 as a wheel without its source; so the two defaults
differ, and the role says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._engine.versions import ENGINES
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
    "mistral_image_mistralrs_version is {version!r}, but must be three numbers such as 0.9.2 or v0.6.0, with +7 behind "
    "them for the seventh commit after that release.",
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

_CUDA_12_TO_12_8 = ("12.0", "12.1", "12.2", "12.3", "12.4", "12.5", "12.6", "12.8")
# The lists of mistralrs-quant/build.rs begin at 11.4, but the kernels include cuda_fp8.h, which came with 11.8
# (mistralrs-paged-attn/src/cuda from v0.7.0 on).
_CUDA_11_8_TO_13_2 = ("11.8", *_CUDA_12_TO_12_8, "12.9", "13.0", "13.1", "13.2")


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
    # All that the package has for Linux; cargo refuses another name.
    known_features: tuple[str, ...]
    default_features: bool
    threads_variable: str


class EngineVersion(NamedTuple):
    """What one version is built from and with.

    C(commit) has 8 to 40 hexadecimal digits; C(tag) is empty if none points to it. C(reported_version) is what the
    program calls itself. C(cuda_versions) are toolkits as C(12.8), oldest first. C(features) are those of a CUDA build
    without cuDNN; where C(default_features) is false, the build must have C(--no-default-features).
    C(threads_variable) limits how many CUDA compilers run at once. An image holds the code for one compute capability.
    C(command_generation) is the version that introduced this version's command line; the filter engine_plan understands
    it, also where it doesn't know the version itself.
    """

    version: str
    tag: str
    commit: str
    reported_version: str
    package: str
    binary: str
    rust_version: str
    rust_minimum: str
    cuda_versions: tuple[str, ...]
    compute_minimum: str
    features: tuple[str, ...]
    known_features: tuple[str, ...]
    default_features: bool
    threads_variable: str
    defects: tuple[str, ...]
    command_generation: str
    warnings: tuple[str, ...] = ()


_FEATURES = ("accelerate", "cuda", "cudnn", "flash-attn", "metal", "mkl", "nccl", "ring")
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
    # mistralrs-server/Cargo.toml at v0.6.0, mistralrs-cli/Cargo.toml later.
    known_features=(*_FEATURES, "mcp-server"),
    # The server crate has no default feature that opens anything.
    default_features=True,
    threads_variable="RAYON_NUM_THREADS",
)
_0_7_0 = _FIRST._replace(
    since=(0, 7, 0),
    package="mistralrs-cli",
    binary="mistralrs",
    rust_minimum="1.88",
    # mistralrs-quant/build.rs and cudarc 0.19.0 end at 13.1. Upstream's Dockerfiles have 12.4 and 13.0, and whether the
    # kernels compile with 13.1 has not been seen anywhere.
    cuda_versions=(*_CUDA_12_TO_12_8, "12.9", "13.0"),
    known_features=(*_FEATURES, "flash-attn-v3"),
)
_0_8_0 = _0_7_0._replace(
    since=(0, 8, 0),
    # The list in mistralrs-quant/build.rs, which stops the build with any other, from 11.8 on.
    cuda_versions=_CUDA_11_8_TO_13_2,
    compute_minimum="8.0",
    # No nccl: the collection never splits a model with it, and up to 0.9.0 it changes the engine even with one GPU.
    features=("cuda", "flash-attn"),
    threads_variable="CUDAFORGE_THREADS",
)
# From here on the crate's default features let clients run code.
_0_8_2 = _0_8_0._replace(
    since=(0, 8, 2),
    default_features=False,
    known_features=(*_FEATURES, "code-execution", "cutile", "flash-attn-v3"),
)
_0_8_4 = _0_8_2._replace(since=(0, 8, 4), rust_version="1.94.0", rust_minimum="1.94")
# 13.3 is in the list of mistralrs-quant/build.rs from v0.8.23 on, but CUTLASS 7d49e6c fails with it (upstream issue
# 2292); v0.9.0 has CUTLASS 7127592.
_0_9_0 = _0_8_4._replace(since=(0, 9, 0), cuda_versions=(*_CUDA_11_8_TO_13_2, "13.3"))

# Oldest first; each row holds until the next one begins.
LINES = (_FIRST, _0_7_0, _0_8_0, _0_8_2, _0_8_4, _0_9_0)

# Oldest first; the last is the default. Each is what the tag of that name points to in upstream's repository, but for
# 0.8.1, which has no tag (.cargo_vcs_info.json of the crate mistralrs-cli 0.8.1), and 0.9.2+7, the head of the branch
# master on 2026-08-22.
COMMITS: Mapping[str, str] = {
    "0.6.0": "3410183eec88bfc1f213ee8f447497f7037f5dce",
    "0.7.0": "b5af26051d1ae87102bb2a2815dd7d526c02c5d6",
    "0.8.0": "962112d18ea5729fe7acaae5085ce54c2fb66dab",
    "0.8.1": "9397956728e6508d1c7a288043161ad1d70b658f",
    "0.8.2": "7ed0e8441282c246e626bdbec929b8ac9549e4fe",
    "0.8.3": "ba2f7877ed0fc5d814a5f918865aef137b5179fd",
    "0.8.4": "6f753eba732ecf6e1a6793dfaf2c1a30176e8ffc",
    "0.8.5": "4d56def6f151fe3eab42ab196dd018a4785d235a",
    "0.8.6": "06315d6ad1433f5ae00e538a3acc81bf3302308f",
    "0.8.7": "52f5b5002c5a07f113699497ee1b7e02206baf83",
    "0.8.8": "9b5fa09db05cdcd0bdd95e85cef7f75eee45a5b1",
    "0.8.9": "bc88d5b6854e46ec6b6a30252301b69dad2f19d6",
    "0.8.10": "40ebc46091f47cca33dbf61eb5e5612a29488c1f",
    "0.8.11": "941c16b73be392873b2d99ed8ec28ceef78353f6",
    "0.8.12": "ee077c6405aabd1ba9dbd3594913d0d91a914be3",
    "0.8.13": "21a24f8e5f6bd078d838e5a81709acee914d0351",
    "0.8.14": "2d9127f7347a141a6bf7d236ccdb828b663c12c2",
    "0.8.15": "80fdfbcb08bd93e4a7ab617d8a688a753dd24875",
    "0.8.16": "b045ea0b430294e9dc17e4787c3d8c53e90291b9",
    "0.8.17": "9d3742b0b140f4f5fd1399061dfded22c76552bd",
    "0.8.18": "d9fc6b75f907b01b00858b60c1230b41d8d03fdc",
    "0.8.19": "1e0b547548d4c906370fd7238b549fd89a8f0801",
    "0.8.20": "c561f8f532348b631d6f98ae7f1c6fc9249578b0",
    "0.8.21": "3ee69a72bb1b80d4ae14263905babe7cd7a831ea",
    "0.8.22": "90e29392027238854bbfcf6d96db8fad6bf6d36f",
    "0.8.23": "8744ceb4fe5b5a89f40065259a723dca01deb5c1",
    "0.9.0": "54957525b8b648108000af2004a4991cf08c0e69",
    "0.9.1": "11f255058573e085afe0a149f8a19cbd39aa1200",
    "0.9.2": "d184053f2441f897cf81429b98b0d868f4d96ff3",
    "0.9.2+7": "9e922623f24b32d41f3892b74f0eed18707f4e6c",
}
# The versions that no tag points to.
UNTAGGED = ("0.8.1",)
# What a program calls itself (C(version) in its Cargo.toml) where that is not its release.
REPORTED: Mapping[str, str] = {"0.8.10": "0.8.9"}
DEFAULT_VERSION = list(COMMITS)[-1]

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


KNOWN = ranges(list(COMMITS))


def number_of(version: str) -> Number:
    """The numbers of a version such as C(0.9.2), C(v0.6.0) or C(0.9.2+7).

    Raises StackError C(image.version_invalid) and C(image.version_too_old).
    """
    number = parse(version)
    if not number:
        raise StackError(VERSION_INVALID, version=version, known=KNOWN)
    if number < LINES[0].since:
        raise StackError(VERSION_TOO_OLD, version=text_of(number), oldest=text_of(LINES[0].since), known=KNOWN)
    return number


def tag_of_release(name: str) -> str:
    """The tag in upstream's repository; empty for what has none."""
    return "" if name in UNTAGGED or "+" in name else f"v{name}"


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
    if known and known.startswith(commit):
        return known, ()
    other = [name for name, its in COMMITS.items() if its.startswith(commit) and name != version]
    if other:
        return COMMITS[other[0]], (
            f"mistral_image_commit {commit} is mistral.rs {other[0]}, but is built as {version}: set "
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
    line = [row for row in LINES if row.since <= number][-1]
    if name not in COMMITS:
        warnings += (
            f"mistral.rs {name} is not among the versions that this collection knows ({KNOWN}); it is built and "
            f"started like {text_of(line.since)}.",
        )
    generation = [engine.since for engine in ENGINES if engine.since <= number][-1]
    return EngineVersion(
        version=name,
        tag=tag_of_release(name),
        commit=commit,
        reported_version=REPORTED.get(name, text_of(number[:3])),
        **{field: value for field, value in line._asdict().items() if field != "since"},
        defects=tuple(defect.sentence for defect in DEFECTS if defect.holds(number)),
        command_generation=text_of(generation),
        warnings=(*warnings, *warnings_of(number, name)),
    )


# The versions that are built without a commit of the operator's, oldest first.
ENGINE_VERSIONS = tuple(engine_version(version) for version in COMMITS)


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
