# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a hand-run Compose stack to the variables of an inventory, and what to know about them.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

The stack is the one that this collection replaces: an C(.env), a C(config.yml) and a flat directory of models. Its
models stay where they are: the directory becomes the store, which adopts the files under the names that they have.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import yaml
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.gpu_share import NO_ROOM
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.plan import engine_plan
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.served_models import TOO_MANY_MODELS
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.settings import check
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import DEFAULT_VERSION
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model import naming, quantization_names
from ansible_collections.mistralrs.stack.plugins.plugin_utils import _env_file

CONFIG_UNREADABLE = Fault(
    "migrate.config_unreadable",
    "{path} can't be read as settings: {why}.",
    "Correct the file, or give another one with -e migrate_config=PATH.",
)
NO_MODELS = Fault(
    "migrate.no_models",
    "There is no GGUF model in {path}.",
    "Give the directory that has them with -e migrate_models=PATH, or set MISTRAL_MODELS_PATH in the stack's .env.",
)

# Where the seed kept models if its .env doesn't say.
MODELS = "data/mistral-models"
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN")
_SECRET = re.compile(r"TOKEN|SECRET|PASS|KEY|CREDENTIAL", re.IGNORECASE)
_EVERYBODY = ("0.0.0.0", "::")
# What a key does now, where somebody who set it for the hand-run stack may expect something else.
_MEANINGS = {
    "models.quantization": "chooses among the models that are there; nothing is quantized by it.",
    "models.context_length": "is what the engine plans its memory for; the gateway lets no answer be longer.",
    "server.num_threads": "is the number of threads for work on the CPU only.",
    "inference.temperature": "is what the gateway adds to requests that don't say it.",
    "inference.top_p": "is what the gateway adds to requests that don't say it.",
    "inference.max_tokens": "is what the gateway adds to requests that don't say it.",
    "inference.batch_size": "is how many requests are worked on at once; others wait at the gateway.",
    "gpu.memory_fraction": "is the share of the GPUs' memory for weights and KV cache, of all models together.",
}


class Stack(NamedTuple):
    """What was found on the host. C(env) and C(config) are C(path) and C(text), the text '' where there is none.

    C(models) have C(path), C(size) and C(gguf); C(rejected) have C(path) and C(why). C(gpus) are those of the filter
    gpu_devices, C(containers) the names of those that publish the stack's port.
    """

    base: str
    env: tuple[str, str]
    config: tuple[str, str]
    models_path: str
    models: Sequence[Mapping[str, Any]]
    rejected: Sequence[Mapping[str, str]]
    gpus: Sequence[Mapping[str, Any]]
    containers: Sequence[str]


class Migration(NamedTuple):
    """The variables of the inventory, those that are secret, entries of mistral_models that are not served, remarks."""

    variables: dict[str, Any]
    secrets: dict[str, str]
    unserved: list[dict[str, str]]
    remarks: list[str]


def plain(value: Any) -> Any:
    """The value without whatever Ansible hangs on it."""
    return json.loads(json.dumps(value))


