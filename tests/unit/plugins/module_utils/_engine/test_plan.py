"""Every key of config.yml acts or is refused, for every engine version."""

from __future__ import annotations

import copy
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.plan import engine_plan
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.settings import SCHEMA
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackErrors
from hypothesis import assume, given
from hypothesis import strategies as st

MISTRAL = {"name": "mistral:7b", "quantization": "q4_k_m"}
STORED = {
    "name": "gemma:270m",
    "quantization": "q4_k_m",
    "id": "gemma-270m-q4_k_m",
    "aliases": ["gemma-270m-q4_k_m", "gemma-270m-q4_k_m.gguf", "gemma:270m", "gemma:270m-q4_k_m"],
    "file": "gemma-270m-q4_k_m.gguf",
    "path": "/store/gemma-270m-q4_k_m.gguf",
    "tokenizer": "/store/gemma-270m-q4_k_m.tokenizer.json",
    "tokenizer_config": "/store/gemma-270m-q4_k_m.tokenizer_config.json",
    "config": "/store/gemma-270m-q4_k_m.config.json",
    "chat_template": "/store/gemma-270m-q4_k_m.jinja",
    "embedded_chat_template": False,
}
SHARDS = {
    "name": "big:70b",
    "quantization": "q4_k_m",
    "id": "big-70b-q4_k_m",
    "aliases": ["big:70b"],
    "file": "big-70b-q4_k_m",
    "path": "/store/big-70b-q4_k_m",
    "files": ["b-00001-of-00002.gguf", "b-00002-of-00002.gguf"],
}
TENSORS = {**SHARDS, "files": ["config.json", "model.safetensors", "tokenizer.json"]}
GPUS = [{"index": 0, "uuid": "GPU-a"}, {"index": 1, "uuid": "GPU-b"}]
VERSIONS = [
    *("v0.6.0", "0.7.0", "0.8.0", "0.8.1", "0.8.2", "0.8.3", "0.8.4", "0.8.11", "0.8.23"),
    *("0.9.0", "0.9.1", "0.9.2", "0.9.2+7", "0.9.5"),
]

# Two values for each key, of which at least one differs from the default: the same as in docs/engine-settings.md.
SETTINGS: dict[str, tuple[Any, Any]] = runpy.run_path(
    str(Path(__file__).resolve().parents[5] / "docs" / "generate.py")
)["SETTINGS"]
# One GPU-wide value only: see test_tensor_parallel.
ONE_BY_ONE = sorted(set(SETTINGS) - {"gpu.tensor_parallel"})
TWO_MODELS = [MISTRAL, {"name": "mistral:7b", "quantization": "q8_0"}]


def config_of(name: str, value: Any) -> dict[str, dict[str, Any]]:
    section, key = name.split(".")
    return {section: {key: value}}


def acting(plan: dict[str, Any]) -> dict[str, Any]:
    """The part of a plan that somebody acts on (the operator's view alone is not an action)."""
    return {key: value for key, value in plan.items() if key != "settings"}


def errors_of(config: Any, version: str = "0.9.5", gpus: Any = (), models: Any = (MISTRAL,), **more: Any) -> list[str]:
    with pytest.raises(StackErrors) as caught:
        engine_plan(config, version, gpus, models, **more)
    return [f"{error.id}: {error}" for error in caught.value.errors]


def test_every_key_is_in_the_table() -> None:
    every = {f"{section}.{key}" for section, keys in SCHEMA.items() for key in keys}
    assert every == set(SETTINGS)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_each_accepted_key_acts(name: str, version: str) -> None:
    models = [MISTRAL]
    if name == "models.quantization":
        if version == "v0.6.0":
            # That version serves one model: there is nothing to choose, so another quantization is refused.
            assert "config.unknown_default_model" in errors_of(config_of(name, "Q8_0"), version)[0]
            return
        models = TWO_MODELS
    if name == "gpu.cache_type" and version == "v0.6.0":
        assert "config.key_unsupported" in errors_of(config_of(name, "f8e4m3"), version, GPUS)[0]
        return
    first, second = (engine_plan(config_of(name, value), version, GPUS, models) for value in SETTINGS[name])
    if name == "server.host":
        # The engine always listens on all of the container's addresses: the container is what is published there.
        assert first["settings"] != second["settings"]
    else:
        assert acting(first) != acting(second)


