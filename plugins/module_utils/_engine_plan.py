# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the operator's config.yml to what one version of the engine is started with.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Every key acts or is refused. The engine itself ignores keys that it doesn't know, so whatever is written into its
configuration here has been seen in the source of that version; what it can't do is done by the gateway, or refused.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils import _gpu_share, _model_names
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_table import (
    ENGINES as ENGINES,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_table import (
    Engine,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_table import (
    engine_of as engine_of,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._toml import dumps

UNKNOWN_SECTION = Fault(
    "config.unknown_section",
    "mistral_server_config: there is no section {section!r} (the sections are models, server, inference, gpu).",
    "{way_out}",
)
UNKNOWN_KEY = Fault(
    "config.unknown_key",
    "mistral_server_config: there is no key {key} (the section has {known}).",
    "{way_out}",
)
WRONG_TYPE = Fault(
    "config.wrong_type",
    "mistral_server_config: {key} is {value} ({found}), but must be {expected}.",
    "Correct the value, or remove the key to get the default.",
)
OUT_OF_RANGE = Fault(
    "config.out_of_range",
    "mistral_server_config: {key} is {value}, but must be {expected}.",
    "Correct the value, or remove the key to get the default.",
)
KEY_UNSUPPORTED = Fault(
    "config.key_unsupported",
    "mistral_server_config: mistral.rs {version} can't honour {key} here: {reason}.",
    "{way_out}",
)
CONTRADICTION = Fault(
    "config.contradiction",
    "mistral_server_config: {key} is {value}, which contradicts {other}.",
    "Say it in one place only, or the same in both.",
)
NO_MODELS = Fault(
    "config.no_models",
    "There is no model to serve.",
    "List at least one in mistral_models.",
)
WRONG_MODEL_ENTRY = Fault(
    "config.wrong_model_entry",
    "Entry {number} of mistral_models {problem}.",
    "Write each entry as a dictionary with at least a name.",
)
TOO_MANY_MODELS = Fault(
    "config.too_many_models",
    "mistral.rs {version} serves one model, but mistral_models lists {count}.",
    "Keep one model there, or use version 0.7.0 or newer.",
)
DUPLICATE_MODEL = Fault(
    "config.duplicate_model",
    "mistral_models gives two models the id {id!r}.",
    "Remove one, or give it another name.",
)
MODEL_FORMAT = Fault(
    "config.model_format",
    "The model {id!r} is the file {file!r}, which is neither a GGUF file nor a directory of SafeTensors.",
    "Use a GGUF file, or a repository of SafeTensors.",
)
ISQ_UNKNOWN = Fault(
    "config.unknown_isq",
    "The model {id!r} consists of SafeTensors, which the engine can't quantize to {quantization!r} when it loads them.",
    "Use one of {known}, or leave 'quantization' out to serve it as it is.",
)
TOKENIZER_CONFIG_MISSING = Fault(
    "config.tokenizer_config_missing",
    "mistral.rs {version} needs a tokenizer_config.json beside the tokenizer.json that was made for the model {id!r}, "
    "but there is none.",
    "Run the role mistral_models again, which makes both, or use mistral.rs 0.9.1 or newer.",
)
UNKNOWN_DEFAULT_MODEL = Fault(
    "config.unknown_default_model",
    "The default model {name!r}{quantization} is none of the models served (they are {known}).",
    "Set mistral_server_default_model (and models.quantization) to one of these, or add it to mistral_models.",
)

DEFAULT_MODEL_PATH = "/models"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 11434
# The engine generates until the model stops by itself when a request has no max_tokens, so there always is a default.
DEFAULT_MAX_TOKENS = 2048
DEFAULT_MEMORY_FRACTION = 0.9
CONFIGURATION_PATH = "/etc/mistral/engine.toml"
# Directories of the container that the models must not cover.
_RESERVED_PATHS = re.compile(r"/(bin|boot|dev|etc|lib|lib32|lib64|libx32|proc|run|sbin|sys|tmp|usr)(/|\Z)|/\Z|/var\Z")

Gpu = Mapping[str, Any]
Model = Mapping[str, Any]


class PlanError(Exception):
    """Everything that is wrong with a configuration, one line each."""

    def __init__(self, errors: Sequence[StackError]) -> None:
        self.errors = list(errors)
        self.id = self.errors[0].id
        super().__init__("\n".join(str(error) for error in errors))


# The engine quantizes SafeTensors when it loads them (in-situ quantization, "ISQ"), by the labels that GGUF files have.
ISQ_TYPES = {
    "q2_k": "q2k",
    "q3_k": "q3k",
    "q3_k_m": "q3k",
    "q4_0": "q4_0",
    "q4_1": "q4_1",
    "q4_k": "q4k",
    "q4_k_m": "q4k",
    "q5_0": "q5_0",
    "q5_1": "q5_1",
    "q5_k": "q5k",
    "q5_k_m": "q5k",
    "q6_k": "q6k",
    "q8_0": "q8_0",
    "hqq4": "hqq4",
    "hqq8": "hqq8",
    "fp8": "fp8",
}
_AS_STORED = ("bf16", "f16", "f32", "safetensors")


class Key(NamedTuple):
    """One key of config.yml: its type in words, a test of the type and one of the value."""

    expected: str
    of_type: Callable[[Any], bool]
    allowed: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_device_list(value: Any) -> bool:
    return isinstance(value, list) and all(_is_int(item) or _is_str(item) for item in value)


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _is_container_path(value: str) -> bool:
    plain = re.match(r"(/[A-Za-z0-9_][A-Za-z0-9._-]*)+\Z", value)
    return bool(plain) and not _RESERVED_PATHS.match(value)


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: bool(low <= value <= high)


SCHEMA: dict[str, dict[str, Key]] = {
    "models": {
        "path": Key("an absolute path in the container outside its system directories", _is_str, _is_container_path),
        "quantization": Key(
            "a quantization's name such as Q4_K_M",
            _is_str,
            lambda value: bool(re.match(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}\Z", value)),
        ),
        "context_length": Key("a whole number of tokens from 16 to 16777216", _is_int, _between(16, 16777216)),
    },
    "server": {
        "host": Key("an IP address of this host, 127.0.0.1 or 0.0.0.0 for example", _is_str, _is_address),
        "port": Key("a whole number from 1 to 65535", _is_int, _between(1, 65535)),
        "num_threads": Key("a whole number from 1 to 1024", _is_int, _between(1, 1024)),
    },
    "inference": {
        "temperature": Key("a number from 0 to 2", _is_number, _between(0, 2)),
        "top_p": Key("a number above 0 and up to 1", _is_number, lambda value: bool(0 < value <= 1)),
        "max_tokens": Key("a whole number from 1 to 16777216", _is_int, _between(1, 16777216)),
        "batch_size": Key("a whole number from 1 to 1024", _is_int, _between(1, 1024)),
    },
    "gpu": {
        "memory_fraction": Key("a number from 0.05 to 0.98", _is_number, _between(0.05, 0.98)),
        "allow_growth": Key("true or false", _is_bool, lambda value: True),
        "devices": Key(
            "a list of different GPU indexes or UUIDs of this host",
            _is_device_list,
            lambda value: len(value) > 0 and len({str(item) for item in value}) == len(value),
        ),
        "tensor_parallel": Key("a whole number from 1 to 64", _is_int, _between(1, 64)),
    },
}


def _kind_of(value: Any) -> str:
    if value is None:
        return "empty"
    for kind, test in (("a boolean", _is_bool), ("an integer", _is_int), ("a number", _is_number), ("a text", _is_str)):
        if test(value):
            return kind
    return "a list" if isinstance(value, (list, tuple)) else "a mapping"


def _shown(value: Any) -> str:
    text = "empty" if value is None else repr(value) if isinstance(value, (str, float, int)) else str(value)
    text = {"True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 60 else text[:57] + "..."


def _plain(value: Any) -> Any:
    """The value without whatever Ansible hangs on it, so that a plan is plain data."""
    if isinstance(value, (bool, int, float)):
        return value if isinstance(value, bool) else int(value) if isinstance(value, int) else float(value)
    return [_plain(item) for item in value] if isinstance(value, list) else str(value)


def _unknown_key(section: str, key: str) -> StackError:
    elsewhere = [f"{other}.{key}" for other, keys in SCHEMA.items() if key in keys]
    close = difflib.get_close_matches(key, SCHEMA[section], n=1)
    if elsewhere:
        way_out = f"It belongs into the section {elsewhere[0].split('.')[0]}: move it there."
    elif close:
        way_out = f"Did you mean {section}.{close[0]}?"
    else:
        way_out = "Remove it."
    return StackError(UNKNOWN_KEY, key=f"{section}.{key}", known=", ".join(SCHEMA[section]), way_out=way_out)


def _unknown_section(section: str) -> StackError:
    owner = [name for name, keys in SCHEMA.items() if section in keys]
    close = difflib.get_close_matches(section, SCHEMA, n=1)
    if owner:
        way_out = f"{section} is a key of the section {owner[0]}: move it there."
    else:
        way_out = f"Did you mean {close[0]!r}?" if close else "Remove it."
    return StackError(UNKNOWN_SECTION, section=section, way_out=way_out)


def check(config: Mapping[str, Any], errors: list[StackError]) -> dict[str, dict[str, Any]]:
    """The settings that are well-formed, by section; an error is added for each that isn't."""
    settings: dict[str, dict[str, Any]] = {section: {} for section in SCHEMA}
    for section, keys in config.items():
        section = str(section)
        if section not in SCHEMA:
            errors.append(_unknown_section(section))
            continue
        if keys is None:
            continue
        if not isinstance(keys, Mapping):
            expected = "a mapping of keys to values"
            errors.append(
                StackError(WRONG_TYPE, key=section, value=_shown(keys), found=_kind_of(keys), expected=expected)
            )
            continue
        for key, value in keys.items():
            key = str(key)
            rule = SCHEMA[section].get(key)
            name = f"{section}.{key}"
            if rule is None:
                errors.append(_unknown_key(section, key))
            elif not rule.of_type(value):
                errors.append(
                    StackError(WRONG_TYPE, key=name, value=_shown(value), found=_kind_of(value), expected=rule.expected)
                )
            elif not rule.allowed(value):
                errors.append(StackError(OUT_OF_RANGE, key=name, value=_shown(value), expected=rule.expected))
            else:
                settings[section][key] = _plain(value)
    return settings


def _check_outside(
    config: Mapping[str, Any],
    settings: dict[str, dict[str, Any]],
    variables: Mapping[str, tuple[str, Any]],
    errors: list[StackError],
) -> None:
    """A setting that also is a variable of its own has one value: that of both."""
    for name, (variable, value) in variables.items():
        section, key = name.split(".")
        rule = SCHEMA[section][key]
        given = settings[section].get(key)
        section_said = config.get(section)
        if value is None:
            continue
        if given is not None and given != value:
            other = f"{variable} ({_shown(value)})"
            errors.append(StackError(CONTRADICTION, key=name, value=_shown(given), other=other))
        elif rule.of_type(value) and rule.allowed(value):
            settings[section][key] = _plain(value)
        elif not (isinstance(section_said, Mapping) and key in section_said):
            # Otherwise the variable only repeats the key, whose error has been said.
            errors.append(StackError(OUT_OF_RANGE, key=variable, value=_shown(value), expected=rule.expected))


def _check_gpu(
    version: str, settings: dict[str, dict[str, Any]], gpus: Sequence[Gpu], errors: list[StackError]
) -> None:
    gpu = settings["gpu"]
    if not gpus:
        for key in gpu:
            errors.append(
                StackError(
                    KEY_UNSUPPORTED,
                    version=version,
                    key=f"gpu.{key}",
                    reason="this host has no GPU, the engine runs on the CPU",
                    way_out="Remove it for this host.",
                )
            )
        return
    if gpu.get("allow_growth") and "memory_fraction" in gpu:
        errors.append(
            StackError(
                CONTRADICTION,
                key="gpu.allow_growth",
                value="true",
                other="gpu.memory_fraction: memory either grows with use or is set aside at the start",
            )
        )
    if gpu.get("tensor_parallel", 1) > 1:
        errors.append(
            StackError(
                KEY_UNSUPPORTED,
                version=version,
                key="gpu.tensor_parallel",
                reason="it doesn't split GGUF models that way, it spreads their layers over the GPUs by itself",
                way_out="Remove it, or set it to 1.",
            )
        )
    present = {str(item.get("index", position)) for position, item in enumerate(gpus)}
    present |= {str(item["uuid"]) for item in gpus if item.get("uuid")}
    missing = [str(device) for device in gpu.get("devices", []) if str(device) not in present]
    if missing:
        errors.append(
            StackError(
                OUT_OF_RANGE,
                key="gpu.devices",
                value=_shown(gpu["devices"]),
                expected=f"among the GPUs of this host ({', '.join(sorted(present))})",
            )
        )


def _check_models(
    version: str, engine: Engine, models: Sequence[Model], errors: list[StackError]
) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    model: Any  # What the operator wrote; it need not be what it should.
    for number, model in enumerate(models, start=1):
        if not isinstance(model, Mapping):
            errors.append(StackError(WRONG_MODEL_ENTRY, number=number, problem="is not a dictionary"))
            continue
        if not (model.get("name") or model.get("file")):
            errors.append(StackError(WRONG_MODEL_ENTRY, number=number, problem="has no name"))
            continue
        quantization = model.get("quantization") or None
        try:
            file = str(model.get("file") or _model_names.store_file_name(str(model["name"]), quantization))
            identity = str(model.get("id") or _model_names.model_id(file))
            names = model.get("aliases") or _model_names.aliases(str(model.get("name", file)), quantization, file)
        except StackError as error:
            errors.append(error)
            continue
        if any(entry["id"] == identity for entry in entries):
            errors.append(StackError(DUPLICATE_MODEL, id=identity))
            continue
        files = [str(name) for name in model.get("files") or []]
        shards = [name for name in files if name.lower().endswith(".gguf")]
        is_plain = any(name.endswith(".safetensors") for name in files) and not shards
        if not (shards or is_plain or file.lower().endswith(".gguf")):
            errors.append(StackError(MODEL_FORMAT, id=identity, file=file))
            continue
        uqff = sorted(name for name in files if name.endswith(".uqff"))
        isq = ISQ_TYPES.get(str(quantization or "").lower(), "") if is_plain and not uqff else ""
        if is_plain and not uqff and quantization and not isq and str(quantization).lower() not in _AS_STORED:
            known = ", ".join(ISQ_TYPES)
            errors.append(StackError(ISQ_UNKNOWN, id=identity, quantization=quantization, known=known))
            continue
        entries.append(
            {
                "id": identity,
                "file": file,
                # A model of several files: all of them lie in one directory.
                "files": files,
                "shards": shards,
                "is_plain": is_plain,
                "isq": isq,
                "isq_label": str(quantization or "") if isq else "",
                "uqff": uqff,
                "quantization": str(quantization or ""),
                "aliases": [str(name) for name in names],
                "path": str(model.get("path") or ""),
                "size": model.get("size") or 0,
                "gguf": model.get("gguf") or {},
                "tokenizer": str(model.get("tokenizer") or ""),
                "tokenizer_config": str(model.get("tokenizer_config") or ""),
                "config": str(model.get("config") or ""),
                "chat_template": str(model.get("chat_template") or ""),
                # Whether it answers chats; None is not known, before the model is in the store.
                "chat": True if model.get("chat_template") else model.get("embedded_chat_template"),
            }
        )
    if not models:
        errors.append(StackError(NO_MODELS))
    if len(entries) > 1 and not engine.many_models:
        errors.append(StackError(TOO_MANY_MODELS, version=version, count=len(entries)))
    for entry in entries:
        if _named_tokenizer(engine, entry) and not entry["tokenizer_config"]:
            errors.append(StackError(TOKENIZER_CONFIG_MISSING, version=version, id=entry["id"]))
    return entries


def _named_tokenizer(engine: Engine, entry: Mapping[str, Any]) -> bool:
    """Whether the engine reads the model's tokenizer.json only from a directory that is named for it."""
    return bool(entry["tokenizer"]) and not engine.files_beside


def _has_quantization(entry: Mapping[str, Any], quantization: str) -> bool:
    wanted = quantization.lower()
    own, identity = str(entry["quantization"]).lower(), str(entry["id"]).lower()
    return own == wanted or identity.endswith(("-" + wanted, "." + wanted))


def _default_model(
    entries: list[dict[str, Any]], name: str, quantization: str, errors: list[StackError]
) -> dict[str, Any] | None:
    candidates = [entry for entry in entries if not name or name in entry["aliases"] or name == entry["id"]]
    if quantization:
        candidates = [entry for entry in candidates if _has_quantization(entry, quantization)]
    if candidates:
        return candidates[0]
    if entries:
        errors.append(
            StackError(
                UNKNOWN_DEFAULT_MODEL,
                name=name or "(the first)",
                quantization=f" with models.quantization {quantization}" if quantization else "",
                known=", ".join(entry["id"] for entry in entries),
            )
        )
    return None


def _gateway_models(entries: list[dict[str, Any]], default_id: str) -> list[dict[str, Any]]:
    """Each name leads to one model: its own, else the default one, else the first that claims it."""
    ranked = sorted(range(len(entries)), key=lambda index: (entries[index]["id"] != default_id, index))
    owner = {entry["id"]: entry["id"] for entry in entries}
    for index in ranked:
        for alias in entries[index]["aliases"]:
            owner.setdefault(alias, entries[index]["id"])
    return [
        {
            "id": entry["id"],
            "aliases": [name for name in dict.fromkeys([entry["id"], *entry["aliases"]]) if owner[name] == entry["id"]],
        }
        for entry in entries
    ]


def _links(engine: Engine, entry: Mapping[str, Any]) -> dict[str, str]:
    if not entry["path"]:
        return {}
    if entry["files"]:
        links = {f"{entry['id']}/{name}": f"{entry['path']}/{name}" for name in entry["files"]}
    else:
        links = {f"{entry['id']}/{entry['file']}": entry["path"]}
    if entry["tokenizer"]:
        links[f"{entry['id']}/tokenizer.json"] = entry["tokenizer"]
    if _named_tokenizer(engine, entry):
        links[f"{entry['id']}/tokenizer_config.json"] = entry["tokenizer_config"]
    if entry["config"] and engine.files_beside:
        links[f"{entry['id']}/config.json"] = entry["config"]
    if entry["chat_template"]:
        links[f"{entry['id']}/{entry['id']}.jinja"] = entry["chat_template"]
    return links


def _uqff(engine: Engine, entry: Mapping[str, Any]) -> str:
    """The shards of a model in the engine's own format; unlike GGUF's, they have always been divided by semicolons."""
    return str(entry["uqff"][0]) if engine.finds_uqff_shards else ";".join(entry["uqff"])


def _needs_dtype(engine: Engine, entry: Mapping[str, Any]) -> bool:
    """Whether a model on the CPU fails several requests at once in F32, which the engine would choose there.

    SafeTensors that are served as they are don't: they keep F32, which holds whatever they were stored in.
    """
    if entry["is_plain"]:
        return engine.f32_fails_quantized and bool(entry["isq"] or entry["uqff"])
    return engine.f32_fails_gguf


def _toml_model(engine: Engine, entry: Mapping[str, Any], settings: Mapping[str, Any], cpu: bool) -> dict[str, Any]:
    identity = entry["id"]
    model: dict[str, Any] = {}
    if engine.explicit_kind:
        model["kind"] = "auto"
    model["model_id"] = identity
    if cpu and _needs_dtype(engine, entry):
        # F16 would be more exact, but the activations of some models (Gemma's, for one) exceed its range.
        model["dtype"] = "bf16"
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
        if _named_tokenizer(engine, entry):
            # The model is called like this directory, so it is the model's own.
            model["format"]["tok_model_id"] = identity
    device: dict[str, Any] = {}
    if cpu:
        device["cpu"] = True
    if "context_length" in settings["models"]:
        device["max_seq_len"] = settings["models"]["context_length"]
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
        paged = {"mode": "on", "memory_fraction": settings["gpu"]["memory_fraction"]}
        if memory_each:
            paged = {"mode": "on", "memory_mb": memory_each * (len(entries) if engine.shares_memory_mb else 1)}
    configuration: dict[str, Any] = {
        "command": "serve",
        "default_model_id": default_id,
        "global": {"token_source": "none"},
        "server": server,
        "paged_attn": paged,
    }
    if "batch_size" in settings["inference"]:
        configuration["runtime"] = {"max_seqs": settings["inference"]["batch_size"]}
    configuration["models"] = [_toml_model(engine, entry, settings, cpu) for entry in entries]
    return configuration


def _flags(engine: Engine, entry: Mapping[str, Any], settings: Mapping[str, Any], cpu: bool) -> list[str]:
    """The command line of v0.6.0, which knows no configuration file: the server's flags come before the subcommand."""
    flags = ["--serve-ip", "0.0.0.0", "--port", str(settings["server"]["port"]), "--token-source", "none"]
    if cpu:
        flags.append("--cpu")
    elif settings["gpu"]["allow_growth"]:
        flags.append("--no-paged-attn")
    else:
        flags += ["--pa-gpu-mem-usage", str(settings["gpu"]["memory_fraction"])]
    if "batch_size" in settings["inference"]:
        flags += ["--max-seqs", str(settings["inference"]["batch_size"])]
    if entry["chat_template"]:
        flags += ["--jinja-explicit", f"{entry['id']}/{entry['id']}.jinja"]
    if entry["isq"]:
        flags += ["--isq", entry["isq"]]
    if entry["is_plain"]:
        flags += ["plain", "-m", entry["id"], *(["--from-uqff", _uqff(engine, entry)] if entry["uqff"] else [])]
    else:
        tokenizer = ["-t", entry["id"]] if _named_tokenizer(engine, entry) else []
        file = engine.between_shards.join(entry["shards"] or [entry["file"]])
        flags += ["gguf", *tokenizer, "-m", entry["id"], "-f", file]
    if "context_length" in settings["models"]:
        flags += ["--max-seq-len", str(settings["models"]["context_length"])]
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


def _effective(settings: dict[str, dict[str, Any]], cpu: bool) -> None:
    """Fill in the defaults that act, so that the operator's view shows what the engine really does."""
    settings["models"].setdefault("path", DEFAULT_MODEL_PATH)
    settings["server"].setdefault("host", DEFAULT_HOST)
    settings["server"].setdefault("port", DEFAULT_PORT)
    context = settings["models"].get("context_length", DEFAULT_MAX_TOKENS)
    settings["inference"].setdefault("max_tokens", min(DEFAULT_MAX_TOKENS, context))
    if not cpu and not settings["gpu"].setdefault("allow_growth", False):
        settings["gpu"].setdefault("memory_fraction", DEFAULT_MEMORY_FRACTION)


def _memory_each(
    version: str, engine: Engine, entries: list[dict[str, Any]], settings: Mapping[str, Any], gpus: Sequence[Gpu]
) -> int:
    """The MiB for each model's KV cache; 0 where it is told by the memory fraction, or not set aside."""
    if not gpus or settings["gpu"]["allow_growth"]:
        return 0
    # Models that are not in the store can only be checked, not served, and their sizes are not known yet.
    if not any(entry["path"] or entry["size"] for entry in entries):
        return 0
    used = list(gpus)
    if "devices" in settings["gpu"]:
        named = {str(gpu.get("index", position)): gpu for position, gpu in enumerate(gpus)}
        named.update({str(gpu["uuid"]): gpu for gpu in gpus if gpu.get("uuid")})
        used = [named[str(device)] for device in settings["gpu"]["devices"]]
    context, fraction = settings["models"].get("context_length", 0), settings["gpu"]["memory_fraction"]
    if len(entries) == 1 and not (
        engine.fraction_of_first_gpu and _gpu_share.is_larger_than_first(entries[0], used, fraction, context)
    ):
        return 0
    return _gpu_share.shared_memory(version, entries, used, fraction, context)


def engine_plan(
    config: Mapping[str, Any],
    version: str,
    gpus: Sequence[Gpu],
    models: Sequence[Model],
    default_model: str = "",
    host: str | None = None,
    port: int | None = None,
    model_path: str | None = None,
) -> dict[str, Any]:
    """What the engine of that version is started with and what the gateway does instead; see the filter's pages."""
    errors: list[StackError] = []
    settings = check(config, errors)
    try:
        engine = engine_of(version)
    except StackError as error:
        raise PlanError([*errors, error]) from error
    version = version.lstrip("v")
    variables = {
        "server.host": ("mistral_server_host", host),
        "server.port": ("mistral_server_port", port),
        "models.path": ("mistral_server_model_path", model_path),
    }
    _check_outside(config, settings, variables, errors)
    _check_gpu(version, settings, gpus, errors)
    entries = _check_models(version, engine, models, errors)
    default = _default_model(entries, str(default_model), settings["models"].get("quantization", ""), errors)
    context = settings["models"].get("context_length")
    if context is not None and settings["inference"].get("max_tokens", 0) > context:
        errors.append(
            StackError(
                OUT_OF_RANGE,
                key="inference.max_tokens",
                value=settings["inference"]["max_tokens"],
                expected=f"at most models.context_length ({context})",
            )
        )
    if errors or default is None:
        raise PlanError(errors)

    cpu = not gpus
    _effective(settings, cpu)
    try:
        memory_each = _memory_each(version, engine, entries, settings, gpus)
    except StackError as error:
        raise PlanError([error]) from error
    configuration = _configuration(engine, entries, default["id"], settings, cpu, memory_each) if engine.toml else {}
    links: dict[str, str] = {}
    for entry in entries:
        links.update(_links(engine, entry))
    return {
        "version": version,
        "argv": ["from-config", "-f", CONFIGURATION_PATH] if engine.toml else _flags(engine, default, settings, cpu),
        "environment": _environment(engine, settings),
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
            "defaults": {
                key: settings["inference"][key]
                for key in ("temperature", "top_p", "max_tokens")
                if key in settings["inference"]
            },
            "models": _gateway_models(entries, default["id"]),
            "default_model": default["id"],
            "context_length": context,
            "max_tokens": context,
            "max_concurrent_requests": 1 if _one_at_a_time(engine, cpu) else 0,
        },
        "warnings": _warnings(version, engine, entries, settings["server"]["host"], cpu),
    }