def _read_config(path: str, text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise StackError(CONFIG_UNREADABLE, path=path, why=f"it is not valid YAML{where}") from None
    if found is not None and not isinstance(found, dict):
        raise StackError(CONFIG_UNREADABLE, path=path, why="it is not a mapping of sections")
    return {str(key): value for key, value in (found or {}).items()}


def entry_of(path: str, store: str) -> dict[str, str]:
    """The entry of mistral_models by which the store adopts the file at C(path), under every name that it had.

    Raises C(model.unsafe_name) where its name is none that a store can have.
    """
    file = posixpath.basename(path)
    label = quantization_names.label_of(file).lower()
    stem = file[: -len(naming.SUFFIX)]
    name = stem[: -len(label) - 1] if label and stem.lower().endswith("-" + label) else ""
    source = f"file://{quote(posixpath.join(store, file))}"
    if name and naming.store_file_name(name, label) == file:
        return {"name": name, "quantization": label, "source": source}
    kept = naming.store_file_name(file, None)
    if kept != file:
        raise StackError(naming.UNSAFE_NAME, what="model name", name=file, why="it does not end in .gguf")
    return {"name": file, "source": source}


def not_adopted(found: Mapping[str, Any]) -> str:
    """Why something else in the directory of models is left out; '' if nobody will miss it."""
    if found.get("isdir"):
        return (
            "a model of several files is not adopted where it is. Move it out of this directory, and add it to "
            "mistral_models with its new place as source (file:///...)."
        )
    if found.get("islnk") and str(found["path"]).endswith(naming.SUFFIX):
        return "it is a link. Put the file itself there, and add it to mistral_models."
    return ""


def _entries(stack: Stack, remarks: list[str]) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Each model as an entry of mistral_models, and as the filter engine_plan takes it."""
    found = []
    for each in sorted(plain(stack.models), key=lambda model: str(model["path"])):
        try:
            entry = entry_of(each["path"], stack.models_path)
        except StackError as error:
            remarks.append(f"{each['path']} is left out: {error.sentence} Rename it, and add it to mistral_models.")
            continue
        known = {**entry, "path": each["path"], "size": each["size"], "gguf": each["gguf"]}
        found.append((entry, {**known, "embedded_chat_template": bool(each["gguf"].get("chat_template"))}))
    remarks += [f"{each['path']} is left out: {each['why']}" for each in stack.rejected]
    if not found:
        raise StackError(NO_MODELS, path=stack.models_path)
    return found


def _default_first(
    entries: list[tuple[dict[str, str], dict[str, Any]]], name: str, quantization: str
) -> tuple[list[tuple[dict[str, str], dict[str, Any]]], bool]:
    """The entries with the default model first, and whether it was found by C(name) and C(quantization)."""

    def closeness(pair: tuple[dict[str, str], dict[str, Any]]) -> int:
        entry = pair[0]
        file = posixpath.basename(unquote(entry["source"]))
        label = quantization_names.label_of(file).lower()
        names = {alias.lower() for alias in naming.aliases(entry["name"], entry.get("quantization"), file)}
        wanted = name.lower()
        score = 4 if wanted in names else 2 if wanted and file.lower().startswith(wanted) else 0
        return score + (1 if score and quantization and label == quantization.lower() else 0)

    ranked = sorted(entries, key=closeness, reverse=True)
    return ranked, not name or closeness(ranked[0]) > 0


def _settings(stack: Stack, variables: dict[str, Any], remarks: list[str]) -> dict[str, Any]:
    """The settings of config.yml that still say something; what does not is remarked."""
    given = _read_config(*stack.config)
    errors: list[StackError] = []
    settings = {section: keys for section, keys in check(given, errors).items() if keys}
    remarks += [f"Left out of config.yml: {error.sentence}" for error in errors]
    if "gpu" in settings and not stack.gpus:
        remarks.append("Left out of config.yml: the section gpu, because the host has no GPU that can be used.")
        del settings["gpu"]
    same = {"server.host": "mistral_server_host", "server.port": "mistral_server_port"}
    same["models.path"] = "mistral_server_model_path"
    for name, variable in same.items():
        section, key = name.split(".")
        value = settings.get(section, {}).pop(key, None)
        if value is not None and variables.setdefault(variable, value) != value:
            remarks.append(f".env says {variables[variable]} and config.yml {name}: {value}; .env has won.")
    for section, keys in settings.items():
        remarks += [
            f"{section}.{key} {_MEANINGS[f'{section}.{key}']}" for key in keys if f"{section}.{key}" in _MEANINGS
        ]
    return {section: keys for section, keys in settings.items() if keys}


def _secrets(others: Mapping[str, str], remarks: list[str]) -> dict[str, str]:
    """The hub's token; of what else is in the .env only the names are told."""
    token = next((name for name in _TOKENS if others.get(name)), "")
    left = sorted(name for name in others if name != token)
    hidden = [name for name in left if _SECRET.search(name)]
    if token:
        remarks.append(
            f"{token} is in group_vars/all/secrets.yml, which only you can read. Encrypt it: "
            "ansible-vault encrypt group_vars/all/secrets.yml"
        )
    if hidden:
        remarks.append(f"Secrets of the .env that nothing here uses, so they were not copied: {', '.join(hidden)}.")
    rest = [name for name in left if name not in hidden]
    if rest:
        remarks.append(f"Settings of the .env that nothing here uses: {', '.join(rest)}.")
    return {"mistral_models_token": others[token]} if token else {}


def _listening(variables: dict[str, Any], remarks: list[str]) -> None:
    """The engine has no authentication: what the stack opened to everybody is the gateway's now."""
    host = str(variables.get("mistral_server_host", ""))
    port = variables.get("mistral_server_port", 11434)
    if host in _EVERYBODY:
        del variables["mistral_server_host"]
        remarks.append(
            f"The engine listened on {host}, port {port}, for everybody. It now listens on 127.0.0.1, and clients use "
            "the gateway: https://HOST/v1 with a key from .credentials/ of this inventory."
        )


def _replaced(stack: Stack, variables: dict[str, Any], remarks: list[str]) -> None:
    """The container that gives way; several can't be told apart."""
    if len(stack.containers) == 1:
        variables["mistral_server_replaces"] = stack.containers[0]
    else:
        found = f"several ({', '.join(stack.containers)})" if stack.containers else "none"
        remarks.append(
            f"Containers that publish the engine's port: {found}. Set mistral_server_replaces to the name of the old "
            "engine's, or stop it before the run."
        )


def _check(
    config: dict[str, Any], variables: Mapping[str, Any], models: Sequence[Mapping[str, Any]], gpus: Any
) -> list[StackError]:
    version = str(variables.get("mistral_image_mistralrs_version") or DEFAULT_VERSION)
    names = {"mistral_server_port": "port", "mistral_server_model_path": "model_path", "mistral_server_host": "host"}
    given = {option: variables[name] for name, option in names.items() if name in variables}
    try:
        engine_plan(config, version, gpus, models, str(variables.get("mistral_server_default_model", "")), **given)
    except StackError as error:
        return error.errors
    return []


def migrate(stack: Stack) -> Migration:
    """What the inventory says. Raises StackError where the stack can't be read."""
    remarks: list[str] = []
    others: dict[str, str] = {}
    env = _env_file.parse(stack.env[1], stack.env[0], base=stack.base, others=others)
    variables: dict[str, Any] = {"mistral_models_path": stack.models_path}
    variables.update({name: value for name, value in env.items() if name != "mistral_models_path"})
    config = _settings(stack, variables, remarks)
    _listening(variables, remarks)
    entries = _entries(stack, remarks)
    default = str(variables.get("mistral_server_default_model", ""))
    quantization = str(config.get("models", {}).get("quantization", ""))
    entries, known = _default_first(entries, default, quantization)
    first = entries[0][0]
    if not known:
        remarks.append(
            f"DEFAULT_MODEL={default} is none of the models in {stack.models_path}; the default is now {first['name']}."
        )
    if default:
        # By its place in the list: the old name may be the beginning of a file's name only.
        variables.pop("mistral_server_default_model")
        config.get("models", {}).pop("quantization", None)
    version = variables.get("mistral_image_mistralrs_version", "")
    if version and version != DEFAULT_VERSION:
        remarks.append(
            f"The engine stays at mistral.rs {version}, as the .env says. Without mistral_image_mistralrs_version and "
            f"mistral_image_cuda_version it is {DEFAULT_VERSION}, with the CUDA that suits the driver."
        )
    remarks.append(
        f"The models stay in {stack.models_path}, which becomes root's; the first run reads each of them once for its "
        "SHA-256, and downloads nothing."
    )
    served = list(entries)
    errors = _check(config, variables, [model for _entry, model in served], stack.gpus)
    if len(served) > 1 and {error.id for error in errors} & {TOO_MANY_MODELS.id, NO_ROOM.id}:
        reason = next(error.sentence for error in errors if error.id in (TOO_MANY_MODELS.id, NO_ROOM.id))
        remarks.append(f"Only {first['name']} is served; the others are comments in the inventory. {reason}")
        served = entries[:1]
        errors = _check(config, variables, [model for _entry, model in served], stack.gpus)
    remarks += [f"To be corrected before the first run: {error}" for error in errors]
    config = {section: keys for section, keys in config.items() if keys}
    variables["mistral_models"] = [entry for entry, _model in served]
    if config:
        variables["mistral_server_config"] = config
    _replaced(stack, variables, remarks)
    return Migration(variables, _secrets(others, remarks), [entry for entry, _model in entries[len(served) :]], remarks)