@pytest.mark.parametrize("version", VERSIONS)
def test_gpu_keys_are_refused_without_gpu(version: str) -> None:
    config = {"gpu": {"memory_fraction": 0.9, "allow_growth": False, "devices": [0], "tensor_parallel": 1}}
    errors = errors_of(config, version)
    assert len(errors) == 4
    assert all(error.startswith("config.key_unsupported: ") and "no GPU" in error for error in errors)


@pytest.mark.parametrize("version", VERSIONS)
def test_tensor_parallel(version: str) -> None:
    engine_plan({"gpu": {"tensor_parallel": 1}}, version, GPUS, [MISTRAL])
    (error,) = errors_of({"gpu": {"tensor_parallel": 2}}, version, GPUS)
    assert "gpu.tensor_parallel" in error
    assert version.lstrip("v") in error


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"modles": {}}, "config.unknown_section: .*Did you mean 'models'"),
        ({"temperature": 1}, "config.unknown_section: .*a key of the section inference"),
        ({"foo": {}}, "config.unknown_section: .*Remove it"),
        ({"inference": {"temprature": 1}}, "config.unknown_key: .*Did you mean inference.temperature"),
        ({"server": {"temperature": 1}}, "config.unknown_key: .*belongs in the section inference"),
        ({"server": {"zzz": 1}}, "config.unknown_key: .*Remove it"),
        ({"server": 5}, "config.wrong_type: .*server is 5 .an integer., but must be a mapping"),
        ({"server": {"port": True}}, "config.wrong_type: .*server.port is true .a boolean."),
        ({"server": {"port": "11434"}}, "config.wrong_type: .*server.port is '11434' .a text."),
        ({"server": {"port": None}}, "config.wrong_type: .*server.port is empty"),
        ({"server": {"num_threads": 1.5}}, "config.wrong_type: .*1.5 .a number."),
        ({"inference": {"temperature": "0.7"}}, "config.wrong_type"),
        ({"inference": {"top_p": True}}, "config.wrong_type"),
        ({"server": {"port": 0}}, "config.out_of_range: .*from 1 to 65535"),
        ({"server": {"port": 65536}}, "config.out_of_range"),
        ({"server": {"host": "localhost"}}, "config.out_of_range: .*127.0.0.1"),
        ({"inference": {"temperature": 2.1}}, "config.out_of_range"),
        ({"inference": {"temperature": float("nan")}}, "config.out_of_range"),
        ({"inference": {"top_p": 0}}, "config.out_of_range"),
        ({"inference": {"batch_size": 0}}, "config.out_of_range"),
        ({"models": {"path": "models"}}, "config.out_of_range: .*absolute path"),
        ({"models": {"path": "/"}}, "config.out_of_range"),
        ({"models": {"path": "/etc/x"}}, "config.out_of_range"),
        ({"models": {"path": "/a/../etc"}}, "config.out_of_range"),
        ({"models": {"quantization": "Q8_0"}}, "config.unknown_default_model: .*Q8_0.*mistral-7b-q4_k_m"),
        ({"models": {"context_length": 64}, "inference": {"max_tokens": 65}}, "config.out_of_range: .*context_length"),
        (
            {"models": {"context_lengths": {"mistral:7b": 64}}, "inference": {"max_tokens": 65}},
            ".*context_lengths .64.",
        ),
        (
            {"models": {"context_lengths": {"nope": 64}}},
            "config.out_of_range: .*'nope', but must be a model here: mist",
        ),
        ({"models": {"context_lengths": {"mistral:7b": 8}}}, "config.out_of_range: .*from 16"),
        ({"models": {"context_lengths": 64}}, "config.wrong_type"),
        ({"models": {"dtype": "f64"}}, "config.out_of_range: .*f16, bf16 or f32"),
        ({"models": {"dtype": "f32"}}, "config.key_unsupported: .*several requests at once.*bf16"),
        ({"server": {"num_threads": "all"}}, "config.wrong_type: .*or auto"),
        ({"server": {"num_threads": "auto"}}, "config.key_unsupported: .*physical cores is not known"),
        ({"inference": {"prefix_cache": -1}}, "config.out_of_range"),
    ],
    ids=str,
)
def test_bad_input(config: dict[str, Any], expected: str) -> None:
    (error,) = errors_of(config)
    assert re.match(expected, error)
    assert "\n" not in error


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"devices": [2]}, "gpu.devices is [2], but must be among the GPUs of this host (0, 1, GPU-a, GPU-b)"),
        ({"devices": []}, "gpu.devices is []"),
        ({"devices": [0, "0"]}, "different"),
        ({"devices": 0}, "a list"),
        ({"memory_fraction": 1}, "0.98"),
        ({"allow_growth": "yes"}, "true or false"),
        ({"allow_growth": True, "memory_fraction": 0.5}, "contradicts gpu.memory_fraction"),
        ({"cache_mb": 4096, "memory_fraction": 0.5}, "gpu.cache_mb is 4096, which contradicts gpu.memory_fraction"),
        ({"cache_mb": 4096, "allow_growth": True}, "gpu.cache_mb is 4096, which contradicts gpu.allow_growth"),
        ({"cache_type": "f8e4m3", "allow_growth": True}, "which contradicts gpu.allow_growth"),
        ({"cache_type": "fp8"}, "auto or f8e4m3"),
        ({"device_layers": ["0:16", "2:16"]}, "one entry at most for each of the 2 GPUs used"),
        ({"device_layers": ["0:16", "0:16"]}, "one entry at most for each of the 2 GPUs used"),
        ({"device_layers": ["0:16", "1:16"], "devices": [1]}, "for each of the 1 GPUs used"),
        ({"device_layers": ["all"]}, "a list of texts such as 0:16"),
        ({"device_layers": []}, "a list of texts such as 0:16"),
    ],
    ids=str,
)
def test_bad_gpu_input(config: dict[str, Any], expected: str) -> None:
    (error,) = errors_of({"gpu": config}, gpus=GPUS)
    assert expected in error


