# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The models that the engine serves: their names, files and formats.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.row import Engine
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model import naming

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
    "The default model {name!r}{quantization} is not one of the models served (they are {known}).",
    "Set mistral_server_default_model (and models.quantization) to one of these, or add it to mistral_models.",
)

Model = Mapping[str, Any]

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


def check_models(
    version: str, engine: Engine, models: Sequence[Model], errors: list[StackError]
) -> list[dict[str, Any]]:
    """The models as entries of the plan; what is wrong with them is added to C(errors)."""
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
            file = str(model.get("file") or naming.store_file_name(str(model["name"]), quantization))
            identity = str(model.get("id") or naming.model_id(file))
            names = model.get("aliases") or naming.aliases(str(model.get("name", file)), quantization, file)
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
                # A check mode's result names the path before the model is there.
                "stored": bool(model.get("path")) and model.get("verified_by") != "none",
                "size": model.get("size") or 0,
                "sha256": str(model.get("sha256") or ""),
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
        if named_tokenizer(engine, entry) and not entry["tokenizer_config"]:
            errors.append(StackError(TOKENIZER_CONFIG_MISSING, version=version, id=entry["id"]))
    return entries


def named_tokenizer(engine: Engine, entry: Mapping[str, Any]) -> bool:
    """Whether the engine reads the model's tokenizer.json only from a directory that is named for it."""
    return bool(entry["tokenizer"]) and not engine.files_beside


def _has_quantization(entry: Mapping[str, Any], quantization: str) -> bool:
    wanted = quantization.lower()
    own, identity = str(entry["quantization"]).lower(), str(entry["id"]).lower()
    return own == wanted or identity.endswith(("-" + wanted, "." + wanted))


def find_default_model(
    entries: list[dict[str, Any]], name: str, quantization: str, errors: list[StackError]
) -> dict[str, Any] | None:
    """The entry that C(name) and C(quantization) mean, the first if they are empty; None and an error without one."""
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


def gateway_models(entries: list[dict[str, Any]], default_id: str, with_context: bool = False) -> list[dict[str, Any]]:
    """Each name leads to one model: its own, else the default one, else the first that claims it.

    C(with_context) says the context of each where they differ.
    """
    ranked = sorted(range(len(entries)), key=lambda index: (entries[index]["id"] != default_id, index))
    owner = {entry["id"]: entry["id"] for entry in entries}
    for index in ranked:
        for alias in entries[index]["aliases"]:
            owner.setdefault(alias, entries[index]["id"])
    return [
        {
            "id": entry["id"],
            "aliases": [name for name in dict.fromkeys([entry["id"], *entry["aliases"]]) if owner[name] == entry["id"]],
            **_details(entry),
            **({"context_length": entry["context_length"]} if with_context and entry["context_length"] else {}),
        }
        for entry in entries
    ]


def _details(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What clients are told about a model, as far as it is known: before it is in the store most of it is not."""
    gguf = entry["gguf"]
    known = {
        "digest": entry["sha256"],
        "size": entry["size"],
        "quantization": gguf.get("quantization") or entry["quantization"].upper(),
        "family": gguf.get("architecture"),
        "parameters": _parameters(int(gguf.get("parameters") or 0)),
        "embedding_length": gguf.get("embedding_length"),
    }
    return {name: value for name, value in known.items() if value}


def _parameters(count: int) -> str:
    """A number of parameters as Ollama shows it: 134.52M, 7.2B."""
    if count >= 10**9:
        return f"{count / 10**9:.1f}B"
    return f"{count / 10**6:.2f}M" if count else ""
