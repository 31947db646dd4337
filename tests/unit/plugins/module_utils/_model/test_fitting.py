# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine import served_models
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model import fitting, gguf_support
from ansible_collections.mistralrs.stack.plugins.module_utils._model.fitting import Candidate

GIB = 1 << 30
# Qwen2.5 32B: 64 layers x 8 heads x (128 + 128) elements x 2 bytes
SUMMARY = {"architecture": "qwen2", "context_length": 32768, "kv_bytes_per_token": 262144}
SIZES = {"Q4_K_M": 19.9e9, "Q5_K_M": 23.3e9, "Q8_0": 34.8e9, "IQ4_XS": 17.7e9, "F16": 65.5e9}
ALL = [Candidate(label, int(size), SUMMARY) for label, size in SIZES.items()]


@pytest.mark.parametrize(
    ("parameters", "label", "gigabytes"),
    [
        (7.25e9, "Q4_K_M", 4),
        (7.25e9, "Q5_K_M", 5),
        (7.25e9, "Q8_0", 7),
        (32.8e9, "q4_k_m", 18),
        (32.8e9, "q5_k_m", 22),
        (32.8e9, "q8_0", 33),
    ],
)
def test_the_recommendation_table(parameters: float, label: str, gigabytes: int) -> None:
    """README of the stack that this one replaces, "Recommended quantizations": sizes within 15 percent."""
    assert fitting.weights(int(parameters), label) == pytest.approx(gigabytes * 1e9, rel=0.15)


@pytest.mark.parametrize(("label", "size"), [("Q4_K_M", 4.92e9), ("Q5_K_M", 5.73e9), ("Q6_K", 6.6e9), ("Q8_0", 8.54e9)])
def test_published_sizes(label: str, size: float) -> None:
    """bartowski/Meta-Llama-3.1-8B-Instruct-GGUF, 8.03 billion parameters."""
    assert fitting.weights(8_030_000_000, label) == pytest.approx(size, rel=0.01)


def test_unknown_label() -> None:
    assert fitting.weights(1, "IQ9") is None


def test_estimate() -> None:
    need = fitting.estimate(ALL[0], [24 * GIB, 24 * GIB], 16384, 2)
    assert need.kv == 16384 * 2 * 262144 == 8 * GIB
    assert need.reserve == 48 * GIB * 2 // 100 + GIB
    assert need.total == need.weights + need.kv + need.reserve
    assert fitting.estimate(ALL[0], [], 0, 1).kv == 4096 * 262144


@pytest.mark.parametrize(
    ("gpus", "context", "label"),
    [
        ([80 * GIB], 0, "Q8_0"),
        ([48 * GIB], 4096, "Q8_0"),
        ([24 * GIB, 24 * GIB], 16384, "Q8_0"),
        ([24 * GIB, 24 * GIB], 57344, "Q5_K_M"),
        ([32 * GIB], 16384, "Q5_K_M"),
        ([22 * GIB], 4096, "Q4_K_M"),
        ([], 0, "Q4_K_M"),
    ],
)
def test_the_best_that_fits(gpus: list[int], context: int, label: str) -> None:
    assert fitting.choose(ALL, gpus, context, 1, "m").label == label


def test_unquantized_only_if_there_is_nothing_else() -> None:
    assert fitting.choose([ALL[-1]], [80 * GIB], 0, 1, "m").label == "F16"


def test_the_engine_can_not_load_all() -> None:
    with pytest.raises(StackError, match="no_quantization"):
        fitting.choose([ALL[3]], [80 * GIB], 0, 1, "m")


@pytest.mark.parametrize(
    ("gpus", "context", "nearest"),
    [
        ([24 * GIB], 32768, "Q4_K_M with a context of at most 18176 tokens"),
        ([16 * GIB], 4096, "a smaller model, or GPUs with 22"),
    ],
)
def test_what_would_fit_is_said(gpus: list[int], context: int, nearest: str) -> None:
    with pytest.raises(StackError, match="does_not_fit") as caught:
        fitting.choose(ALL[:3], gpus, context, 1, "m")
    assert f"Nearest choice: {nearest}" in str(caught.value)


def test_a_refusal_names_a_smaller_quantization() -> None:
    refusal = fitting.refusal(ALL[2], ALL, [24 * GIB], 4096, 1, "m")
    assert "Q8_0 needs about 36.9 GB" in str(refusal)
    assert "Nearest choice: quantization q5_k_m." in str(refusal)


