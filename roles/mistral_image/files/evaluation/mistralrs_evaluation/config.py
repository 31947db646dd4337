# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the configuration file of the real engine (C(mistralrs from-config)).

Each key of the engine's schema (version 0.9.x) is used, noted (it has no effect on a CPU evaluation and
doesn't change what is answered) or refused. The engine itself ignores keys that it doesn't know; here
they are refused, because a mistyped key is never what was meant.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mistralrs_evaluation import StartError

USED, NOTED, REFUSED = "used", "noted", "refused"


class Key(NamedTuple):
    """A key of the schema: what its value must be, and what is done with it."""

    kind: str
    use: str
    choices: tuple[str, ...] = ()
    #: Values of a noted key that say what happens on a CPU anyway.
    same: tuple[str, ...] = ()


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "text": ((str,), "a string"),
    "whole": ((int,), "a whole number"),
    "number": ((int, float), "a number"),
    "truth": ((bool,), "true or false"),
    "list": ((list,), "a list"),
}

_GLOBAL = {
    "seed": Key("whole", USED),
    # This file would hold prompts and answers.
    "log": Key("text", REFUSED),
    "token_source": Key("text", USED),
}
_RUNTIME = {
    "max_seqs": Key("whole", USED),
    "prefix_cache_n": Key("whole", USED),
    "no_kv_cache": Key("truth", USED),
    "chat_template": Key("text", USED),
    "jinja_explicit": Key("text", USED),
    "mtp": Key("truth", REFUSED),
    "mtp_model": Key("text", REFUSED),
    "mtp_n_predict": Key("whole", REFUSED),
    "matformer_config_path": Key("text", REFUSED),
    "matformer_slice_name": Key("text", REFUSED),
    "mcp_config": Key("text", REFUSED),
    "agent": Key("truth", REFUSED),
    "enable_search": Key("truth", REFUSED),
    "enable_code_execution": Key("truth", REFUSED),
    "enable_shell": Key("truth", REFUSED),
    "search_embedding_model": Key("text", REFUSED),
    "code_exec_python": Key("text", REFUSED),
    "code_exec_timeout": Key("whole", REFUSED),
    "code_exec_workdir": Key("text", REFUSED),
    "shell_path": Key("text", REFUSED),
    "shell_timeout": Key("whole", REFUSED),
    "shell_workdir": Key("text", REFUSED),
    "skills_dir": Key("text", REFUSED),
    "agent_permission": Key("text", NOTED, ("auto", "ask", "deny")),
    "code_exec_permission": Key("text", NOTED, ("auto", "ask", "deny")),
}
_SERVER = {
    "host": Key("text", USED),
    "port": Key("whole", USED),
    "no_ui": Key("truth", USED),
    "disable_access_log": Key("truth", USED),
    "access_log_health": Key("truth", USED),
    "access_log_format": Key("text", USED, ("text", "json")),
    "disable_request_id_header": Key("truth", USED),
    "disable_metrics": Key("truth", USED),
    "mcp_port": Key("whole", REFUSED),
    "max_tool_rounds": Key("whole", REFUSED),
    "tool_dispatch_url": Key("text", REFUSED),
}
_PAGED_ATTN = {
    "mode": Key("text", NOTED, ("auto", "on", "off"), ("auto", "off")),
    "context_len": Key("whole", NOTED),
    "memory_mb": Key("whole", NOTED),
    "memory_fraction": Key("number", NOTED),
    "block_size": Key("whole", NOTED),
    "cache_type": Key("text", NOTED, ("Auto", "F8E4M3")),
}
_SANDBOX = {
    "mode": Key("text", NOTED, ("auto", "on", "off")),
    "profile": Key("text", NOTED),
    "max_memory_mb": Key("whole", NOTED),
    "max_cpu_secs": Key("whole", NOTED),
    "max_procs": Key("whole", NOTED),
    "network": Key("text", NOTED),
}
_MODEL = {
    "model_id": Key("text", USED),
    "kind": Key("text", USED, ("auto", "text")),
    "tokenizer": Key("text", USED),
    "arch": Key("text", NOTED),
    "dtype": Key("text", USED, ("auto", "f16", "bf16", "f32")),
    "chat_template": Key("text", USED),
    "jinja_explicit": Key("text", USED),
}
_MODEL_TABLES: dict[str, dict[str, Key]] = {
    "format": {
        "format": Key("text", USED, ("gguf",)),
        "quantized_file": Key("text", USED),
        "tok_model_id": Key("text", USED),
        "mmproj": Key("text", REFUSED),
        "gqa": Key("whole", NOTED),
    },
    "quantization": {
        "quant": Key("text", REFUSED),
        "isq": Key("text", REFUSED),
        "in_situ_quant": Key("text", REFUSED),
        "from_uqff": Key("text", REFUSED),
        "isq_organization": Key("text", REFUSED),
        "imatrix": Key("text", REFUSED),
        "calibration_file": Key("text", REFUSED),
    },
    "device": {
        "cpu": Key("truth", USED),
        "device_layers": Key("list", NOTED),
        "topology": Key("text", NOTED),
        "hf_cache": Key("text", NOTED),
        "max_seq_len": Key("whole", NOTED),
        "max_batch_size": Key("whole", NOTED),
    },
    "adapter": {
        "enable_lora": Key("truth", REFUSED),
        "lora": Key("list", REFUSED),
        "lora_max_adapters": Key("whole", NOTED),
        "lora_max_rank": Key("whole", NOTED),
        "lora_max_bytes": Key("whole", NOTED),
        "legacy_lora": Key("text", REFUSED),
        "legacy_lora_order": Key("text", REFUSED),
        "xlora": Key("text", REFUSED),
        "xlora_order": Key("text", REFUSED),
    },
    "multimodal": {
        "max_edge": Key("whole", NOTED),
        "max_num_images": Key("whole", NOTED),
        "max_image_length": Key("whole", NOTED),
    },
}
_TABLES = {
    "global": _GLOBAL,
    "runtime": _RUNTIME,
    "server": _SERVER,
    "paged_attn": _PAGED_ATTN,
    "sandbox": _SANDBOX,
}
_TOP = {"command": Key("text", USED, ("serve",)), "default_model_id": Key("text", USED)}


