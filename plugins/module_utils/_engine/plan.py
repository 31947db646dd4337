# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the operator's config.yml to what one version of the engine is started with.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Every key acts or is refused. The engine itself ignores keys that it doesn't know, so whatever is written into its
configuration here has been seen in the source of that version; what it can't do is done by the gateway, or refused.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._engine import (
    extras,
    fit_table,
    gpu_settings,
    gpu_share,
    model_settings,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.served_models import (
    Model,
    check_models,
    find_default_model,
    gateway_models,
    named_tokenizer,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.settings import (
    AUTO,
    DEFAULT_MEMORY_FRACTION,
    Gpu,
    check,
    check_outside,
    fill_in,
    resolve_threads,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.toml import dumps
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.row import Engine
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import engine_of
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError, StackErrors

CONFIGURATION_PATH = "/etc/mistral/engine.toml"


def _links(engine: Engine, entry: Mapping[str, Any]) -> dict[str, str]:
    if not entry["path"]:
        return {}
    if entry["files"]:
        links = {f"{entry['id']}/{name}": f"{entry['path']}/{name}" for name in entry["files"]}
    else:
        links = {f"{entry['id']}/{entry['file']}": entry["path"]}
    if entry["tokenizer"]:
        links[f"{entry['id']}/tokenizer.json"] = entry["tokenizer"]
    if named_tokenizer(engine, entry):
        links[f"{entry['id']}/tokenizer_config.json"] = entry["tokenizer_config"]
    if entry["config"] and engine.files_beside:
        links[f"{entry['id']}/config.json"] = entry["config"]
    if entry["chat_template"]:
        links[f"{entry['id']}/{entry['id']}.jinja"] = entry["chat_template"]
    return links


def _uqff(engine: Engine, entry: Mapping[str, Any]) -> str:
    """The shards of a model in the engine's own format; unlike GGUF's, they have always been divided by semicolons."""
    return str(entry["uqff"][0]) if engine.finds_uqff_shards else ";".join(entry["uqff"])


def _toml_model(engine: Engine, entry: Mapping[str, Any], settings: Mapping[str, Any], cpu: bool) -> dict[str, Any]:
    identity = entry["id"]
    model: dict[str, Any] = {}
    if engine.explicit_kind:
        model["kind"] = "auto"
    model["model_id"] = identity
    if entry["dtype"]:
        model["dtype"] = entry["dtype"]
    if entry["tokenizer"] and engine.files_beside:
        # Named, it must match the model or the engine refuses to start; only lying there, it is dropped with a warning.
        model["tokenizer"] = f"{identity}/tokenizer.json"
    if entry["chat_template"]:
        model["jinja_explicit"] = f"{identity}/{identity}.jinja"
    if entry["is_plain"]:
        if engine.explicit_format:
            model["format"] = {"format": "plain"}
        if entry["isq"]:
            model["quantization"] = {"in_situ_quant": entry["isq"]}
        if entry["uqff"]:
            model["quantization"] = {"from_uqff": _uqff(engine, entry)}
    else:
        model["format"] = {"format": "gguf"} if engine.explicit_format else {}
        model["format"]["quantized_file"] = engine.between_shards.join(entry["shards"] or [entry["file"]])
        if named_tokenizer(engine, entry):
            # The model is called like this directory, so it is the model's own.
            model["format"]["tok_model_id"] = identity
    device: dict[str, Any] = {}
    if cpu:
        device["cpu"] = True
    if entry["context_length"]:
        device["max_seq_len"] = entry["context_length"]
    if "device_layers" in settings["gpu"]:
        device["device_layers"] = settings["gpu"]["device_layers"]
    if device:
        model["device"] = device
    return model


def _configuration(
    engine: Engine,
    entries: list[dict[str, Any]],
    default_id: str,
    settings: Mapping[str, Any],
    cpu: bool,
    memory_each: int,
) -> dict[str, Any]:
    server: dict[str, Any] = {"host": "0.0.0.0", "port": settings["server"]["port"]}
    if engine.no_ui:
        server["no_ui"] = True
    if engine.json_access_log:
        server["access_log_format"] = "json"
    paged: dict[str, Any] = {"mode": "off"}
    if not cpu and not settings["gpu"]["allow_growth"]:
        paged = {"mode": "on"}
        if memory_each:
            paged["memory_mb"] = memory_each * (len(entries) if engine.shares_memory_mb else 1)
        else:
            paged["memory_fraction"] = settings["gpu"]["memory_fraction"]
        if settings["gpu"].get("cache_type", AUTO) != AUTO:
            paged["cache_type"] = settings["gpu"]["cache_type"].upper()
    configuration: dict[str, Any] = {
        "command": "serve",
        "default_model_id": default_id,
        "global": {"token_source": "none"},
        "server": server,
        "paged_attn": paged,
    }
    runtime = {"batch_size": "max_seqs", "prefix_cache": "prefix_cache_n"}
    given = {name: settings["inference"][key] for key, name in runtime.items() if key in settings["inference"]}
    if given:
        configuration["runtime"] = given
    configuration["models"] = [_toml_model(engine, entry, settings, cpu) for entry in entries]
    return configuration


def _flags(engine: Engine, entry: Mapping[str, Any], settings: Mapping[str, Any], cpu: bool) -> list[str]:
    """The command line of v0.6.0, which knows no configuration file: the server's flags come before the subcommand."""
    flags = ["--serve-ip", "0.0.0.0", "--port", str(settings["server"]["port"]), "--token-source", "none"]
    if cpu:
        flags.append("--cpu")
    elif settings["gpu"]["allow_growth"]:
        flags.append("--no-paged-attn")
    elif "cache_mb" in settings["gpu"]:
        flags += ["--pa-gpu-mem", str(settings["gpu"]["cache_mb"])]
    else:
        flags += ["--pa-gpu-mem-usage", str(settings["gpu"]["memory_fraction"])]
    if "batch_size" in settings["inference"]:
        flags += ["--max-seqs", str(settings["inference"]["batch_size"])]
    if "prefix_cache" in settings["inference"]:
        flags += ["--prefix-cache-n", str(settings["inference"]["prefix_cache"])]
    if "device_layers" in settings["gpu"]:
        flags += ["--num-device-layers", ";".join(settings["gpu"]["device_layers"])]
    if entry["chat_template"]:
        flags += ["--jinja-explicit", f"{entry['id']}/{entry['id']}.jinja"]
    if entry["isq"]:
        flags += ["--isq", entry["isq"]]
    if entry["is_plain"]:
        flags += ["plain", "-m", entry["id"], *(["--from-uqff", _uqff(engine, entry)] if entry["uqff"] else [])]
    else:
        tokenizer = ["-t", entry["id"]] if named_tokenizer(engine, entry) else []
        file = engine.between_shards.join(entry["shards"] or [entry["file"]])
        flags += ["gguf", *tokenizer, "-m", entry["id"], "-f", file]
    if entry["dtype"]:
        flags += ["--dtype", entry["dtype"]]
    if entry["context_length"]:
        flags += ["--max-seq-len", str(entry["context_length"])]
    return flags


def _environment(engine: Engine, settings: Mapping[str, Any]) -> dict[str, str]:
    environment = {
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
        "MISTRAL_PORT": str(settings["server"]["port"]),
        # GGUF models are never split by NCCL, and some versions put them on the CPU when it is on.
        "MISTRALRS_NO_NCCL": "1",
    }
    for name in engine.thread_variables:
        if "num_threads" in settings["server"]:
            environment[name] = str(settings["server"]["num_threads"])
    if "devices" in settings["gpu"]:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(str(device) for device in settings["gpu"]["devices"])
    return environment


def _one_at_a_time(engine: Engine, cpu: bool) -> bool:
    return cpu and engine.mixes_answers_on_cpu


def _warnings(version: str, engine: Engine, entries: list[dict[str, Any]], host: str, cpu: bool) -> list[str]:
    warnings = []
    if not ipaddress.ip_address(host).is_loopback:
        warnings.append(
            f"The engine has no authentication and will answer everybody who reaches {host}: keep server.host (or "
            "mistral_server_host) at 127.0.0.1 and let clients use the gateway."
        )
    if _one_at_a_time(engine, cpu):
        warnings.append(
            f"On the CPU, mistral.rs {version} mixes up the answers to requests that it works on at the same time, so "
            "the gateway sends it one request at a time and lets the others wait. To serve several at once, use "
            "version 0.9.0 or newer."
        )
    for entry in entries:
        if entry["chat"] is False:
            warnings.append(
                f"The model {entry['id']} has no chat template, so chat requests are refused: give it one by "
                "chat_template in mistral_models."
            )
    return warnings


def _memory_each(
    version: str, engine: Engine, entries: list[dict[str, Any]], settings: Mapping[str, Any], gpus: Sequence[Gpu]
) -> int:
    """The MiB for each model's KV cache; 0 where it is told by the memory fraction, or not set aside."""
    if not gpus or settings["gpu"]["allow_growth"]:
        return 0
    used = gpu_share.used_gpus(gpus, settings["gpu"].get("devices", []))
    context = settings["models"].get("context_length", 0)
    if "cache_mb" in settings["gpu"]:
        return gpu_share.given_memory(version, engine, entries, used, settings["gpu"]["cache_mb"], context)
    # Models that are not in the store can only be checked, not served, and their sizes are not known yet.
    if not all(entry["stored"] or entry["size"] for entry in entries):
        return 0
    fraction = settings["gpu"]["memory_fraction"]
    if len(entries) == 1 and not (
        engine.fraction_of_first_gpu and gpu_share.is_larger_than_first(engine, entries[0], used, fraction, context)
    ):
        return 0
    return gpu_share.shared_memory(version, engine, entries, used, fraction, context)


def _fit(
    engine: Engine, entries: list[dict[str, Any]], settings: Mapping[str, Any], gpus: Sequence[Gpu]
) -> dict[str, dict[str, Any]]:
    """What of each model would fit the GPUs, for the error of an engine that has no memory for it."""
    used = gpu_share.used_gpus(gpus, settings["gpu"].get("devices", []))
    fraction = settings["gpu"].get("memory_fraction", DEFAULT_MEMORY_FRACTION)
    return fit_table.fits_of(engine, entries, used, fraction, settings["models"].get("context_length", 0))


def _with_fit(error: StackError, entries: list[dict[str, Any]], fit: Mapping[str, Mapping[str, Any]]) -> StackError:
    """The refusal of a model that the GPUs have no room for, with what would fit; any other error as it is."""
    found = fit.get(entries[0]["id"])
    if error.id != gpu_share.NO_ROOM.id or len(entries) > 1 or not found:
        return error
    remedy = f"{error.remedy} {found['sentence']}"
    return StackError(
        error.fault._replace(sentence="{sentence}", remedy="{remedy}"), sentence=error.sentence, remedy=remedy
    )


def engine_plan(
    config: Mapping[str, Any],
    version: str,
    gpus: Sequence[Gpu],
    models: Sequence[Model],
    default_model: str = "",
    host: str | None = None,
    port: int | None = None,
    model_path: str | None = None,
    extra_environment: Any = None,
    extra_toml: Any = None,
    cores: int = 0,
) -> dict[str, Any]:
    """What the engine of that version is started with and what the gateway does instead; see the filter's pages."""
    errors: list[StackError] = []
    settings = check(config, errors)
    try:
        engine = engine_of(version)
    except StackError as error:
        raise StackErrors([*errors, error]) from error
    version = version.lstrip("v")
    variables = {
        "server.host": ("mistral_server_host", host),
        "server.port": ("mistral_server_port", port),
        "models.path": ("mistral_server_model_path", model_path),
    }
    check_outside(config, settings, variables, errors)
    gpu_settings.check_gpu(version, settings, gpus, errors)
    entries = check_models(version, engine, models, errors)
    default = find_default_model(entries, str(default_model), settings["models"].get("quantization", ""), errors)
    cpu = not gpus
    model_settings.resolve(version, engine, settings, entries, cpu, errors)
    model_settings.check_max_tokens(settings, entries, errors)
    gpu_settings.check_layers(version, settings, entries, gpus, errors)
    resolve_threads(version, settings, cores, errors)
    if errors or default is None:
        raise StackErrors(errors)

    fill_in(settings, cpu, model_settings.shortest_context(entries))
    fit = _fit(engine, entries, settings, gpus)
    try:
        memory_each = _memory_each(version, engine, entries, settings, gpus)
    except StackError as error:
        raise _with_fit(error, entries, fit) from error
    configuration = _configuration(engine, entries, default["id"], settings, cpu, memory_each) if engine.toml else {}
    if extra_toml and engine.toml:
        configuration = extras.with_toml(configuration, extra_toml, errors)
    elif extra_toml:
        errors.append(StackError(extras.NO_FILE, version=version))
    environment = extras.with_environment(_environment(engine, settings), extra_environment or {}, errors)
    if errors:
        raise StackErrors(errors)
    links: dict[str, str] = {}
    for entry in entries:
        links.update(_links(engine, entry))
    return {
        "version": version,
        "argv": ["from-config", "-f", CONFIGURATION_PATH] if engine.toml else _flags(engine, default, settings, cpu),
        "environment": environment,
        "toml": dumps(configuration) if engine.toml else "",
        "configuration": configuration,
        "working_directory": settings["models"]["path"],
        "default_model": default["id"],
        "links": links,
        "metrics": engine.metrics,
        # Not known counts as no: asking a model that has no template for a chat would prove a good server bad.
        "chat": default["chat"] is True,
        "settings": {section: keys for section, keys in settings.items() if keys},
        "gateway": {
            "version": version,
            "defaults": {
                key: settings["inference"][key]
                for key in ("temperature", "top_p", "max_tokens")
                if key in settings["inference"]
            },
            "models": gateway_models(entries, default["id"], bool(settings["models"].get("context_lengths"))),
            "default_model": default["id"],
            "context_length": settings["models"].get("context_length"),
            "max_tokens": model_settings.longest_answer(entries),
            "max_concurrent_requests": 1 if _one_at_a_time(engine, cpu) else 0,
        },
        "fit": fit,
        "warnings": _warnings(version, engine, entries, settings["server"]["host"], cpu),
    }
