"""What config.yml says of single models and of the GPUs that they share."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.plan import engine_plan
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError, StackErrors

GIB = 1 << 30
GPUS = [{"index": 0, "uuid": "GPU-a", "memory": 24 * GIB}, {"index": 1, "uuid": "GPU-b", "memory": 24 * GIB}]
HEADER = {"version": 3, "block_count": 32, "kv_bytes_per_token": 131072, "context_length": 32768}


def model(name: str, size: int = 4 * GIB) -> dict[str, Any]:
    return {"name": name, "quantization": "q4_k_m", "size": size, "gguf": HEADER, "path": f"/store/{name}"}


ONE, TWO = [model("mistral:7b")], [model("mistral:7b"), model("qwen3:8b")]


def errors_of(config: dict[str, Any], models: list[dict[str, Any]]) -> str:
    with pytest.raises((StackError, StackErrors)) as caught:
        engine_plan(config, "0.9.5", GPUS, models)
    return str(caught.value)


def test_each_model_has_the_context_that_is_said_for_it() -> None:
    config = {"models": {"context_length": 2048, "context_lengths": {"qwen3:8b": 16384}}}
    plan = engine_plan(config, "0.9.5", GPUS, TWO)
    lengths = {entry["model_id"]: entry["device"]["max_seq_len"] for entry in plan["configuration"]["models"]}
    assert lengths == {"mistral-7b-q4_k_m": 2048, "qwen3-8b-q4_k_m": 16384}
    told = {entry["id"]: entry["context_length"] for entry in plan["gateway"]["models"]}
    assert told == lengths
    # No request may ask for more than the longest; the gateway bounds each by its own model's.
    assert plan["gateway"]["max_tokens"] == 16384
    assert plan["gateway"]["defaults"]["max_tokens"] == 2048


def test_a_model_without_a_context_is_bounded_by_its_own_only() -> None:
    plan = engine_plan({"models": {"context_lengths": {"qwen3:8b": 16384}}}, "0.9.5", GPUS, TWO)
    assert plan["gateway"]["max_tokens"] is None
    assert "context_length" not in plan["gateway"]["models"][0]


def test_the_memory_of_the_caches_is_shared_out_where_each_would_take_all() -> None:
    config = {"gpu": {"cache_mb": 8192}, "models": {"context_length": 4096}}
    memory = {
        version: engine_plan(config, version, GPUS, TWO)["configuration"]["paged_attn"]
        for version in ("0.8.4", "0.9.2")
    }
    assert memory["0.8.4"] == {"mode": "on", "memory_mb": 4096}
    assert memory["0.9.2"] == {"mode": "on", "memory_mb": 8192}


def test_the_memory_of_the_caches_fits_the_models_and_the_gpus() -> None:
    low = errors_of({"gpu": {"cache_mb": 100}, "models": {"context_length": 4096}}, ONE)
    assert "gpu.cache_mb is 100, but must be from 512 to " in low
    assert "gpu.cache_mb is 100000, but must be from" in errors_of({"gpu": {"cache_mb": 100_000}}, ONE)
    engine_plan({"gpu": {"cache_mb": 512}, "models": {"context_length": 4096}}, "0.9.5", GPUS, ONE)


def test_a_cache_of_one_byte_takes_half() -> None:
    config = {"gpu": {"cache_mb": 256, "cache_type": "f8e4m3"}, "models": {"context_length": 4096}}
    paged = engine_plan(config, "0.9.5", GPUS, ONE)["configuration"]["paged_attn"]
    assert paged == {"mode": "on", "memory_mb": 256, "cache_type": "F8E4M3"}
    config["gpu"] = {"cache_mb": 256}
    assert "from 512" in errors_of(config, ONE)


def test_all_layers_of_the_one_model_are_placed() -> None:
    plan = engine_plan({"gpu": {"device_layers": ["0:20", "1:12"]}}, "0.9.5", GPUS, ONE)
    assert plan["configuration"]["models"][0]["device"] == {"device_layers": ["0:20", "1:12"]}
    flags = engine_plan({"gpu": {"device_layers": ["0:20", "1:12"]}}, "v0.6.0", GPUS, ONE)["argv"]
    assert flags[flags.index("--num-device-layers") + 1] == "0:20;1:12"
    short = errors_of({"gpu": {"device_layers": ["0:20", "1:11"]}}, ONE)
    assert "all 32 layers of mistral-7b-q4_k_m (these are 31)" in short
    assert "left out, since" in errors_of({"gpu": {"device_layers": ["0:32"]}}, TWO)


def test_threads_are_the_physical_cores() -> None:
    plan = engine_plan({"server": {"num_threads": "auto"}}, "0.9.5", [], ONE, cores=12)
    assert plan["environment"]["RAYON_NUM_THREADS"] == "12"
    assert plan["settings"]["server"]["num_threads"] == 12


def test_the_type_of_the_activations() -> None:
    cpu = engine_plan({"models": {"dtype": "f16"}}, "0.9.5", [], ONE)
    assert cpu["configuration"]["models"][0]["dtype"] == "f16"
    old = engine_plan({"models": {"dtype": "f32"}}, "v0.6.0", [], ONE)["argv"]
    assert old[old.index("--dtype") + 1] == "f32"
