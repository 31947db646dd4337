"""What is asked for is read, or refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.filter.capacity_request import capacity_request

GIB = 1 << 30
MODEL = {"model": "qwen3:8b"}


def test_what_is_given_by_e_is_a_text() -> None:
    given = {**MODEL, "users": "20", "context": "16384", "gpu_memory": "80GiB", "gpus": "2", "quantization": "Q8_0"}
    done = capacity_request({**given, "memory_fraction": "0.8"})
    assert done["errors"] == []
    assert done["request"] == {
        "users": 20,
        "context": 16384,
        "quantization": "q8_0",
        "memory_fraction": 0.8,
        "gpus": [{"name": "", "memory": 80 * GIB}] * 2,
    }


def test_a_model_is_enough() -> None:
    done = capacity_request({**MODEL, "users": "", "gpu": ""})
    assert (done["errors"], done["request"]["users"], done["request"]["gpus"]) == ([], 1, [])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("80GiB", 80 * GIB),
        ("24564MiB", 24564 << 20),
        ("24 GB", 24 * 10**9),
        ("24G", 24 * GIB),
        ("24Gi", 24 * GIB),
        ("1.5gib", 3 << 29),
        ("81559M", 81559 << 20),
    ],
)
def test_sizes(text: str, count: int) -> None:
    done = capacity_request({**MODEL, "gpu_memory": text})
    assert done["errors"] == []
    assert done["request"]["gpus"] == [{"name": "", "memory": count}]


@pytest.mark.parametrize(
    ("name", "full", "gib"),
    [
        ("L40S", "NVIDIA L40S", 45),
        ("nvidia l4", "NVIDIA L4", 22.5),
        ("T4", "Tesla T4", 15),
        ("RTX 4090", "NVIDIA GeForce RTX 4090", 22.5),
        ("H200", "NVIDIA H200", 132.1875),
    ],
)
def test_gpus_by_name(name: str, full: str, gib: float) -> None:
    """Of what they are advertised with, a sixteenth may be ECC's."""
    done = capacity_request({**MODEL, "gpu": name})
    assert done["errors"] == []
    assert done["request"]["gpus"] == [{"name": full, "memory": int(gib * GIB)}]


@pytest.mark.parametrize(
    ("given", "identity", "words"),
    [
        ({"model": ""}, "plan.no_model", "docs/catalog.md"),
        ({"users": "0"}, "plan.wrong_value", "-e users='0' is not a whole number from 1"),
        ({"users": "many"}, "plan.wrong_value", "'many'"),
        ({"users": "1.5"}, "plan.wrong_value", "'1.5'"),
        ({"context": "8k"}, "plan.wrong_value", "tokens from 16"),
        ({"context": "-1"}, "plan.wrong_value", "'-1'"),
        ({"gpus": "0", "gpu": "L4"}, "plan.wrong_value", "from 1 to 16"),
        ({"gpu_memory": "80"}, "plan.wrong_value", "80GiB or 24564MiB"),
        ({"gpu_memory": "80TiB"}, "plan.wrong_value", "'80TiB'"),
        ({"gpu_memory": "5MiB"}, "plan.wrong_value", "from 1GiB"),
        ({"memory_fraction": "1"}, "plan.wrong_value", "0.05 to 0.98"),
        ({"memory_fraction": "nan"}, "plan.wrong_value", "'nan'"),
        ({"quantization": "q4 k m"}, "plan.wrong_value", "a quantization's name"),
        ({"gpus": "2"}, "plan.gpus_of_no_kind", "Add -e gpu_memory"),
        ({"gpu": "L4", "gpu_memory": "24GiB"}, "plan.gpus_twice", "Give one of them"),
        ({"gpu": "L5"}, "plan.unknown_gpu", "NVIDIA L4"),
        ({"gpu": "A100"}, "plan.unknown_gpu", "NVIDIA A100 80GB PCIe (80 GiB)"),
        ({"gpu": "RTX 4060 Ti"}, "plan.unknown_gpu", "several sizes"),
        ({"gpu": "RTX PRO 5000 Blackwell"}, "plan.unknown_gpu", "gpu_memory"),
        ({"gpu": "."}, "plan.unknown_gpu", "There is none"),
    ],
)
def test_what_is_refused(given: dict[str, Any], identity: str, words: str) -> None:
    (error,) = capacity_request({**MODEL, **given})["errors"]
    assert error.endswith(f"[{identity}]")
    assert words in error
    assert "\n" not in error


def test_everything_wrong_is_said_at_once() -> None:
    assert len(capacity_request({"users": "x", "context": "y"})["errors"]) == 3


def test_what_is_no_dictionary() -> None:
    with pytest.raises(AnsibleFilterError, match="dictionary"):
        capacity_request("qwen3:8b")