def test_all_errors_at_once() -> None:
    config = {
        "modles": {},
        "server": {"port": "x"},
        "inference": {"temprature": 1, "top_p": 2},
        "gpu": {"devices": [0]},
    }
    assert [error.split(":")[0] for error in errors_of(config, models=[])] == [
        "config.unknown_section",
        "config.wrong_type",
        "config.unknown_key",
        "config.out_of_range",
        "config.key_unsupported",
        "config.no_models",
    ]


@pytest.mark.parametrize("version", ["", "1", "0.5.0", "0.6.1", "0.10.0", "1.0.0", "main", "0.9"])
def test_unknown_versions(version: str) -> None:
    (error,) = errors_of({}, version)
    assert "config.version_unsupported" in error


def test_variables_agree_with_the_keys() -> None:
    plan = engine_plan({}, "0.9.5", [], [MISTRAL], host="10.0.0.1", port=80, model_path="/m")
    assert plan["settings"]["server"] == {"host": "10.0.0.1", "port": 80}
    assert plan["working_directory"] == "/m"
    (error,) = errors_of({"server": {"port": 1}}, port=2)
    assert "server.port is 1, which contradicts mistral_server_port (2)" in error
    (error,) = errors_of({}, port=0)
    assert "mistral_server_port is 0" in error
    # The variable's default is the key itself: a bad key is said once.
    assert len(errors_of({"server": {"port": "x"}}, port="x")) == 1


def test_models() -> None:
    assert "config.no_models" in errors_of({}, models=[])[0]
    assert "config.too_many_models" in errors_of({}, "v0.6.0", models=TWO_MODELS)[0]
    assert "config.duplicate_model" in errors_of({}, models=[MISTRAL, MISTRAL])[0]
    assert "model.unsafe_name" in errors_of({}, models=[{"name": "../x"}])[0]
    assert "config.unknown_isq" in errors_of({}, models=[{**TENSORS, "quantization": "iq4_xs"}])[0]
    assert "config.model_format" in errors_of({}, models=[{**STORED, "file": "x.safetensors"}])[0]
    assert "'nope'" in errors_of({}, default_model="nope")[0]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("mistral:7b", "is not a dictionary"),
        (None, "is not a dictionary"),
        ({}, "has no name"),
        ({"id": "x"}, "has no"),
    ],
)
def test_entries_that_are_no_models(entry: Any, problem: str) -> None:
    (error,) = errors_of({}, models=[MISTRAL, entry])
    assert f"Entry 2 of mistral_models {problem}" in error
    assert "config.wrong_model_entry" in error


