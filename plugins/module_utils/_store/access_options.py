# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of modules that ask hubs and registries; their documentation is the fragment C(mistralrs.stack.hub).

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import http_client, huggingface
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import Settings
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.url import is_loopback, redact

# A job has L{Access}, but not Ansible.
if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

TOKEN_UNREADABLE = Fault(
    "model.token_unreadable",
    "The file {path} with the hub's token can't be read on this host: {why}.",
    "Correct 'token_file' or its permissions.",
)
TOKEN_MALFORMED = Fault(
    "model.token_malformed",
    "The hub's token {where} is malformed: it has a space, a line break or a character that is not ASCII.",
    "Give the token alone, as the hub shows it.",
)
OPTION_INVALID = Fault(
    "model.option_invalid",
    "The option {option!r} of the models' download is {value!r}, but must be {expected}.",
    "Correct it; as a variable of the role it is 'mistral_models_{option}'.",
)
_TOKEN = re.compile(r"[\x21-\x7e]+")


class Fit(NamedTuple):
    """What the model has to fit: each GPU's memory in bytes, tokens of context, sequences at once, engine's version."""

    gpu_memory: tuple[int, ...] = ()
    context_length: int = 0
    batch_size: int = 1
    engine_version: str = ""


class Access(NamedTuple):
    """How models are reached and what is done with them."""

    http: Settings
    hub: huggingface.HubSettings
    fit: Fit = Fit()
    seal: bool = False


FIT_OPTIONS: dict[str, Any] = {
    "fit": {
        "type": "dict",
        "options": {
            "gpu_memory": {"type": "list", "elements": "int", "default": []},
            "context_length": {"type": "int", "default": 0},
            "batch_size": {"type": "int", "default": 1},
            "engine_version": {"type": "str", "default": ""},
        },
    },
}
ACCESS_OPTIONS: dict[str, Any] = {
    "endpoint": {"type": "str", "default": "https://huggingface.co"},
    "token": {"type": "str", "default": "", "no_log": True},
    "token_file": {"type": "path", "default": "", "no_log": False},
    "ollama_models": {
        "type": "list",
        "elements": "path",
        "default": [
            "/usr/share/ollama/.ollama/models",
            "/var/lib/ollama/.ollama/models",
            "/root/.ollama/models",
        ],
    },
    "mirror_url": {"type": "str", "default": ""},
    "ca_path": {"type": "path", "default": ""},
    "ca_certificates": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 60},
    "retries": {"type": "int", "default": 5},
    "use_proxy": {"type": "bool", "default": True},
}


def _token(params: dict[str, Any]) -> str:
    token, where = str(params["token"] or "").strip(), "in 'token'"
    if not token and params["token_file"]:
        path = params["token_file"]
        where = f"in the file {path}"
        try:
            with open(path, encoding="utf-8") as file:
                token = file.read(4096).strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", "") or "it is not a text"
            raise StackError(TOKEN_UNREADABLE, path=path, why=why) from None
        if not token:
            raise StackError(TOKEN_UNREADABLE, path=path, why="it is empty")
    elif not token:
        token, where = os.environ.get("HF_TOKEN", "").strip(), "in HF_TOKEN"
    # Refused here, because the error of a header that can't be sent would show it.
    if token and not _TOKEN.fullmatch(token):
        raise StackError(TOKEN_MALFORMED, where=where)
    return token


def _check(params: dict[str, Any], fit: dict[str, Any]) -> None:
    """Refuse values that can't be meant. Raises C(model.option_invalid)."""
    limits = {"timeout": (1, 86_400), "retries": (0, 1_000), "connections": (1, 16), "rate_limit": (0, 1 << 50)}
    limits_fit = {"context_length": (0, 1 << 30), "batch_size": (1, 1 << 20)}
    for given, known in ((params, limits), (fit, limits_fit)):
        for option, (least, most) in known.items():
            value = given.get(option)
            if value is not None and not least <= value <= most:
                raise StackError(OPTION_INVALID, option=option, value=value, expected=f"from {least} to {most}")
    if any(size < 1 for size in fit.get("gpu_memory") or []):
        raise StackError(
            OPTION_INVALID, option="gpu_memory", value=fit["gpu_memory"], expected="a list of sizes in MiB"
        )
    for option, example in (
        ("endpoint", "https://huggingface.co"),
        ("mirror_url", "https://mirror.example.org/models"),
    ):
        if option == "mirror_url" and not params[option]:
            continue
        parts = urllib.parse.urlsplit(params[option])
        local = parts.scheme == "http" and is_loopback(parts.hostname or "")
        if not parts.hostname or "@" in parts.netloc or parts.query or not (parts.scheme == "https" or local):
            expected = f"an address such as {example}, without a password"
            raise StackError(OPTION_INVALID, option=option, value=redact(params[option]), expected=expected)


def access(module: AnsibleModule) -> Access:
    """What the module's options say; the token is hidden from its output.

    Raises C(model.token_unreadable), C(model.token_malformed) or C(model.option_invalid).
    """
    params = module.params
    token = _token(params)
    if token:
        module.no_log_values.add(token)
    fit = params["fit"] or {}
    _check(params, fit)
    endpoint = urllib.parse.urlsplit(params["endpoint"])
    return Access(
        http=http_client.Settings(
            ca_path=params["ca_path"],
            ca_certificates=params["ca_certificates"],
            timeout=params["timeout"],
            retries=params["retries"],
            rate_limit=params.get("rate_limit", 0),
            connections=params.get("connections", 1),
            use_proxy=params["use_proxy"],
            offline=params.get("offline", False),
            token=token,
            token_origin=f"{endpoint.scheme}://{endpoint.netloc}",
        ),
        hub=huggingface.HubSettings(
            endpoint=params["endpoint"].rstrip("/"),
            ollama_models=tuple(params["ollama_models"]),
            mirror_url=params["mirror_url"].rstrip("/"),
        ),
        fit=Fit(
            gpu_memory=tuple(size << 20 for size in fit.get("gpu_memory") or []),
            context_length=fit.get("context_length") or 0,
            batch_size=fit.get("batch_size") or 1,
            engine_version=fit.get("engine_version") or "",
        ),
        seal=params.get("seal", False),
    )