@dataclass(frozen=True)
class ModelConfiguration:
    """One C([[models]]) entry; paths are relative to the working directory, as the engine has it."""

    model_id: str
    files: tuple[str, ...]
    tok_model_id: str | None = None
    tokenizer: str | None = None
    dtype: str = "auto"
    jinja_explicit: str | None = None
    chat_template: str | None = None


@dataclass(frozen=True)
class Configuration:
    """All that the evaluation engine takes from the file."""

    models: tuple[ModelConfiguration, ...]
    default_model_id: str
    host: str = "0.0.0.0"
    port: int = 1234
    max_seqs: int = 32
    prefix_cache_n: int = 16
    no_kv_cache: bool = False
    seed: int | None = None
    token_source: str = "none"
    access_log: bool = True
    access_log_health: bool = False
    access_log_format: str = "text"
    request_id_header: bool = True
    metrics: bool = True
    notes: tuple[str, ...] = field(default=())


def _checked(table: Mapping[str, Any], keys: Mapping[str, Key], where: str, notes: list[str]) -> dict[str, Any]:
    """The used keys of a table; refuses what must be refused and collects what has no effect."""
    used: dict[str, Any] = {}
    for name, value in table.items():
        path = f"{where}.{name}" if where else name
        key = keys.get(name)
        if key is None:
            raise StartError(f"The configuration has the key '{path}', which the engine does not know.")
        types, words = _KINDS[key.kind]
        # Python counts true and false among the whole numbers.
        if not isinstance(value, types) or (isinstance(value, bool) and key.kind != "truth"):
            raise StartError(f"The configuration's key '{path}' must be {words}.")
        if key.choices and value not in key.choices:
            choices = " or ".join(key.choices)
            raise StartError(f"The configuration's key '{path}' is '{value}'; the evaluation engine takes {choices}.")
        if key.use == REFUSED and value not in (False, [], ""):
            raise StartError(f"The configuration's key '{path}' asks for what the evaluation engine does not do.")
        if key.use == NOTED and value not in key.same:
            notes.append(path)
        elif key.use == USED:
            used[name] = value
    return used


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise StartError(f"The configuration's '{where}' must be a table.")
    return value


