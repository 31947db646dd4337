# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the versions of mistral.rs: what each is built from, how it is started, what it can load.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

C(ROWS) is the only table that has a row for a version. A row holds until the next one begins, and says only what
changes with it. Its releases, and what else is worth running, are built without more ado: a tag can be moved, a commit
can't. Any other version is built if the operator gives its commit, like the row that it falls into. Known defects, with
their own ranges of versions, are in C(plugin_utils/_image/engine_defects.py).

Read in the engine's source at the tags (C(Cargo.toml), C(Cargo.lock), C(mistralrs-quant/build.rs), C(Dockerfile*),
C(.github/workflows)), in the crates that build the kernels (bindgen_cuda, cudaforge, cudarc) at the versions of its
Cargo.lock, and in the threads of its tracker that are named beside a statement. The unit tests compare the rows with
what was recorded from that source.

The default is the newest that serves many clients at once (upstream issue 2343), seven commits after the release 0.9.2.
The evaluation engine comes from PyPI, which has 0.9.5 as a wheel without its source; so the two defaults differ, and
the role says so.

Sources of the GGUF architectures: C(mistralrs-core/src/gguf/normal_registry.rs) of v0.9.1 and v0.9.2, and
C(PROJECTOR_REQUIRED_ARCHITECTURES) in C(mistralrs-core/src/pipeline/gguf.rs) there; before that the match on
C(GGUFArchitecture) in C(mistralrs-core/src/pipeline/gguf.rs) of v0.6.0, v0.7.0, v0.8.0 and v0.9.0.

