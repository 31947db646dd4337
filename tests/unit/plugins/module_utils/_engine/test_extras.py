"""What the operator gives the engine beyond the settings."""

from __future__ import annotations

import re
from typing import Any

import pytest
import tomllib
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.plan import engine_plan
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackErrors

MODELS = [{"name": "mistral:7b", "quantization": "q4_k_m"}, {"name": "mistral:7b", "quantization": "q8_0"}]
GPUS = [{"index": 0, "uuid": "GPU-a"}]


def planned(version: str = "0.9.2", models: Any = tuple(MODELS), **extra: Any) -> dict[str, Any]:
    return engine_plan({"inference": {"batch_size": 8}}, version, GPUS, models, **extra)


def refused(**extra: Any) -> list[str]:
    with pytest.raises(StackErrors) as caught:
        planned(**extra)
    return [f"{error.id}: {error}" for error in caught.value.errors]


def test_variables_of_the_environment() -> None:
    plan = planned(extra_environment={"MISTRALRS_X": 1, "CUDA_CACHE_PATH": "/tmp/cuda", "RATIO": 0.5})
    assert {"MISTRALRS_X": "1", "CUDA_CACHE_PATH": "/tmp/cuda", "RATIO": "0.5"}.items() <= plan["environment"].items()
    assert plan["environment"]["HF_HUB_OFFLINE"] == "1"


def test_keys_of_the_configuration_file() -> None:
    extra = {"runtime": {"prefix_cache_n": 4}, "paged_attn": {"cache_type": "f8e4m3"}, "mine": {"a": {"b": [1, 2]}}}
    plan = planned(extra_toml={**extra, "models": {"device": {"cpu": False}, "arch": "mistral"}})
    written = tomllib.loads(plan["toml"])
    assert written == plan["configuration"]
    assert written["runtime"] == {"max_seqs": 8, "prefix_cache_n": 4}
    assert written["paged_attn"]["cache_type"] == "f8e4m3"
    assert written["paged_attn"]["mode"] == "on"
    assert written["mine"] == {"a": {"b": [1, 2]}}
    assert [(model["arch"], model["device"]["cpu"]) for model in written["models"]] == [("mistral", False)] * 2


def test_without_extras_nothing_differs() -> None:
    assert planned() == planned(extra_environment={}, extra_toml={})


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"extra_environment": {"HF_HUB_OFFLINE": "0"}}, "config.extra_taken: .*HF_HUB_OFFLINE"),
        ({"extra_environment": {"RUST_LOG": "debug"}}, "config.extra_taken: .*RUST_LOG"),
        ({"extra_environment": {"A B": "x"}}, "config.extra_invalid: .*'A B'"),
        ({"extra_environment": {"A": True}}, "config.extra_invalid: .*A, which is true or false"),
        ({"extra_environment": {"A": None}}, "config.extra_invalid: .*A, which is empty"),
        ({"extra_environment": {"A": "x\ny"}}, "config.extra_invalid: .*one line"),
        ({"extra_environment": "A=1"}, "config.extra_not_a_mapping: .*environment' is a text"),
        ({"extra_toml": ["a"]}, "config.extra_not_a_mapping: .*toml' is a list"),
        ({"extra_toml": {"runtime": {"max_seqs": 4}}}, "config.extra_taken: .*runtime.max_seqs"),
        ({"extra_toml": {"server": 5}}, "config.extra_taken: .*server"),
        ({"extra_toml": {"models": {"model_id": "x"}}}, "config.extra_taken: .*models.model_id"),
        ({"extra_toml": {"models": [{"arch": "x"}]}}, "config.extra_invalid: .*models, which is a list"),
        ({"extra_toml": {"mine": {"a": None}}}, "config.extra_invalid: .*mine.a, which is empty"),
        ({"extra_toml": {"mine": [{"a": 1}]}}, "config.extra_invalid: .*mine, which is a list"),
        ({"extra_toml": {"a": 1}, "version": "0.6.0", "models": MODELS[:1]}, "config.extra_toml_without_file: .*0.6.0"),
    ],
)
def test_what_is_refused(extra: dict[str, Any], words: str) -> None:
    (error,) = refused(**extra)
    assert re.match(words, error), error


def test_all_is_said_at_once() -> None:
    assert len(refused(extra_environment={"A": None, "B C": "x"}, extra_toml={"mine": {"a": None}})) == 3
