"""What is written into the engine's configuration is read by that version: it ignores keys that it doesn't know.

tests/recordings/mistralrs-source/options.txt has what each version reads. Flags of v0.6.0: mistralrs-server/src/main.rs
and mistralrs-core/src/model_selected.rs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tomllib
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.plan import engine_plan
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import RELEASES, engine_of
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError, StackErrors
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import parse

GIB = 1 << 30
RECORDINGS = Path(__file__).parents[4] / "recordings"
Number = tuple[int, ...]


class Key(NamedTuple):
    """A key of the configuration: the first version that reads it, and the first that doesn't any more."""

    since: Number
    until: Number | None
    source: str


def keys() -> Iterator[tuple[str, Key]]:
    for line in (RECORDINGS / "mistralrs-source" / "options.txt").read_text().splitlines():
        if not line.startswith(("#", "compared-up-to")):
            key, since, until, source = line.split(maxsplit=3)
            yield key, Key(parse(since) or (), parse(until), source)


READ = dict(keys())
# Those that have a configuration file.
VERSIONS = [name for name in RELEASES if engine_of(name).toml]
GGUF = {
    "name": "gemma:270m",
    "file": "g-q4_k_m.gguf",
    "path": "/store/g-q4_k_m.gguf",
    "size": GIB,
    "tokenizer": "/store/g-q4_k_m.tokenizer.json",
    "tokenizer_config": "/store/g-q4_k_m.tokenizer_config.json",
    "config": "/store/g-q4_k_m.config.json",
    "chat_template": "/store/g-q4_k_m.jinja",
}
ISQ = {
    "name": "big:7b",
    "quantization": "q4_k_m",
    "file": "big-7b-q4_k_m",
    "path": "/store/big",
    "size": GIB,
    "files": ["config.json", "model.safetensors"],
}
PLAIN = {**ISQ, "name": "plain:7b", "quantization": "", "file": "plain-7b"}
UQFF = {
    **ISQ,
    "name": "uqff:7b",
    "quantization": "q4k",
    "file": "uqff-7b",
    "files": ["q4k-0.uqff", "q4k-1.uqff", "residual.safetensors"],
}
CONFIG = {"models": {"context_length": 4096}, "inference": {"batch_size": 4, "prefix_cache": 4}}
GPU = {"index": 0, "uuid": "GPU-a", "memory": 80 * GIB}