Sources of the published images: C(docs/src/content/docs/guides/deploy/docker.md), the matrix of the job docker-cuda in
C(.github/workflows/release.yml) at v0.8.4, v0.8.13, v0.8.22 and v0.9.1; before, C(build_cuda_all.yaml).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.row import (
    Build,
    Crate,
    Engine,
    Gguf,
    Published,
    Release,
    Row,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import Number, parse, text_of

VERSION_UNSUPPORTED = Fault(
    "config.version_unsupported",
    "mistral.rs {version} is not a version that this collection knows how to start (it knows {known}).",
    "Set mistral_image_mistralrs_version to one of these.",
)

_CUDA_12_TO_12_8 = ("12.0", "12.1", "12.2", "12.3", "12.4", "12.5", "12.6", "12.8")
# The lists of mistralrs-quant/build.rs begin at 11.4, but the kernels include cuda_fp8.h, which came with 11.8
# (mistralrs-paged-attn/src/cuda from v0.7.0 on).
_CUDA_11_8_TO_13_2 = ("11.8", *_CUDA_12_TO_12_8, "12.9", "13.0", "13.1", "13.2")
_FEATURES = ("accelerate", "cuda", "cudnn", "flash-attn", "metal", "mkl", "nccl", "ring")
_ALL = ("80", "86", "89", "90", "100", "120", "121")
_TO_13_1 = (("12.8", _ALL[:-1]), ("12.9", ("121",)), ("13.0", _ALL), ("13.1", _ALL))

_0_6_0 = Row(
    since=(0, 6, 0),
    until=(0, 6, 1),
    releases=(Release("0.6.0", "3410183eec88bfc1f213ee8f447497f7037f5dce"),),
    engine=Engine(
        generation=(0, 6, 0),
        toml=False,
        many_models=False,
        doctor=False,
        between_shards=" ",
        finds_uqff_shards=False,
        mixes_answers_on_cpu=True,
        fraction_of_first_gpu=False,
    ),
    build=Build(
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
        link_time_optimization=True,
        fetches_swagger_ui=True,
        flash_attn_cuda_13=False,
        cutlass=False,
        large_flash_attn=False,
        cutile_cuda="",
    ),
    gguf=Gguf(frozenset(("llama", "phi2", "phi3", "starcoder2", "qwen2", "qwen3"))),
    published=Published(
        tag="cuda-{sm}-{version}",
        lanes=(("12.4", ("75", *_ALL)),),
        capabilities={"x86_64": ("75", "80", "86", "89", "90")},
    ),
)
_0_7_0 = replace(
    _0_6_0,
    since=(0, 7, 0),
    until=None,
    releases=(Release("0.7.0", "b5af26051d1ae87102bb2a2815dd7d526c02c5d6"),),
    engine=Engine(
        generation=(0, 7, 0),
        explicit_kind=True,
        explicit_format=True,
        between_shards=" ",
        finds_uqff_shards=False,
        mixes_answers_on_cpu=True,
        fraction_of_first_gpu=False,
    ),
    build=replace(
        _0_6_0.build,
        package="mistralrs-cli",
        binary="mistralrs",
        rust_minimum="1.88",
        # mistralrs-quant/build.rs and cudarc 0.19.0 end at 13.1. Upstream's Dockerfiles have 12.4 and 13.0, and whether
        # the kernels compile with 13.1 has not been seen anywhere.
        cuda_versions=(*_CUDA_12_TO_12_8, "12.9", "13.0"),
        known_features=(*_FEATURES, "flash-attn-v3"),
        link_time_optimization=False,
    ),
    gguf=Gguf(_0_6_0.gguf.architectures | {"qwen3moe"}),
    # The images up to 0.8.3 lack the program mistralrs.
    published=Published("", (), {}),
)
_0_8_0 = replace(
    _0_7_0,
    since=(0, 8, 0),
    releases=(
        Release("0.8.0", "962112d18ea5729fe7acaae5085ce54c2fb66dab"),
        # .cargo_vcs_info.json of the crate says the commit.
        Release(
            "0.8.1",
            "9397956728e6508d1c7a288043161ad1d70b658f",
            tagged=False,
            crate=Crate("mistralrs-cli", "26bc2a0267ea22fa09eb61c6e78257f58d2704671c9666527ccb91a29275939c"),
        ),
    ),
    engine=Engine(generation=(0, 8, 0), explicit_kind=True, explicit_format=True, mixes_answers_on_cpu=True),
    build=replace(
        _0_7_0.build,
        # The list in mistralrs-quant/build.rs, which stops the build with any other, from 11.8 on.
        cuda_versions=_CUDA_11_8_TO_13_2,
        compute_minimum="8.0",
        # No nccl: the collection never splits a model with it, and up to 0.9.0 it changes the engine even with one GPU.
        features=("cuda", "flash-attn"),
        threads_variable="CUDAFORGE_THREADS",
        fetches_swagger_ui=False,
        flash_attn_cuda_13=True,
    ),
    gguf=Gguf(_0_7_0.gguf.architectures | {"mistral3"}),
)
_0_8_2 = replace(
    _0_8_0,
    since=(0, 8, 2),
    releases=(
        Release("0.8.2", "7ed0e8441282c246e626bdbec929b8ac9549e4fe"),
        Release("0.8.3", "ba2f7877ed0fc5d814a5f918865aef137b5179fd"),
    ),
    engine=replace(_0_8_0.engine, generation=(0, 8, 2), no_ui=True),
    build=replace(
        _0_8_0.build,
        # From here on the crate's default features let clients run code.
        default_features=False,
        known_features=(*_FEATURES, "code-execution", "cutile", "flash-attn-v3"),
        cutile_cuda="13.1",
    ),
)
_0_8_4 = replace(
    _0_8_2,
    since=(0, 8, 4),
    releases=(
        Release("0.8.4", "6f753eba732ecf6e1a6793dfaf2c1a30176e8ffc"),
        Release("0.8.5", "4d56def6f151fe3eab42ab196dd018a4785d235a"),
        Release("0.8.6", "06315d6ad1433f5ae00e538a3acc81bf3302308f"),
        Release("0.8.7", "52f5b5002c5a07f113699497ee1b7e02206baf83"),
        Release("0.8.8", "9b5fa09db05cdcd0bdd95e85cef7f75eee45a5b1"),
        Release("0.8.9", "bc88d5b6854e46ec6b6a30252301b69dad2f19d6"),
        Release("0.8.10", "40ebc46091f47cca33dbf61eb5e5612a29488c1f", reported="0.8.9"),
    ),
    engine=replace(_0_8_2.engine, generation=(0, 8, 4), explicit_kind=False, metrics=True),
    build=replace(_0_8_2.build, rust_version="1.94.0", rust_minimum="1.94", cutlass=True, large_flash_attn=True),
    published=Published(
        tag="cuda-sm{sm}-{version}",
        lanes=(("13.1", _ALL),),
        capabilities={"x86_64": ("80", "86", "89", "90", "100", "120"), "arm64": ("90", "100", "121")},
    ),
)
_0_8_11 = replace(
    _0_8_4,
    since=(0, 8, 11),
    releases=(
        Release("0.8.11", "941c16b73be392873b2d99ed8ec28ceef78353f6"),
        Release("0.8.12", "ee077c6405aabd1ba9dbd3594913d0d91a914be3"),
    ),
    engine=replace(_0_8_4.engine, generation=(0, 8, 11), json_access_log=True),
)
_0_8_13 = replace(
    _0_8_11,
    since=(0, 8, 13),
    releases=(
        Release("0.8.13", "21a24f8e5f6bd078d838e5a81709acee914d0351"),
        Release("0.8.14", "2d9127f7347a141a6bf7d236ccdb828b663c12c2"),
        Release("0.8.15", "80fdfbcb08bd93e4a7ab617d8a688a753dd24875"),
        Release("0.8.16", "b045ea0b430294e9dc17e4787c3d8c53e90291b9"),
        Release("0.8.17", "9d3742b0b140f4f5fd1399061dfded22c76552bd"),
        Release("0.8.18", "d9fc6b75f907b01b00858b60c1230b41d8d03fdc"),
        Release("0.8.19", "1e0b547548d4c906370fd7238b549fd89a8f0801"),
        Release("0.8.20", "c561f8f532348b631d6f98ae7f1c6fc9249578b0"),
        Release("0.8.21", "3ee69a72bb1b80d4ae14263905babe7cd7a831ea"),
    ),
    published=replace(
        _0_8_11.published,
        tag="cuda{cuda}-sm{sm}-{version}",
        lanes=(("12.8", _ALL[:-1]), ("12.9", ("121",)), ("13.1", _ALL)),
    ),
)
_0_8_22 = replace(
    _0_8_13,
    since=(0, 8, 22),
    releases=(
        Release("0.8.22", "90e29392027238854bbfcf6d96db8fad6bf6d36f"),
        Release("0.8.23", "8744ceb4fe5b5a89f40065259a723dca01deb5c1"),
    ),
    published=replace(_0_8_13.published, lanes=(*_TO_13_1, ("13.2", ("80", "86", "89")), ("13.3", ("90",)))),
)
_0_9_0 = replace(
    _0_8_22,
    since=(0, 9, 0),
    releases=(Release("0.9.0", "54957525b8b648108000af2004a4991cf08c0e69"),),
    engine=replace(
        _0_8_22.engine,
        generation=(0, 9, 0),
        thread_variables=("RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"),
        mixes_answers_on_cpu=False,
        f32_fails_quantized=True,
        shares_memory_mb=True,
    ),
    # 13.3 is in the list of mistralrs-quant/build.rs from v0.8.23 on, but CUTLASS 7d49e6c fails with it (upstream issue
    # 2292); v0.9.0 has CUTLASS 7127592.
    build=replace(_0_8_22.build, cuda_versions=(*_CUDA_11_8_TO_13_2, "13.3")),
)
_0_9_1 = replace(
    _0_9_0,
    since=(0, 9, 1),
    releases=(
        Release("0.9.1", "11f255058573e085afe0a149f8a19cbd39aa1200"),
        Release("0.9.2", "d184053f2441f897cf81429b98b0d868f4d96ff3"),
        # The head of the branch master on 2026-08-22.
        Release("0.9.2+7", "9e922623f24b32d41f3892b74f0eed18707f4e6c", tagged=False),
    ),
    engine=replace(
        _0_9_0.engine,
        generation=(0, 9, 1),
        explicit_format=False,
        files_beside=True,
        f32_fails_gguf=True,
        quantized_embeddings=True,
    ),
    build=replace(_0_9_0.build, cutile_cuda="13.2"),
    gguf=Gguf(
        _0_9_0.gguf.architectures
        | {"deepseek2", "gemma", "gemma2", "gemma3", "glm4", "glm4moe", "gpt-oss", "granite", "granitehybrid"}
        | {"granitemoe", "hunyuan-dense", "hunyuan-moe", "lfm2", "lfm2moe", "phimoe", "qwen35", "qwen35moe"}
        | {"qwen3next", "smollm3"},
        with_projector=frozenset(("gemma3n", "gemma4", "llama4", "muse-glimmer", "qwen2vl", "qwen3vl", "qwen3vlmoe")),
    ),
    published=replace(
        _0_9_0.published,
        lanes=(*_TO_13_1, ("13.2", ("80", "86", "89", "100", "120", "121")), ("13.3", ("90",))),
    ),
)

# Oldest first.
ROWS = (_0_6_0, _0_7_0, _0_8_0, _0_8_2, _0_8_4, _0_8_11, _0_8_13, _0_8_22, _0_9_0, _0_9_1)
# By version, oldest first.
RELEASES: Mapping[str, Release] = {release.version: release for row in ROWS for release in row.releases}
DEFAULT_VERSION = list(RELEASES)[-1]
# What comes after a release has no image.
NEWEST_PUBLISHED = [name for name in RELEASES if "+" not in name][-1]


def known_versions() -> str:
    """The versions that can be started, in words: C(0.6.0, 0.7.x, 0.8.x and 0.9.x)."""
    lines = [text_of(row.since) if row.until else f"{row.since[0]}.{row.since[1]}.x" for row in ROWS]
    names = list(dict.fromkeys(lines))
    return f"{', '.join(names[:-1])} and {names[-1]}"


def row_of(number: Number) -> Row:
    """The row of a version; the first row for what is older than all."""
    return [ROWS[0], *(row for row in ROWS if row.since <= number)][-1]


def engine_of(version: str) -> Engine:
    """How a version such as C(0.9.5), C(v0.6.0) or C(0.9.2+7) is started.

    Raises StackError C(config.version_unsupported) for what is not a version, for one that no row knows, and for those
    of the next minor release.
    """
    number = parse(version)
    if number and ROWS[0].since <= number and number[:2] <= ROWS[-1].since[:2]:
        row = row_of(number)
        if not row.until or number < row.until:
            return row.engine
    raise StackError(VERSION_UNSUPPORTED, version=version, known=known_versions())
