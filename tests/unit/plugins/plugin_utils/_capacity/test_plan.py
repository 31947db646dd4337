"""The plan is the arithmetic of the engine's plan, for every quantization and host."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.filter.capacity_plan import capacity_plan
from ansible_collections.mistralrs.stack.plugins.filter.capacity_request import capacity_request
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.plan import engine_plan

GIB = 1 << 30
MIB = 1 << 20
# Qwen2.5-Coder-32B-Instruct by its GGUF header, and sizes as llama.cpp's quantize makes them.
SUMMARY = {
    "version": 3,
    "architecture": "qwen2",
    "parameters": 32_763_876_352,
    "kv_bytes_per_token": 262_144,
    "vocabulary": 152_064,
    "embedding_length": 5120,
    "block_count": 64,
    "context_length": 32768,
    "quantization": "Q2_K",
}
SIZES = {
    "q2_k": 12_313_098_240,
    "q4_k_m": 19_851_336_256,
    "q5_k_m": 23_262_157_376,
    "q8_0": 34_820_884_480,
    "f16": 65_535_969_280,
}
OFFERS: list[dict[str, Any]] = [
    {"label": label, "size": size, "loadable": True, "files": [], "needs": 0, "fits": None}
    for label, size in SIZES.items()
]
REMOTE: dict[str, Any] = {
    "size": sum(SIZES.values()),
    "gguf": SUMMARY,
    "quantizations": [*OFFERS, {"label": "iq4_xs", "size": 17_800_000_000, "loadable": False}],
}
NAME = "qwen2.5-coder:32b"


def plan(remote: Any = None, hosts: Any = (), version: str = "", **given: Any) -> dict[str, Any]:
    asked = capacity_request({"model": NAME, **{name: str(value) for name, value in given.items()}})
    assert asked["errors"] == []
    return capacity_plan(NAME, remote or REMOTE, asked["request"], hosts=hosts, version=version, source="hf://o/r")


def host(name: str, *gib: float, **more: Any) -> dict[str, Any]:
    gpus = [{"index": place, "uuid": f"GPU-{place}", "memory": int(size * GIB)} for place, size in enumerate(gib)]
    return {"name": name, "gpus": gpus, **more}


def row(found: dict[str, Any], label: str) -> dict[str, Any]:
    (one,) = [each for each in found["rows"] if each["quantization"] == label]
    assert isinstance(one, dict)
    return one


def test_the_arithmetic_is_shown_and_adds_up() -> None:
    found = plan(gpu_memory="80GiB", users=20, context=16384)
    assert found["errors"] == []
    lines = found["lines"]
    # 80 GiB x 0.9 less 512 MiB for CUDA, the weights, and 512 MiB for activations.
    left = int(80 * GIB * 0.9) - GIB - SIZES["q4_k_m"]
    users = left // (262_144 * 16384)
    one = row(found, "q4_k_m")
    assert left - 64 * MIB < one["on"][0]["kv_room"] <= left
    assert (one["on"][0]["users"], one["hosts"]) == (users, -(-20 // users))
    assert f"Take {found['quantization']} on 2 hosts, at most 10 users on each." in lines
    shown = [line for line in lines if line.endswith(" MiB") and " hosts" not in line]
    amounts = [int(line.rsplit("  ", 1)[1].removesuffix(" MiB").replace(",", "")) for line in shown][:6]
    usable, cuda, weights, activations, room, each = amounts
    assert usable - cuda - weights - activations == pytest.approx(room, abs=16)
    assert each == 16384 * 262_144 // MIB
    assert any("users at once: " in line and line.endswith(f"= {room // each}") for line in lines)


def test_the_best_quantization_on_the_fewest_hosts() -> None:
    assert (plan(gpu_memory="80GiB", users=8)["quantization"], plan(gpu_memory="80GiB")["hosts"]) == ("q8_0", 1)
    # Of 24 GiB, Q4_K_M leaves room for two users; Q2_K would serve more, at a price.
    found = plan(gpu_memory="24GiB", users=8, context=4096)
    assert (found["quantization"], found["hosts"]) == ("q4_k_m", 4)
    assert row(found, "q2_k")["hosts"] < 4
    # Where nothing better fits, it is taken.
    assert plan(gpu_memory="16GiB", context=1024)["quantization"] == "q2_k"


def test_what_the_engine_cannot_load_is_not_offered() -> None:
    assert [each["quantization"] for each in plan(gpu_memory="80GiB")["rows"]] == [
        "q8_0",
        "q5_k_m",
        "q4_k_m",
        "q2_k",
        "f16",
    ]


def test_one_quantization() -> None:
    found = plan(gpu_memory="80GiB", quantization="q5_k_m")
    assert [each["quantization"] for each in found["rows"]] == ["q5_k_m"]
    assert "      quantization: q5_k_m" in found["lines"]


def test_the_hosts_that_are_there() -> None:
    hosts = [host("small", 24), host("big", 80), host("other", 80, memory_fraction=0.5)]
    found = plan(hosts=hosts, users=21, context=8192)
    assert found["errors"] == []
    assert (found["quantization"], found["hosts"]) == ("q8_0", 2)
    on = {each["host"]: each["users"] for each in row(found, "q8_0")["on"]}
    assert on["small"] == 0 < on["other"] < on["big"]
    assert any(line.startswith("The hosts: big (") and "small" not in line for line in found["lines"])
    # With all of them: the better one no longer serves everybody.
    assert plan(hosts=hosts, users=25, context=8192)["quantization"] == "q5_k_m"


def test_two_gpus_hold_what_one_does_not() -> None:
    one = plan(hosts=[host("h", 24)], quantization="q8_0")
    assert one["errors"][0].endswith("[plan.does_not_fit]")
    two = plan(hosts=[host("h", 24, 24)], quantization="q8_0")
    assert two["hosts"] == 1
    assert any("2 x 24,576 MiB x 0.9" in line for line in two["lines"])
    # What is said to be left is what the engine is given.
    models = [{"name": "m", "size": SIZES["q8_0"], "path": "/s/m.gguf", "gguf": SUMMARY}]
    given = engine_plan({}, "0.9.2+7", host("h", 24, 24)["gpus"], models)["configuration"]["paged_attn"]["memory_mb"]
    assert row(two, "q8_0")["on"][0]["kv_room"] == given * MIB


def test_gpus_that_stay_unused_are_said() -> None:
    found = plan(hosts=[host("h", 80, 80)], quantization="q4_k_m")
    assert any("1 of 2 are idle" in line for line in found["lines"])
    assert row(found, "q4_k_m") == row(plan(hosts=[host("h", 80)], quantization="q4_k_m"), "q4_k_m")


def test_devices_are_those_that_the_engine_may_use() -> None:
    found = plan(hosts=[host("h", 24, 80, devices=[1])])
    assert row(found, "q8_0") == row(plan(hosts=[host("h", 80)]), "q8_0")


def test_older_engines_keep_the_embeddings_in_f32() -> None:
    new, old = plan(gpu_memory="80GiB"), plan(gpu_memory="80GiB", version="v0.8.1")
    more = row(old, "q4_k_m")["weights"] - row(new, "q4_k_m")["weights"]
    assert more == 152_064 * 5120 * 4
    assert any("embeddings in F32" in line for line in old["lines"])
    assert not any("embeddings in F32" in line for line in new["lines"])


@pytest.mark.parametrize(
    ("given", "identity", "words"),
    [
        ({"context": 40000}, "plan.context_too_long", "at most 32768 tokens of context, not for 40000"),
        ({"quantization": "q4_k_s"}, "plan.no_such_quantization", "q4_k_m"),
        ({"quantization": "iq4_xs"}, "plan.no_such_quantization", "mistral.rs can load"),
        ({"gpu_memory": "16GiB", "context": 32768}, "plan.does_not_fit", "q2_k with a context of at most "),
        ({"gpu_memory": "8GiB"}, "plan.does_not_fit", "q2_k on 3 such GPUs in one host"),
        ({"gpu_memory": "1GiB"}, "plan.does_not_fit", "Choose a smaller model"),
    ],
)
def test_what_is_refused(given: dict[str, Any], identity: str, words: str) -> None:
    (error,) = plan(**{"gpu_memory": "80GiB", **given})["errors"]
    assert error.endswith(f"[{identity}]")
    assert words in error


def test_what_is_said_to_fit_does() -> None:
    (error,) = plan(gpu_memory="16GiB", context=32768)["errors"]
    longest = int(error.split("-e context=")[1].split(")")[0])
    assert plan(gpu_memory="16GiB", context=longest)["errors"] == []
    assert plan(gpu_memory="8GiB", gpus=3)["errors"] == []
    assert plan(gpu_memory="8GiB", gpus=2)["errors"] != []


def test_too_few_hosts_are_shown_and_refused() -> None:
    hosts = [host("a", 24), host("b", 24)]
    found = plan(hosts=hosts, users=20, context=4096)
    (error,) = found["errors"]
    assert error.endswith("[plan.too_few_hosts]")
    assert found["quantization"] == ""
    assert any(line.lstrip().startswith("q4_k_m") for line in found["lines"])
    more = int(error.split("Add ")[1].split()[0])
    assert plan(hosts=[*hosts, *(host(f"c{n}", 24) for n in range(more))], users=20, context=4096)["errors"] == []
    assert plan(hosts=[*hosts, *(host(f"c{n}", 24) for n in range(more - 1))], users=20, context=4096)["errors"] != []


@pytest.mark.parametrize(
    ("hosts", "identity"),
    [
        ([], "plan.no_gpus"),
        ([host("h")], "plan.no_gpus"),
        ([{"name": "h", "gpus": [{"uuid": "GPU-a", "memory": None}]}], "plan.gpu_memory_unknown"),
        ([host("h", 24, devices=[3])], "plan.no_such_device"),
        ([host("h", 24, memory_fraction="most")], "config.out_of_range"),
        ([host("h", 24, memory_fraction=1.5)], "config.out_of_range"),
    ],
)
def test_hosts_that_cannot_be_planned_for(hosts: list[Any], identity: str) -> None:
    (error,) = plan(hosts=hosts)["errors"]
    assert error.endswith(f"[{identity}]")


@pytest.mark.parametrize(
    ("gguf", "identity"),
    [
        ({**SUMMARY, "kv_bytes_per_token": 0}, "plan.header_incomplete"),
        ({**SUMMARY, "architecture": "nothing-known"}, "model.unsupported_architecture"),
    ],
)
def test_models_that_cannot_be_planned_for(gguf: dict[str, Any], identity: str) -> None:
    (error,) = plan({**REMOTE, "gguf": gguf}, gpu_memory="80GiB")["errors"]
    assert error.endswith(f"[{identity}]")


def test_a_single_file() -> None:
    remote = {"size": SIZES["q4_k_m"], "gguf": {**SUMMARY, "quantization": "Q4_K_M"}, "quantizations": []}
    assert [each["quantization"] for each in plan(remote, gpu_memory="80GiB")["rows"]] == ["q4_k_m"]


def test_safetensors_are_quantized_as_they_are_loaded() -> None:
    summary = {name: value for name, value in SUMMARY.items() if name != "version"} | {"quantization": "BF16"}
    found = plan({"size": 65_527_752_704, "gguf": summary, "quantizations": []}, gpu_memory="80GiB", users=4)
    assert {"bf16", "q8_0", "q4_k_m"} <= {each["quantization"] for each in found["rows"]}
    assert row(found, "q4_k_m")["weights"] == pytest.approx(SIZES["q4_k_m"], rel=0.02)
    assert found["quantization"] == "q8_0"


def test_an_engine_answers_at_most_1024_at_once() -> None:
    tiny = {**SUMMARY, "kv_bytes_per_token": 16}
    found = plan({**REMOTE, "gguf": tiny}, gpu_memory="80GiB", users=2000, context=16)
    assert (row(found, "q4_k_m")["on"][0]["users"], found["hosts"]) == (1024, 2)


def test_what_is_no_dictionary() -> None:
    with pytest.raises(AnsibleFilterError, match="dictionaries"):
        capacity_plan("m", None, {})