def paths(table: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from paths(value, f"{above}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for entry in value:
                yield from paths(entry, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def written(version: str) -> set[str]:
    """Every key that any configuration of that version has."""
    found: set[str] = set()
    for gpus in ([], [GPU]):
        for models in ([GGUF], [ISQ], [PLAIN], [UQFF], [GGUF, ISQ, UQFF]):
            layers = {"device_layers": ["0:16"]} if len(models) == 1 else {}
            for gpu in ({}, {"allow_growth": True}, {"cache_type": "f8e4m3", **layers}) if gpus else ({},):
                plan = engine_plan({**CONFIG, "gpu": gpu}, version, gpus, models)
                assert tomllib.loads(plan["toml"]) == plan["configuration"]
                found.update(paths(plan["configuration"]))
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_key_that_is_written_is_read(version: str) -> None:
    number = parse(version) or ()
    for name in written(version):
        key = READ[name]
        assert key.since <= number, f"{name}: {key.source}"
        assert not key.until or number < key.until, f"{name}: {key.source}"


def test_every_key_of_the_table_is_written() -> None:
    assert set().union(*(written(version) for version in VERSIONS)) == set(READ)


@pytest.mark.parametrize("version", ["0.7.0", "0.8.0", "0.8.3"])
def test_what_must_be_there_is(version: str) -> None:
    """Without a default: C(kind) @ v0.7.0 to v0.8.3; C(format) is plain where it is not said (serve.rs @ v0.8.0)."""
    for entry in (GGUF, ISQ):
        (model,) = engine_plan({}, version, [], [entry])["configuration"]["models"]
        assert model["kind"] == "auto"
        assert model["format"]["format"] == ("plain" if entry is ISQ else "gguf")


@pytest.mark.parametrize("recorded", ["mistralrs-0.8.1", "mistralrs-0.9.2+7"])
def test_the_recorded_configurations_have_no_other_keys(recorded: str) -> None:
    """The real servers started with these (tests/recordings/README.md)."""
    document = tomllib.loads((RECORDINGS / recorded / "config.toml").read_text())
    assert set(paths(document)) <= set(READ)


@pytest.mark.parametrize(
    ("version", "generation"),
    [
        ("0.6.0", (0, 6, 0)),
        ("0.8.1", (0, 8, 0)),
        ("0.8.10", (0, 8, 4)),
        ("0.8.11", (0, 8, 11)),
        ("v0.8.23", (0, 8, 11)),
        ("0.9.2", (0, 9, 1)),
        ("0.9.2+7", (0, 9, 1)),
    ],
)
def test_rows(version: str, generation: Number) -> None:
    assert engine_of(version).generation == generation


@pytest.mark.parametrize("version", ["0.9.2+", "0.9.2+x", "0.9.2-7", "+7", "0.6.0.1", "0.10.0+1"])
def test_what_is_no_version(version: str) -> None:
    with pytest.raises(StackError, match="config.version_unsupported"):
        engine_of(version)


# On the CPU: tests/recordings/README.md and the notes on what 0.8.1 and 0.9.2+7 answered to several clients at once.
# Mixed: mistralrs-core/src/attention/backends/cpu.rs flash_attn_cpu_single_q @ v0.8.23. F32: models/llama.rs @ v0.9.0
# and v0.9.1 (the selected logits go to lm_head as a view) and models/quantized_llama.rs @ v0.9.0 (contiguous).
@pytest.mark.parametrize(
    ("version", "limit", "gguf", "isq", "plain"),
    [
        ("v0.6.0", 1, None, None, None),
        ("0.7.0", 1, None, None, None),
        ("0.8.1", 1, None, None, None),
        ("0.8.23", 1, None, None, None),
        ("0.9.0", 0, None, "bf16", None),
        ("0.9.1", 0, "bf16", "bf16", None),
        ("0.9.2+7", 0, "bf16", "bf16", None),
        ("0.9.5", 0, "bf16", "bf16", None),
    ],
)
def test_answers_under_load_on_the_cpu(
    version: str, limit: int, gguf: str | None, isq: str | None, plain: str | None
) -> None:
    for entry, dtype in ((GGUF, gguf), (ISQ, isq), (UQFF, isq), (PLAIN, plain)):
        plan = engine_plan({}, version, [], [entry])
        assert plan["gateway"]["max_concurrent_requests"] == limit
        warned = [warning for warning in plan["warnings"] if "one request at a time" in warning]
        assert len(warned) == limit
        assert all(version.lstrip("v") in warning and "0.9.0 or newer" in warning for warning in warned)
        for model in plan["configuration"].get("models", []):
            assert model.get("dtype") == dtype
        # GPUs use other code, and the type that the engine chooses there.
        on_gpu = engine_plan({}, version, [GPU], [entry])
        assert on_gpu["gateway"]["max_concurrent_requests"] == 0
        assert not any("one request at a time" in warning for warning in on_gpu["warnings"])
        assert "dtype" not in json.dumps(on_gpu["configuration"])


# get_paths_gguf in mistralrs-core/src/pipeline/macros.rs and GGUFPipeline.model_id in pipeline/gguf.rs @ v0.6.0,
# v0.7.0, v0.8.0, v0.8.4, v0.9.0: tokenizer.json and tokenizer_config.json of the directory tok_model_id, which gives
# the model its id. Run with 0.8.1 and a llama vocabulary: 6 and 27 prompt tokens, as computed, instead of 11 and 32.
@pytest.mark.parametrize("version", ["v0.6.0", "0.7.0", "0.8.1", "0.8.4", "0.8.23", "0.9.0", "0.9.1", "0.9.2+7"])
def test_the_tokenizer_that_was_made_is_used(version: str) -> None:
    plan = engine_plan({}, version, [GPU], [GGUF])
    beside = version in ("0.9.1", "0.9.2+7")
    names = {name for name in plan["links"] if name.endswith(".json")}
    assert names == {"g-q4_k_m/tokenizer.json", f"g-q4_k_m/{'config' if beside else 'tokenizer_config'}.json"}
    if version == "v0.6.0":
        # model_selected.rs: -t is --tok-model-id of the subcommand gguf.
        at = plan["argv"].index("gguf")
        assert plan["argv"][at : at + 5] == ["gguf", "-t", "g-q4_k_m", "-m", "g-q4_k_m"]
    else:
        (model,) = plan["configuration"]["models"]
        assert model["format"].get("tok_model_id") == (None if beside else model["model_id"])
        assert ("tokenizer" in model) == beside
    assert plan["gateway"]["models"][0]["id"] == "g-q4_k_m"
    assert plan["warnings"] == []


@pytest.mark.parametrize("version", ["v0.6.0", "0.7.0", "0.8.1", "0.9.0"])
def test_a_tokenizer_without_its_configuration_is_refused(version: str) -> None:
    """v0.6.0 panics without tokenizer_config.json, the others know no end of an answer."""
    entry = {**GGUF, "tokenizer_config": ""}
    with pytest.raises(StackErrors) as caught:
        engine_plan({}, version, [GPU], [entry])
    (error,) = caught.value.errors
    assert error.id == "config.tokenizer_config_missing"
    assert "'g-q4_k_m'" in str(error)
    assert "role mistral_models again" in str(error)
    engine_plan({}, "0.9.1", [GPU], [entry])
    # One whose own tokenizer the engine reads well needs none.
    engine_plan({}, version, [GPU], [{**entry, "tokenizer": ""}])


@pytest.mark.parametrize(
    ("template", "embedded", "chat"),
    [("/store/x.jinja", False, True), ("", True, True), ("", False, False), ("", None, False)],
)
def test_whether_the_default_model_answers_chats(template: str, embedded: bool | None, chat: bool) -> None:
    entry = {**GGUF, "chat_template": template, "embedded_chat_template": embedded}
    other = {**ISQ, "embedded_chat_template": not chat}
    plan = engine_plan({}, "0.9.2", [], [entry, other], default_model="gemma:270m")
    assert plan["chat"] is chat
    unknown = engine_plan({}, "0.9.2", [], [{"name": "x:7b"}])
    assert unknown["chat"] is False
    assert not any("no chat template" in warning for warning in unknown["warnings"])