@pytest.mark.parametrize(
    ("default", "quantization", "expected"),
    [
        ("", None, "mistral-7b-q4_k_m"),
        ("mistral:7b", None, "mistral-7b-q4_k_m"),
        ("mistral:7b", "q8_0", "mistral-7b-q8_0"),
        ("", "Q8_0", "mistral-7b-q8_0"),
        ("mistral-7b-q8_0.gguf", None, "mistral-7b-q8_0"),
        ("mistral:7b-q8_0", "Q8_0", "mistral-7b-q8_0"),
    ],
)
def test_default_model(default: str, quantization: str | None, expected: str) -> None:
    config = {"models": {"quantization": quantization}} if quantization else {}
    plan = engine_plan(config, "0.9.5", [], TWO_MODELS, default_model=default)
    assert plan["default_model"] == plan["gateway"]["default_model"] == expected
    assert plan["configuration"]["default_model_id"] == expected
    # The bare name leads to the default model, and to no other.
    owners = [model["id"] for model in plan["gateway"]["models"] if "mistral:7b" in model["aliases"]]
    assert owners == [expected]


SEED = {
    "models": {"path": "/models", "quantization": "Q4_K_M", "context_length": 8192},
    "server": {"host": "0.0.0.0", "port": 11434, "num_threads": 8},
    "inference": {"temperature": 0.7, "top_p": 0.9, "max_tokens": 2048, "batch_size": 8},
}


def test_the_seed_on_the_cpu() -> None:
    plan = engine_plan(SEED, "0.9.5", [], [STORED])
    assert plan["argv"] == ["from-config", "-f", "/etc/mistral/engine.toml"]
    assert plan["configuration"] == {
        "command": "serve",
        "default_model_id": "gemma-270m-q4_k_m",
        "global": {"token_source": "none"},
        "server": {"host": "0.0.0.0", "port": 11434, "no_ui": True, "access_log_format": "json"},
        "paged_attn": {"mode": "off"},
        "runtime": {"max_seqs": 8},
        "models": [
            {
                "model_id": "gemma-270m-q4_k_m",
                "dtype": "bf16",
                "tokenizer": "gemma-270m-q4_k_m/tokenizer.json",
                "jinja_explicit": "gemma-270m-q4_k_m/gemma-270m-q4_k_m.jinja",
                "format": {"quantized_file": "gemma-270m-q4_k_m.gguf"},
                "device": {"cpu": True, "max_seq_len": 8192},
            }
        ],
    }
    assert plan["environment"] == {
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
        "MISTRAL_PORT": "11434",
        "MISTRALRS_NO_NCCL": "1",
        "RAYON_NUM_THREADS": "8",
        "CANDLE_NUM_THREADS": "8",
    }
    assert plan["links"] == {
        "gemma-270m-q4_k_m/gemma-270m-q4_k_m.gguf": "/store/gemma-270m-q4_k_m.gguf",
        "gemma-270m-q4_k_m/tokenizer.json": "/store/gemma-270m-q4_k_m.tokenizer.json",
        "gemma-270m-q4_k_m/config.json": "/store/gemma-270m-q4_k_m.config.json",
        "gemma-270m-q4_k_m/gemma-270m-q4_k_m.jinja": "/store/gemma-270m-q4_k_m.jinja",
    }
    assert plan["gateway"] == {
        "version": "0.9.5",
        "defaults": {"temperature": 0.7, "top_p": 0.9, "max_tokens": 2048},
        "models": [{"id": "gemma-270m-q4_k_m", "aliases": STORED["aliases"], "quantization": "Q4_K_M"}],
        "default_model": "gemma-270m-q4_k_m",
        "context_length": 8192,
        "max_tokens": 8192,
        "max_concurrent_requests": 0,
    }
    (warning,) = plan["warnings"]
    assert "no authentication" in warning


def test_what_clients_are_told_about_a_model() -> None:
    header = {"quantization": "Q4_K_M", "architecture": "gemma3", "parameters": 268_098_176, "embedding_length": 640}
    stored = {**STORED, "sha256": "a" * 64, "size": 253_114_624, "gguf": header}
    (told,) = engine_plan(SEED, "0.9.5", [], [stored])["gateway"]["models"]
    assert told == {
        "id": STORED["id"],
        "aliases": STORED["aliases"],
        "digest": "a" * 64,
        "size": 253_114_624,
        "quantization": "Q4_K_M",
        "family": "gemma3",
        "parameters": "268.10M",
        "embedding_length": 640,
    }


