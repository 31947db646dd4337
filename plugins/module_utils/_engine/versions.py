# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each version of the engine understands and gets wrong, as far as it changes how it is started.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Each value comes from mistral.rs's source at the tag that the row names; the unit tests cite the file.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import parse

VERSION_UNSUPPORTED = Fault(
    "config.version_unsupported",
    "mistral.rs {version} is not a version that this collection knows how to start (it knows {known}).",
    "Set mistral_image_mistralrs_version to one of these.",
)


@dataclass(frozen=True)
class Engine:
    """What one range of engine versions can do."""

    since: tuple[int, int, int]
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


_THREADS = ("RAYON_NUM_THREADS", "CANDLE_NUM_THREADS")
# Newest last; each row holds until the next one begins.
ENGINES = (
    Engine(
        (0, 6, 0),
        toml=False,
        many_models=False,
        between_shards=" ",
        finds_uqff_shards=False,
        mixes_answers_on_cpu=True,
        fraction_of_first_gpu=False,
    ),
    Engine(
        (0, 7, 0),
        explicit_kind=True,
        explicit_format=True,
        between_shards=" ",
        finds_uqff_shards=False,
        mixes_answers_on_cpu=True,
        fraction_of_first_gpu=False,
    ),
    Engine((0, 8, 0), explicit_kind=True, explicit_format=True, mixes_answers_on_cpu=True),
    Engine((0, 8, 2), explicit_kind=True, explicit_format=True, no_ui=True, mixes_answers_on_cpu=True),
    Engine((0, 8, 4), explicit_format=True, no_ui=True, metrics=True, mixes_answers_on_cpu=True),
    Engine(
        (0, 8, 11),
        explicit_format=True,
        no_ui=True,
        json_access_log=True,
        metrics=True,
        mixes_answers_on_cpu=True,
    ),
    Engine(
        (0, 9, 0),
        explicit_format=True,
        no_ui=True,
        json_access_log=True,
        metrics=True,
        thread_variables=_THREADS,
        f32_fails_quantized=True,
        shares_memory_mb=True,
    ),
    Engine(
        (0, 9, 1),
        files_beside=True,
        no_ui=True,
        json_access_log=True,
        metrics=True,
        thread_variables=_THREADS,
        f32_fails_quantized=True,
        f32_fails_gguf=True,
        shares_memory_mb=True,
        quantized_embeddings=True,
    ),
)
_END_OF_KNOWN = (0, 10, 0)
KNOWN_VERSIONS = "0.6.0, 0.7.x, 0.8.x and 0.9.x"


def engine_of(version: str) -> Engine:
    """The row of the table for a version such as C(0.9.5), C(v0.6.0) or C(0.9.2+7)."""
    number = parse(version)
    if number:
        rows = [engine for engine in ENGINES if engine.since <= number]
        if rows and number < _END_OF_KNOWN and not (0, 6, 1) <= number < (0, 7, 0):
            return rows[-1]
    raise StackError(VERSION_UNSUPPORTED, version=version, known=KNOWN_VERSIONS)
