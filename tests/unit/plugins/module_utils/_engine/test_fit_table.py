"""What would fit is what the plan would start, and the sentence says it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine import fit_table
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.plan import engine_plan
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import engine_of
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError

GIB = 1 << 30
ENGINE = engine_of("0.9.2+7")
GPU = {"index": 0, "uuid": "GPU-a", "memory": 24 * GIB}
# Qwen2.5-Coder-32B-Instruct, Q4_K_M, by its GGUF header.
SUMMARY = {
    "version": 3,
    "parameters": 32_763_876_352,
    "kv_bytes_per_token": 262_144,
    "vocabulary": 152_064,
    "embedding_length": 5120,
    "block_count": 64,
    "context_length": 32768,
    "quantization": "Q4_K_M",
}


def model(name: str = "qwen:32b", size: int = 19_851_336_256, **summary: Any) -> dict[str, Any]:
    return {
        "name": name,
        "quantization": "q4_k_m",
        "path": f"/s/{name}.gguf",
        "size": size,
        "gguf": {**SUMMARY, **summary},
    }


def fit(context: int, models: list[dict[str, Any]] | None = None, **gpu: Any) -> dict[str, Any]:
    config = {"models": {"context_length": context}, "gpu": gpu} if context else {"gpu": gpu}
    found: dict[str, Any] = engine_plan(config, "0.9.2+7", [GPU], models or [model()])["fit"]
    return found


def test_what_is_left_for_the_context() -> None:
    way = fit_table.way(ENGINE, "q4_k_m", fit_table.entry_of("m", 19_851_336_256, SUMMARY), [24 * GIB], 0.9, 4096)
    assert way is not None
    # 24 GiB x 0.9, less 512 MiB for CUDA, the weights, and 512 MiB for activations; rounded to layers and MiB.
    left = int(24 * GIB * 0.9) - GIB - 19_851_336_256
    assert left - (2 << 20) < way.room <= left
    assert (way.kv, way.requests, way.longest(1)) == (4096 * 262_144, 2, way.room // 262_144)
    assert way.longest(2) == way.longest(1) // 2


def test_the_context_is_not_longer_than_what_the_model_was_made_for() -> None:
    way = fit_table.way(ENGINE, "q4_k_m", fit_table.entry_of("m", 1 << 30, SUMMARY), [80 * GIB], 0.9, 4096)
    assert way is not None
    assert way.longest(1) == 32768


def test_a_shorter_context_or_another_quantization() -> None:
    found = fit(16384)["qwen-32b-q4_k_m"]
    assert found["sentence"] == (
        "What would fit these GPUs: q3_k_m with 16384 tokens of context, or q4_k_m with at most 8448."
    )
    lines = {line.split()[0]: line for line in found["table"]}
    assert list(lines) == ["quantization", "q2_k", "q3_k_m", "q4_k_m", "q5_k_m", "q6_k", "q8_0"]
    assert lines["q2_k"].endswith("yes")
    assert lines["q4_k_m"].endswith("no")
    # Its weights are those of the file; the others are estimated.
    assert "18,932 MiB" in lines["q4_k_m"]


def test_what_is_said_to_fit_is_started() -> None:
    said = fit(16384)["qwen-32b-q4_k_m"]["sentence"]
    shorter = int(said.split("at most ")[1].rstrip(".").replace(",", ""))
    assert fit(shorter)["qwen-32b-q4_k_m"]["sentence"].startswith("By its size q4_k_m with")
    assert "What would fit" in fit(shorter + 512)["qwen-32b-q4_k_m"]["sentence"]


def test_a_model_that_fits_has_company() -> None:
    assert fit(4096)["qwen-32b-q4_k_m"]["sentence"] == (
        "By its size q4_k_m with 4096 tokens of context fits these GPUs, so see what else uses their memory "
        "(nvidia-smi)."
    )


def test_nothing_fits() -> None:
    found = fit(0, [model(size=60 * GIB, parameters=100_000_000_000)])["qwen-32b-q4_k_m"]
    assert found["sentence"] == (
        "No quantization fits these GPUs: the smallest, q2_k, takes 39.5 GB for its weights alone."
    )


def test_the_other_models_count() -> None:
    alone = fit(2048, [model("a:7b", 4 * GIB)])
    both = fit(2048, [model("a:7b", 4 * GIB), model("b:7b", 4 * GIB)])
    assert set(both) == {"a-7b-q4_k_m", "b-7b-q4_k_m"}

    def left(found: dict[str, Any]) -> int:
        line = next(line for line in found["a-7b-q4_k_m"]["table"] if line.startswith("q4_k_m"))
        return int(line.split()[3].replace(",", ""))

    # The other one's weights and half of what is left.
    assert left(both) < (left(alone) - 4096) / 2 + 1


@pytest.mark.parametrize(
    ("models", "gpus"),
    [
        ([model(size=0)], [GPU]),
        ([model(kv_bytes_per_token=0)], [GPU]),
        ([model()], [{"index": 0, "uuid": "GPU-a"}]),
        ([model()], []),
    ],
)
def test_what_is_not_known_is_not_said(models: list[dict[str, Any]], gpus: list[dict[str, Any]]) -> None:
    try:
        assert engine_plan({}, "0.9.2+7", gpus, models)["fit"] == {}
    except StackError as error:
        pytest.fail(str(error))


def test_safetensors_are_quantized_when_they_are_loaded() -> None:
    summary = {name: value for name, value in SUMMARY.items() if name != "version"} | {"quantization": "BF16"}
    plain = {**model("qwen:32b"), "gguf": summary, "size": 65_527_752_704, "files": ["model.safetensors"]}
    found = engine_plan({}, "0.9.2+7", [GPU], [{**plain, "quantization": "q8_0"}])["fit"]
    (only,) = found.values()
    assert only["sentence"].startswith("What would fit these GPUs: q4_k_m with 4096 tokens of context")


def test_a_model_that_is_refused_before_the_start_is_told_what_would_fit() -> None:
    gpus = [{"index": place, "uuid": f"GPU-{place}", "memory": 12 * GIB} for place in range(2)]
    config = {"models": {"context_length": 16384}}
    with pytest.raises(StackError, match=r"\[config.no_room_for_models\]$") as caught:
        engine_plan(config, "0.9.2+7", gpus, [model()])
    assert caught.value.remedy.endswith(
        "What would fit these GPUs: q3_k_m with 16384 tokens of context, or q4_k_m with at most 4352."
    )
    assert engine_plan({"models": {"context_length": 4352}}, "0.9.2+7", gpus, [model()])["fit"]