def test_v060_is_flags() -> None:
    plan = engine_plan({**SEED, "gpu": {"memory_fraction": 0.8}}, "v0.6.0", GPUS, [STORED])
    assert plan["toml"] == ""
    assert plan["configuration"] == {}
    assert plan["argv"] == [
        *["--serve-ip", "0.0.0.0", "--port", "11434", "--token-source", "none", "--pa-gpu-mem-usage", "0.8"],
        *["--max-seqs", "8", "--jinja-explicit", "gemma-270m-q4_k_m/gemma-270m-q4_k_m.jinja"],
        *["gguf", "-t", "gemma-270m-q4_k_m", "-m", "gemma-270m-q4_k_m", "-f", "gemma-270m-q4_k_m.gguf"],
        *["--max-seq-len", "8192"],
    ]


@pytest.mark.parametrize(
    ("version", "kind", "format_named", "no_ui", "json_log", "metrics"),
    [
        ("0.7.0", True, True, False, False, False),
        ("0.8.0", True, True, False, False, False),
        ("0.8.2", True, True, True, False, False),
        ("0.8.4", False, True, True, False, True),
        # Its own version says 0.8.9.
        ("0.8.10", False, True, True, False, True),
        ("0.8.11", False, True, True, True, True),
        ("0.9.0", False, True, True, True, True),
        ("0.9.1", False, False, True, True, True),
    ],
)
def test_versions(version: str, kind: bool, format_named: bool, no_ui: bool, json_log: bool, metrics: bool) -> None:
    plan = engine_plan({}, version, GPUS, [STORED])
    (model,) = plan["configuration"]["models"]
    assert ("kind" in model) == kind
    assert ("format" in model["format"]) == format_named
    assert ("no_ui" in plan["configuration"]["server"]) == no_ui
    assert ("access_log_format" in plan["configuration"]["server"]) == json_log
    assert plan["metrics"] == metrics


def test_gpu_memory() -> None:
    def paged(gpu: dict[str, Any]) -> Any:
        return engine_plan({"gpu": gpu}, "0.9.5", GPUS, [MISTRAL])["configuration"]["paged_attn"]

    assert paged({}) == {"mode": "on", "memory_fraction": 0.9}
    assert paged({"memory_fraction": 0.5}) == {"mode": "on", "memory_fraction": 0.5}
    assert paged({"allow_growth": True}) == {"mode": "off"}


def test_a_model_without_template_is_warned_about() -> None:
    plan = engine_plan({}, "0.9.5", [], [{**STORED, "chat_template": ""}])
    assert any("no chat template" in warning for warning in plan["warnings"])


# Valid configurations of any shape.
VALID: dict[str, Any] = {
    "models.path": st.sampled_from(["/models", "/srv/m", "/var/models"]),
    "models.quantization": st.sampled_from(["q4_k_m", "Q4_K_M"]),
    "models.context_length": st.integers(4096, 100000),
    "server.host": st.ip_addresses().map(str),
    "server.port": st.integers(1, 65535),
    "server.num_threads": st.integers(1, 1024),
    "inference.temperature": st.floats(0, 2) | st.integers(0, 2),
    "inference.top_p": st.floats(0.01, 1),
    "inference.max_tokens": st.integers(1, 4096),
    "inference.batch_size": st.integers(1, 1024),
    "gpu.memory_fraction": st.floats(0.05, 0.98),
    "gpu.allow_growth": st.just(False),
    "gpu.devices": st.lists(st.sampled_from([0, 1]), min_size=1, unique=True),
    "gpu.tensor_parallel": st.just(1),
}


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    config: dict[str, dict[str, Any]] = {}
    for name in draw(st.lists(st.sampled_from(sorted(VALID)), unique=True)):
        section, key = name.split(".")
        config.setdefault(section, {})[key] = draw(VALID[name])
    return config