@pytest.mark.parametrize(
    ("architecture", "types", "version", "error"),
    [
        ("qwen2", ["F32", "Q4_K"], "0.6.0", ""),
        ("gemma3", ["Q4_K"], "0.9.5", ""),
        ("gemma3", ["Q4_K"], "v0.9.0", "engine_too_old"),
        ("qwen3moe", ["Q4_K"], "0.6.0", "engine_too_old"),
        ("qwen3moe", ["Q4_K"], "0.7.0", ""),
        ("mistral3", ["Q4_K"], "0.7.0", "engine_too_old"),
        ("falcon-h1", ["Q4_K"], "0.9.5", "unsupported_architecture"),
        ("llama4", ["Q4_K"], "0.9.5", "projector_missing"),
        ("llama", ["F32", "IQ4_XS"], "0.9.5", "unsupported_quantization"),
        ("llama", ["type 99"], "0.9.5", "unsupported_quantization"),
        ("gpt-oss", ["MXFP4"], "0.9.1", ""),
        ("gpt-oss", ["MXFP4"], "0.9.0", "engine_too_old"),
        # mistralrs-quant/src/gguf/weight_source.rs@v0.9.1: "only through its explicit GPT-OSS binding"
        ("qwen3moe", ["F32", "MXFP4", "Q8_0"], "0.9.2", "unsupported_quantization"),
        ("llama", ["MXFP4"], "0.9.2+7", "unsupported_quantization"),
        ("qwen3moe", ["MXFP4"], "0.8.0", "unsupported_quantization"),
        # candle-core/src/quantized/mod.rs, from_u32: 30 in the fork of v0.6.0 already
        ("llama", ["F32", "BF16"], "0.6.0", ""),
        # mistralrs-quant/src/gguf/mod.rs@v0.9.2 and candle-core/src/quantized/cuda.rs@0.10.2
        ("llama", ["F32", "Q8_K"], "0.9.2", "unsupported_quantization"),
        ("llama", ["F32", "Q8_1"], "0.8.0", "unsupported_quantization"),
        ("llama", ["TQ1_0"], "0.9.2", "unsupported_quantization"),
        ("llama", ["Q1_0"], "0.9.2", "unsupported_quantization"),
        # mistralrs-core/src/pipeline/gguf.rs@v0.9.1: PROJECTOR_REQUIRED_ARCHITECTURES; before it no such name was known
        ("muse-glimmer", ["Q4_K"], "0.9.1", "projector_missing"),
        ("gemma4", ["Q4_K"], "0.9.0", "unsupported_architecture"),
        # What comes after a release can do what it can.
        ("gemma3", ["Q4_K"], "0.9.2+7", ""),
        ("gemma3", ["Q4_K"], "v0.9.1+3", ""),
    ],
)
def test_what_the_engine_can_load(architecture: str, types: list[str], version: str, error: str) -> None:
    summary = {"architecture": architecture, "tensor_types": types}
    if not error:
        gguf_support.check(summary, version, "m")
        return
    with pytest.raises(StackError, match=f"model.{error}"):
        gguf_support.check(summary, version, "m")


@pytest.mark.parametrize("label", ["Q4_K_M", "q8_0", "Q4_0", "UD-Q4_K_XL", "UD-Q8_K_XL", "F16", "BF16", "MXFP4"])
def test_loadable_labels(label: str) -> None:
    assert gguf_support.is_loadable_label(label)


@pytest.mark.parametrize("label", ["IQ4_XS", "UD-IQ2_M", "TQ1_0", "NVFP4", "Q1_0", "Q4_0_4_4", "q4_0_8_8", ""])
def test_other_labels(label: str) -> None:
    assert not gguf_support.is_loadable_label(label)


def test_mxfp4_is_for_one_architecture() -> None:
    assert gguf_support.is_loadable_label("MXFP4", "gpt-oss")
    assert not gguf_support.is_loadable_label("mxfp4_moe", "qwen3moe")
    # It is the smallest one here, and must not be chosen for what it does not fit.
    mixture = {"architecture": "qwen3moe"}
    four, moe = fitting.Candidate("Q4_K_M", 9, mixture), fitting.Candidate("MXFP4_MOE", 8, mixture)
    assert fitting.choose([four, moe], [], 0, 1, "m").label == "Q4_K_M"
    with pytest.raises(StackError, match="no_quantization"):
        fitting.choose([moe], [], 0, 1, "m")


def test_what_the_engine_quantizes_to_on_the_way_is_what_the_configuration_takes() -> None:
    assert {label.lower() for label in fitting.IN_SITU} <= set(served_models.ISQ_TYPES)
    assert set(fitting.IN_SITU) <= set(fitting.BITS_PER_WEIGHT)


@pytest.mark.parametrize(
    ("stored", "label", "expected"),
    [("BF16", "", 1600), ("F32", "", 800), ("BF16", "q8_0", 850), ("BF16", "q4_k", 489), ("BF16", "safetensors", 1600)],
)
def test_what_safetensors_take_once_they_are_loaded(stored: str, label: str, expected: int) -> None:
    assert fitting.loaded_bytes(1600, stored, label) == expected


def test_what_is_not_known_of_safetensors() -> None:
    assert fitting.loaded_bytes(1600, "BF16", "hqq4") is None
    assert fitting.loaded_bytes(1600, "gptq", "q4_0") == 1600