def _at_least(values: Mapping[str, Any], name: str, least: int, most: int, where: str) -> None:
    if name in values and not least <= values[name] <= most:
        raise StartError(f"The configuration's key '{where}.{name}' must be from {least} to {most}.")


def _model(entry: Any, index: int, runtime: Mapping[str, Any], notes: list[str]) -> ModelConfiguration:
    where = f"models[{index}]"
    table = _table(entry, where)
    used = _checked({name: value for name, value in table.items() if name not in _MODEL_TABLES}, _MODEL, where, notes)
    inner = {
        name: _checked(_table(table[name], f"{where}.{name}"), keys, f"{where}.{name}", notes)
        for name, keys in _MODEL_TABLES.items()
        if name in table
    }
    if not used.get("model_id"):
        raise StartError(f"The configuration's '{where}' has no model_id.")
    files = tuple(part for part in inner.get("format", {}).get("quantized_file", "").split(";") if part)
    if not files or not all(name.lower().endswith(".gguf") for name in files):
        raise StartError(
            f"The configuration's '{where}' names no GGUF file in format.quantized_file; "
            "the evaluation engine loads GGUF files only."
        )
    if inner.get("device", {}).get("cpu") is False:
        notes.append(f"{where}.device.cpu")
    return ModelConfiguration(
        model_id=used["model_id"],
        files=files,
        tok_model_id=inner["format"].get("tok_model_id"),
        tokenizer=used.get("tokenizer"),
        dtype=used.get("dtype", "auto"),
        jinja_explicit=used.get("jinja_explicit", runtime.get("jinja_explicit")),
        chat_template=used.get("chat_template", runtime.get("chat_template")),
    )


def read(text: str) -> Configuration:
    """The configuration in a file's text; StartError says what is wrong with it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StartError(f"The configuration is not valid TOML: {error}.") from None
    notes: list[str] = []
    top = _checked(
        {name: value for name, value in document.items() if name not in _TABLES and name != "models"}, _TOP, "", notes
    )
    if "command" not in top:
        raise StartError("The configuration has no key 'command'; it must be \"serve\".")
    tables = {name: _checked(_table(document.get(name, {}), name), keys, name, notes) for name, keys in _TABLES.items()}
    runtime, server = tables["runtime"], tables["server"]
    _at_least(runtime, "max_seqs", 1, 4096, "runtime")
    _at_least(runtime, "prefix_cache_n", 0, 65536, "runtime")
    _at_least(server, "port", 1, 65535, "server")
    _at_least(tables["global"], "seed", 0, 2**64 - 1, "global")
    entries = document.get("models", [])
    if not isinstance(entries, list) or not entries:
        raise StartError("The configuration has no [[models]] entry; at least one is needed.")
    models = tuple(_model(entry, index, runtime, notes) for index, entry in enumerate(entries))
    ids = [model.model_id for model in models]
    for model_id in ids:
        if ids.count(model_id) > 1:
            raise StartError(f"Model ID conflict: two [[models]] entries have the model_id '{model_id}'.")
    default = top.get("default_model_id", ids[0])
    if default not in ids:
        raise StartError(f"The configuration's default_model_id '{default}' is none of the models: {', '.join(ids)}.")
    return Configuration(
        models=models,
        default_model_id=default,
        host=server.get("host", Configuration.host),
        port=server.get("port", Configuration.port),
        max_seqs=runtime.get("max_seqs", Configuration.max_seqs),
        prefix_cache_n=runtime.get("prefix_cache_n", Configuration.prefix_cache_n),
        no_kv_cache=runtime.get("no_kv_cache", False),
        seed=tables["global"].get("seed"),
        token_source=tables["global"].get("token_source", Configuration.token_source),
        access_log=not server.get("disable_access_log", False),
        access_log_health=server.get("access_log_health", False),
        access_log_format=server.get("access_log_format", Configuration.access_log_format),
        request_id_header=not server.get("disable_request_id_header", False),
        metrics=not server.get("disable_metrics", False),
        notes=tuple(notes),
    )


def load(path: Path) -> Configuration:
    """The configuration in a file."""
    if path.suffix != ".toml":
        raise StartError(f"The configuration file {path} must have a name that ends in .toml.")
    try:
        return read(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"The configuration file {path} can't be read: {error}.") from None
    except StartError as error:
        raise StartError(f"{path}: {error}") from None