@given(configurations(), st.sampled_from(VERSIONS))
def test_plans_are_plain_and_stable(config: dict[str, dict[str, Any]], version: str) -> None:
    before = copy.deepcopy(config)
    plan = engine_plan(config, version, GPUS, [STORED])
    assert config == before
    assert json.loads(json.dumps(plan)) == plan
    # What is said with the defaults filled in means the same.
    assert engine_plan(plan["settings"], version, GPUS, [STORED]) == plan
    # What was said is what is shown.
    for section, keys in config.items():
        for key, value in keys.items():
            assert plan["settings"][section][key] == value
    # None of the engine's powers that we lock away.
    for word in ("agent", "enable_", "mcp", "shell", "code_exec"):
        assert word not in plan["toml"]


@given(configurations(), st.sampled_from(sorted(SCHEMA)), st.text(min_size=1, max_size=12))
def test_unknown_keys_never_pass(config: dict[str, dict[str, Any]], section: str, key: str) -> None:
    assume(key not in SCHEMA[section])
    config.setdefault(section, {})[key] = 1
    assert any("config.unknown_key" in error for error in errors_of(config, gpus=GPUS))


ANYTHING = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)


@given(st.sampled_from(sorted(VALID)), ANYTHING, st.sampled_from(VERSIONS))
def test_any_value_acts_or_is_refused(name: str, value: Any, version: str) -> None:
    plan, refused = None, ""
    try:
        plan = engine_plan(config_of(name, value), version, GPUS, [STORED])
    except StackErrors as error:
        refused = str(error)
    if plan is None:
        assert name in refused
    else:
        section, key = name.split(".")
        assert plan["settings"][section][key] == value


@pytest.mark.parametrize(("version", "between"), [("v0.6.0", " "), ("0.7.0", " "), ("0.8.0", ";"), ("0.9.5", ";")])
def test_shards_are_served_together(version: str, between: str) -> None:
    plan = engine_plan({}, version, [], [SHARDS])
    joined = between.join(SHARDS["files"])
    assert plan["links"] == {f"big-70b-q4_k_m/{name}": f"/store/big-70b-q4_k_m/{name}" for name in SHARDS["files"]}
    if version == "v0.6.0":
        assert plan["argv"][-4:] == ["-m", "big-70b-q4_k_m", "-f", joined]
    else:
        assert plan["configuration"]["models"][0]["format"]["quantized_file"] == joined


@pytest.mark.parametrize(
    ("quantization", "isq"), [("", None), ("bf16", None), ("q4_k_m", "q4k"), ("Q8_0", "q8_0"), ("fp8", "fp8")]
)
def test_safetensors_are_quantized_when_they_are_loaded(quantization: str, isq: str | None) -> None:
    model = {**TENSORS, "quantization": quantization}
    (served,) = engine_plan({}, "0.9.5", [], [model])["configuration"]["models"]
    assert served["model_id"] == "big-70b-q4_k_m"
    assert "format" not in served
    assert served.get("quantization") == ({"in_situ_quant": isq} if isq else None)
    assert engine_plan({}, "0.8.0", [], [model])["configuration"]["models"][0]["format"] == {"format": "plain"}
    flags = engine_plan({}, "v0.6.0", [], [model])["argv"]
    assert flags[-3:] == ["plain", "-m", "big-70b-q4_k_m"]
    assert ("--isq" in flags) == bool(isq)


@pytest.mark.parametrize("version", ["v0.6.0", "0.7.0", "0.7.9", "0.8.0", "0.8.1", "0.9.2+7"])
def test_what_quantize_wrote_is_loaded_as_it_is(version: str) -> None:
    """Two shards. From v0.8.0 on (C(expand_uqff_shards), mistralrs-core/src/pipeline/isq.rs), the engine finds the
    second by the first one's name. Before, it loads what is named, divided by C(UQFF_MULTI_FILE_DELIMITER): a semicolon
    already at v0.6.0, where GGUF shards still are divided by spaces.
    """
    files = ["config.json", "model.q4k-0.uqff", "model.q4k-1.uqff", "residual.safetensors"]
    model = {**TENSORS, "quantization": "q4k", "files": files}
    named = "model.q4k-0.uqff;model.q4k-1.uqff" if version < "0.8" or version == "v0.6.0" else "model.q4k-0.uqff"
    plan = engine_plan({}, version, GPUS, [model])
    if version == "v0.6.0":
        assert plan["argv"][-5:] == ["plain", "-m", "big-70b-q4_k_m", "--from-uqff", named]
        assert "--isq" not in plan["argv"]
    else:
        (served,) = plan["configuration"]["models"]
        assert served["quantization"] == {"from_uqff": named}
