"""Several models on one GPU, and one model on several, start, by the engine's own arithmetic.

C(Machine) is that arithmetic, from mistral.rs: C(get_device_layers) in
mistralrs-core/src/pipeline/loaders/auto_device_map.rs (device_cap: 2 % or 512 MiB; MbAmount is what is free on the
first GPU, at most), C(calculate_cache_config) in mistralrs-core/src/paged_attention/mod.rs and C(split_paged_config) in
mistralrs-core/src/resource_plan.rs, at the tags v0.7.0, v0.8.4, v0.9.0, v0.9.2 and commit 9e922623. Sizes of models:
Qwen2.5-7B-Instruct and Qwen2.5-32B-Instruct, Q4_K_M, and Mistral-7B-Instruct-v0.3, Q4_K_M, by their GGUF headers.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine import gpu_share
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.plan import engine_of, engine_plan
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError

GIB = 1 << 30
MIB = 1 << 20
# nvidia-smi's memory.total less memory.reserved: H100 80GB HBM3, RTX 4090.
H100 = {"index": 0, "uuid": "GPU-h", "memory": 85_018_542_080}
RTX_4090 = {"index": 0, "uuid": "GPU-r", "memory": 24_564 * MIB - 380 * MIB}


def model(name: str, size: int, layers: int, kv: int, vocabulary: int, width: int, **more: Any) -> dict[str, Any]:
    summary = {"kv_bytes_per_token": kv, "vocabulary": vocabulary, "embedding_length": width, "block_count": layers}
    return {
        "name": name,
        "quantization": "q4_k_m",
        "path": f"/store/{name}.gguf",
        "size": size,
        "gguf": {**summary, "context_length": 32768, "quantization": "Q4_K_M"},
        **more,
    }


QWEN_7B = model("qwen:7b", 4_683_074_240, 28, 57_344, 152_064, 3584)
QWEN_32B = model("qwen:32b", 19_851_336_256, 64, 262_144, 152_064, 5120)
MISTRAL_7B = model("mistral:7b", 4_372_812_000, 32, 131_072, 32_768, 4096)
LLAMA_70B = model("llama:70b", 42_520_395_584, 80, 327_680, 128_256, 8192)


class NoBlocks(Exception):
    """Num GPU blocks is 0. This means there is not enough memory."""


class Machine:
    """GPUs of which a plan's models take what the engine of that line takes, one after the other."""

    def __init__(self, version: str, gpus: list[dict[str, Any]]) -> None:
        self.line = tuple(int(part) for part in version.partition("+")[0].split("."))
        self.total = [int(gpu["memory"]) for gpu in gpus]
        # CUDA's context.
        self.free = [memory - 400 * MIB for memory in self.total]

    def cap(self, index: int) -> int:
        free = self.free[index]
        return free - min(max(free * 2 // 100, 512 * MIB), free)

    def cache(self, paged: dict[str, Any], weights: int, models: int) -> int:
        """The KV cache of one model in bytes; C(get_device_layers) is asked before its weights are there."""
        split = models if self.line >= (0, 9, 0) else 1
        if "memory_mb" in paged:
            asked = -(-paged["memory_mb"] // split) * MIB
            mapped = min(asked, self.cap(0))
        else:
            fraction = paged["memory_fraction"] / split
            if self.line >= (0, 8, 0):
                mapped = int(self.cap(0) * fraction) - weights
            else:
                mapped = int(self.total[0] * fraction) - (self.total[0] - self.free[0])
            if self.line >= (0, 9, 2):
                asked = mapped
            else:
                # Measured once the weights are loaded.
                asked = int(self.total[0] * fraction) - (self.total[0] - self.free[0] + weights)
        if mapped < MIB or asked < MIB:
            raise NoBlocks
        return asked

    def load(self, paged: dict[str, Any], weights: int, layers: int, models: int) -> int:
        cache = self.cache(paged, weights, models)
        missing, each = layers, -(-(weights + cache) // layers)
        for index in range(len(self.free)):
            count = min(missing, max(0, self.cap(index)) // each)
            self.free[index] -= count * each
            missing -= count
        assert missing == 0, "layers on the CPU"
        return cache


def started(version: str, gpus: list[dict[str, Any]], models: list[dict[str, Any]], context: int = 0) -> list[int]:
    """The KV caches in tokens of the models, once all of them run."""
    config = {"models": {"context_length": context}} if context else {}
    paged = engine_plan(config, version, gpus, models)["configuration"]["paged_attn"]
    machine, tokens = Machine(version, gpus), []
    for entry in models:
        summary = entry["gguf"]
        # F32 embeddings: models/quantized_llama.rs @ v0.8.0; quantized: mistralrs-quant/src/gguf/mod.rs @ v0.9.1.
        embeddings = summary["vocabulary"] * summary["embedding_length"] * 4 if machine.line < (0, 9, 1) else 0
        weights = entry["size"] + embeddings
        cache = machine.load(paged, weights, summary["block_count"], len(models))
        tokens.append(cache // summary["kv_bytes_per_token"])
    return tokens


LINES = ["0.7.0", "0.8.0", "0.8.4", "0.8.23", "0.9.0", "0.9.1", "0.9.2", "0.9.2+7"]


@pytest.mark.parametrize("version", LINES)
def test_a_fraction_leaves_nothing_for_the_second_model(version: str) -> None:
    """What the plan said before: at 0.9.2 it depends on the sizes."""
    machine, fraction = Machine(version, [H100]), {"mode": "on", "memory_fraction": 0.9}
    machine.load(fraction, 23 * GIB, 64, 2)
    with pytest.raises(NoBlocks):
        machine.load(fraction, 23 * GIB, 64, 2)


@pytest.mark.parametrize("version", LINES)
@pytest.mark.parametrize(
    ("gpu", "models", "context"),
    [
        (H100, [QWEN_7B, QWEN_32B], 32768),
        (H100, [QWEN_32B, QWEN_7B], 32768),
        (H100, [QWEN_7B, MISTRAL_7B, QWEN_32B], 16384),
        (RTX_4090, [QWEN_7B, MISTRAL_7B], 8192),
        (RTX_4090, [MISTRAL_7B, {**MISTRAL_7B, "name": "copy:7b"}], 16384),
    ],
)
def test_several_models_start_on_one_gpu(
    version: str, gpu: dict[str, Any], models: list[dict[str, Any]], context: int
) -> None:
    tokens = started(version, [gpu], models, context=context)
    assert all(count >= context for count in tokens)


@pytest.mark.parametrize("version", LINES)
def test_several_models_start_on_several_gpus(version: str) -> None:
    gpus = [{**H100, "index": number, "uuid": f"GPU-{number}"} for number in range(2)]
    assert all(count >= 4096 for count in started(version, gpus, [LLAMA_70B, QWEN_32B, QWEN_7B]))


@pytest.mark.parametrize("version", LINES[1:])
def test_a_model_larger_than_the_first_gpu_starts_on_two(version: str) -> None:
    gpus = [{**RTX_4090, "index": number, "uuid": f"GPU-{number}"} for number in range(3)]
    with pytest.raises(NoBlocks):
        Machine(version, gpus).load({"memory_fraction": 0.9}, LLAMA_70B["size"], 80, 1)
    (tokens,) = started(version, gpus, [LLAMA_70B])
    assert tokens >= 4096


@pytest.mark.parametrize("version", LINES)
@pytest.mark.parametrize("gpus", [[H100], [H100, {**H100, "index": 1, "uuid": "GPU-2"}]])
def test_one_model_that_fits_gets_the_fraction(version: str, gpus: list[dict[str, Any]]) -> None:
    plan = engine_plan({}, version, gpus, [QWEN_32B])
    assert plan["configuration"]["paged_attn"] == {"mode": "on", "memory_fraction": 0.9}


def test_the_size_is_for_each_model_or_for_all() -> None:
    """From 0.9.0 on, C(split_paged_config) divides it by the models."""
    both = [QWEN_7B, QWEN_32B]
    each = engine_plan({}, "0.8.23", [H100], both)["configuration"]["paged_attn"]
    for_all = engine_plan({}, "0.9.0", [H100], both)["configuration"]["paged_attn"]
    assert each == {"mode": "on", "memory_mb": for_all["memory_mb"] // 2}
    # 0.9 of the GPU, less the weights with F32 embeddings, 512 MiB for CUDA and 512 MiB for each one's activations.
    weights = QWEN_7B["size"] + 152_064 * 3584 * 4 + QWEN_32B["size"] + 152_064 * 5120 * 4
    assert each["memory_mb"] * 2 == pytest.approx((0.9 * H100["memory"] - weights) / MIB - 3 * 512, abs=4)


@pytest.mark.parametrize(
    ("fraction", "devices", "expected"), [(0.9, None, None), (0.7, None, "less"), (0.9, ["GPU-h"], "same")]
)
def test_the_keys_act(fraction: float, devices: list[str] | None, expected: str | None) -> None:
    gpu: dict[str, Any] = {"memory_fraction": fraction, **({"devices": devices} if devices else {})}
    gpus = [H100, {**RTX_4090, "index": 1}]
    usual = engine_plan({}, "0.8.4", [H100], [QWEN_7B, QWEN_32B])["configuration"]["paged_attn"]["memory_mb"]
    found = engine_plan({"gpu": gpu}, "0.8.4", gpus, [QWEN_7B, QWEN_32B])["configuration"]["paged_attn"]["memory_mb"]
    if expected == "same":
        assert found == usual
    elif expected == "less":
        assert found < usual


@pytest.mark.parametrize(
    ("gpu", "models", "config", "expected"),
    [
        (
            RTX_4090,
            [QWEN_7B, QWEN_32B],
            {},
            "config.no_room_for_models: .*can't serve qwen-7b-q4_k_m, qwen-32b-q4_k_m .*Serve fewer or "
            "smaller models. ",
        ),
        (
            RTX_4090,
            [QWEN_7B, MISTRAL_7B],
            {"models": {"context_length": 131072}},
            "config.no_room_for_models: .*131072 tokens takes 17.2 GB for each model.*set "
            "models.context_length to less or set gpu.allow_growth to true. ",
        ),
        (
            RTX_4090,
            [QWEN_7B, MISTRAL_7B],
            {"gpu": {"memory_fraction": 0.45}},
            "config.no_room_for_models: .*raise gpu.memory_fraction",
        ),
        (
            H100,
            [QWEN_7B, {**QWEN_32B, "size": 0}],
            {},
            "config.model_size_unknown: .*'qwen-32b-q4_k_m'.*mistral_models",
        ),
        ({**H100, "memory": None}, [QWEN_7B, QWEN_32B], {}, "config.gpu_memory_unknown: .*GPU-h.*gpu.allow_growth"),
        ({"index": 3}, [QWEN_7B, QWEN_32B], {}, "config.gpu_memory_unknown: .*GPU 3 "),
        (
            {**H100, "uuid": "MIG-1", "memory": 10 * GIB},
            [QWEN_7B, MISTRAL_7B],
            {},
            "config.no_room_for_models",
        ),
    ],
    ids=str,
)
def test_what_cannot_start_is_refused(
    gpu: dict[str, Any], models: list[dict[str, Any]], config: dict[str, Any], expected: str
) -> None:
    with pytest.raises(StackError) as caught:
        engine_plan(config, "0.9.2", [gpu], models)
    (error,) = caught.value.errors
    assert re.match(expected, f"{error.id}: {error}")


def test_a_model_that_two_gpus_hardly_hold() -> None:
    """42.5 GB on two GPUs with 24 GB: only a part more of their memory leaves enough for a context."""
    gpus = [{**RTX_4090, "index": number, "uuid": f"GPU-{number}"} for number in range(2)]
    with pytest.raises(StackError, match="takes 1.3 GB more.*raise gpu.memory_fraction"):
        engine_plan({}, "0.9.2", gpus, [LLAMA_70B])
    engine_plan({"gpu": {"memory_fraction": 0.95}}, "0.9.2", gpus, [LLAMA_70B])


def test_growing_memory_needs_no_sizes() -> None:
    plan = engine_plan({"gpu": {"allow_growth": True}}, "0.9.2", [{"index": 0}], [QWEN_7B, {**QWEN_32B, "size": 0}])
    assert plan["configuration"]["paged_attn"] == {"mode": "off"}


def test_models_that_are_not_in_the_store_can_be_checked() -> None:
    entries = [{"name": "a:7b", "quantization": "q4_k_m"}, {"name": "b:7b", "quantization": "q4_k_m"}]
    assert engine_plan({}, "0.9.2", [H100], entries)["warnings"] == []
    # Check mode, before the second is fetched.
    fetched_later = {**QWEN_32B, "size": 0, "gguf": {}, "verified_by": "none"}
    assert engine_plan({}, "0.9.2", [H100], [QWEN_7B, fetched_later])["warnings"] == []


def test_only_one_mig_device_is_seen() -> None:
    migs = [{"uuid": f"MIG-{number}", "memory": 20 * GIB} for number in range(4)]
    with pytest.raises(StackError, match="config.no_room_for_models"):
        engine_plan({}, "0.9.2", migs, [QWEN_7B, QWEN_32B])


def test_safetensors_take_what_they_are_quantized_to() -> None:
    entry = {
        **{"id": "m", "size": 15_200_000_000, "is_plain": True, "isq_label": "q4_k_m"},
        "gguf": {"quantization": "BF16", "kv_bytes_per_token": 0},
    }
    load = gpu_share.load_of(engine_of("0.9.2"), entry, 0)
    assert load is not None
    assert load.weights == pytest.approx(4.65e9, rel=0.01)
    assert load.kv == 256 * MIB
