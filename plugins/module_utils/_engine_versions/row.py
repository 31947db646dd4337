# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a row of the table of versions says.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import Number


class Crate(NamedTuple):
    """A version as the registry of crates has it, with its lock file: name and SHA-256 of the crate.

    The registry's index says the SHA-256 (C(cksum)).
    """

    name: str
    sha256: str


class Release(NamedTuple):
    """A version that is built without a commit of the operator's.

    C(commit) is what the tag of that name points to in upstream's repository. C(reported) is what the program calls
    itself (C(version) in its Cargo.toml) where that is not its release.
    """

    version: str
    commit: str
    tagged: bool = True
    reported: str = ""
    crate: Crate | None = None


@dataclass(frozen=True)
class Engine:
    """What a version understands and gets wrong, as far as it changes how it is started.

    C(generation) is the version that introduced this command line; an image's label says it.
    """

    generation: Number
    toml: bool = True
    many_models: bool = True
    explicit_kind: bool = False
    explicit_format: bool = False
    # A GGUF model uses the tokenizer.json and the config.json that lie beside it. Before, it takes the tokenizer of a
    # directory that is named as the "tokenizer model", with the chat template and the special tokens that
    # tokenizer_config.json there says; it then calls itself like that directory.
    files_beside: bool = False
    no_ui: bool = False
    json_access_log: bool = False
    metrics: bool = False
    # The command `doctor`.
    doctor: bool = True
    thread_variables: tuple[str, ...] = ("RAYON_NUM_THREADS",)
    # What is between the GGUF shards of a model; before 0.8.0 it was a space.
    between_shards: str = ";"
    # The engine finds the other UQFF shards by the first one's name. Before, it loads those that are named.
    finds_uqff_shards: bool = True
    # On the CPU, the attention of a decoding step keeps one scratch buffer for all sequences: requests that are worked
    # on together get each other's answers.
    mixes_answers_on_cpu: bool = False
    # On the CPU, F32 activations of requests that are read together reach the quantized output layer as a view, which
    # it refuses ("input tensor is not contiguous"); other types are converted, and so copied, before. The common
    # loader has this, which GGUF models use from 0.9.1 on.
    f32_fails_quantized: bool = False
    f32_fails_gguf: bool = False
    # What a memory fraction leaves for the KV cache is measured on the first GPU less the whole model, also where the
    # model lies on several GPUs: one that is larger than the first GPU gets nothing.
    fraction_of_first_gpu: bool = True
    # paged_attn.memory_mb is shared out among the models; before, each of them takes all of it.
    shares_memory_mb: bool = False
    # The embeddings of GGUF models stay quantized; before, they are F32 in the GPU's memory.
    quantized_embeddings: bool = False


@dataclass(frozen=True)
class Build:
    """What a version is built with.

    C(cuda_versions) are toolkits as C(12.8), oldest first. C(features) are those of a CUDA build without cuDNN,
    C(known_features) all that the package has for Linux; cargo refuses another name. Where C(default_features) is
    false, the build must have C(--no-default-features). C(threads_variable) limits how many CUDA compilers run at once.
    """

    package: str
    binary: str
    # The toolchain to build with, and the oldest that the engine's Cargo.toml allows.
    rust_version: str
    rust_minimum: str
    cuda_versions: tuple[str, ...]
    compute_minimum: str
    features: tuple[str, ...]
    known_features: tuple[str, ...]
    default_features: bool
    threads_variable: str
    # The engine's own profile has link-time optimisation of all crates at once (v0.6.0, Cargo.toml), which takes memory
    # by the size of the whole program and runs on one core. Its authors removed it for 0.7.0: "Makes release profiler
    # faster to build. The improvement is negligible with it."
    link_time_optimization: bool
    # The build fetches Swagger UI by itself (source.py says which).
    fetches_swagger_ui: bool
    # FlashAttention compiles with CUDA 13 (upstream issue 1700).
    flash_attn_cuda_13: bool
    # CUTLASS is in the engine's own kernels; before, only FlashAttention has it.
    cutlass: bool
    # FlashAttention has eight source files that take an hour and more each.
    large_flash_attn: bool
    # The first CUDA with which the feature cutile is built: mistralrs-quant/build.rs stops with an older one ("the
    # `cutile` feature requires CUDA >= ..."), from v0.9.1 on with 13.1, too. Empty where there is no such feature.
    cutile_cuda: str


@dataclass(frozen=True)
class Gguf:
    """The architectures of GGUF files that a version loads, and those that it loads only with a projector (mmproj)."""

    architectures: frozenset[str]
    with_projector: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Published:
    """The images that upstream publishes.

    C(tag) is the pattern of a tag; empty where none can be used. C(lanes) are the CUDA versions, oldest first, each
    with the capabilities whose image is taken from there on; C(capabilities) are those of each architecture.
    """

    tag: str
    lanes: tuple[tuple[str, tuple[str, ...]], ...]
    capabilities: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Row:
    """The versions from C(since) on, up to the next row; nothing is known about those from C(until) on."""

    since: Number
    releases: tuple[Release, ...]
    engine: Engine
    build: Build
    gguf: Gguf
    published: Published
    until: Number | None = None
