# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's plan: all that its program reads, made from the role's variables and from what the engine does.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import parse
from ansible_collections.mistralrs.stack.plugins.plugin_utils._gateway import firewall, jwks, keys

ORIGIN = Fault(
    "gateway.cors_origin_invalid",
    "'mistral_gateway_cors_origins' holds {value!r}, which is no origin of a web page.",
    "Give it as browsers send it, without a path: https://chat.example.org or http://localhost:3000, or '*' for all.",
)
JWT_FIELD = Fault(
    "gateway.jwt_field_missing",
    "'mistral_gateway_jwt' has no {field}.",
    "Give it; without a check of who signed a token, and for whom, tokens of others would be accepted.",
)
JWT_RULE = Fault(
    "gateway.jwt_rule_invalid",
    "'mistral_gateway_jwt' has {field} {value!r}, which is not a whole number from {low} to {high}.",
    "Correct it, or leave it out for no such rule.",
)
API = Fault(
    "gateway.api_unknown",
    "'mistral_gateway_apis' holds {value!r}, which the gateway does not know.",
    "Give some of: {known}.",
)
API_MISSING = Fault(
    "gateway.api_not_in_engine",
    "'mistral_gateway_apis' holds {value}, which mistral.rs {version} does not have.",
    "Leave it out, or use a version from {since} on (mistral_image_mistralrs_version).",
)

IMAGES = Fault(
    "gateway.image_model_unknown",
    "'mistral_gateway_image_models' holds {model!r}, which is no model here.",
    "Give the name or id of one of these: {known}.",
)

VERSION = 1
MOST_LEEWAY = 3600
# By the version from which the engine has them; what is always there first.
APIS: Mapping[str, tuple[int, ...]] = {
    "chat/completions": (0,),
    "completions": (0,),
    "ollama": (0,),
    "images/generations": (0,),
    "audio/speech": (0,),
    "embeddings": (0, 7, 0),
    "responses": (0, 7, 0),
    # The gateway translates where the engine has it not.
    "messages": (0,),
    "rerank": (0, 9, 0),
}
# What a request can make the engine load or keep busy for long is only there where somebody asked for it.
USUAL = ("chat/completions", "completions", "ollama", "embeddings", "responses", "messages")
_ORIGIN = re.compile(r"\*|https?://([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


def problems(given: Mapping[str, Any]) -> list[StackError]:
    """What is wrong with the variables that the plan is made from."""
    engine = given.get("engine") or {}
    models = engine.get("models") or []
    errors = keys.problems(
        given.get("api_keys") or [], given.get("generated") or {}, models, str(given.get("credentials_path"))
    )
    for value in given.get("cors_origins") or []:
        if not (isinstance(value, str) and _ORIGIN.fullmatch(value)):
            errors.append(StackError(ORIGIN, value=value))
    firewall.networks("ollama_open_networks", given.get("ollama_open_networks") or [], errors)
    _api_problems(given.get("apis"), str(engine.get("version") or ""), errors)
    known = keys.ids_by_name(models)
    errors += [
        StackError(IMAGES, model=name, known=", ".join(known))
        for name in given.get("image_models") or []
        if known and name not in known
    ]
    jwt = given.get("jwt") or {}
    if jwt:
        errors += [StackError(JWT_FIELD, field=field) for field in ("issuer", "audience", "jwks") if not jwt.get(field)]
        for field, high in {**keys.COUNTS, "leeway": MOST_LEEWAY}.items():
            low = 0 if field == "leeway" else 1
            if jwt.get(field) is not None and not keys.is_count(jwt[field], high, low):
                errors.append(StackError(JWT_RULE, field=field, value=jwt[field], low=low, high=high))
        if given.get("jwks") is not None:
            try:
                jwks.public_keys(given["jwks"], str(jwt.get("jwks")))
            except StackError as error:
                errors.append(error)
    return errors


def _api_problems(apis: Any, version: str, errors: list[StackError]) -> None:
    for name in apis or []:
        if name not in APIS:
            errors.append(StackError(API, value=name, known=", ".join(APIS)))
        elif version and (parse(version) or ()) < APIS[name]:
            since = ".".join(str(number) for number in APIS[name])
            errors.append(StackError(API_MISSING, value=name, version=version, since=since))


def apis_of(chosen: Sequence[str], version: str) -> list[str]:
    """What is offered: what was chosen, else the usual ones that this version of the engine has."""
    return list(chosen) or [name for name in USUAL if not version or APIS[name] <= (parse(version) or ())]


def gateway_plan(given: Mapping[str, Any]) -> dict[str, Any]:
    """The plan as the gateway's program reads it, without what it need not know. The variables have been checked."""
    engine = given["engine"]
    version = str(engine.get("version") or "")
    upstreams = list(given["upstreams"])
    running = int(given.get("max_concurrent_requests") or 0)
    plan: dict[str, Any] = {
        "version": VERSION,
        "server_names": given.get("names"),
        "context_length": engine.get("context_length"),
        "line": version or None,
        "models": [_model(model, upstreams, engine, given.get("image_models") or []) for model in engine["models"]],
        "default_model": engine["default_model"],
        "keys": keys.plan_keys(
            [_with_default(entry, given.get("requests_per_minute")) for entry in given.get("api_keys") or []],
            given.get("generated") or {},
            given.get("former") or {},
            str(given.get("digest_secret") or ""),
            engine["models"],
        ),
        "digest_secret": given.get("digest_secret"),
        "jwt": _jwt(given.get("jwt") or {}, given.get("jwks")),
        "mtls": {"names": list(given["client_names"])} if given.get("client_names") else None,
        "defaults": engine.get("defaults"),
        "max_tokens_limit": engine.get("max_tokens"),
        "queue": {
            "running": running,
            "waiting": int(given.get("queue_length") or 0),
            "timeout": given.get("queue_timeout"),
            "exclusive": engine.get("max_concurrent_requests") == 1 or None,
            "silence": given.get("read_timeout"),
        }
        if running
        else None,
        "paths": apis_of(given.get("apis") or [], version),
        "cors": given.get("cors_origins"),
        "ollama_open": [keys.network(value) for value in given.get("ollama_open_networks") or []],
        "state_path": given.get("state_path"),
    }
    kept: dict[str, Any] = without_empty(plan)
    return kept


def _with_default(entry: Mapping[str, Any], per_minute: Any) -> dict[str, Any]:
    """An API key's entry with the number of requests that holds for those that say none; 0 is no limit."""
    number = int(per_minute or 0)
    return {**({"requests_per_minute": number} if number else {}), **entry}


def _model(
    model: Mapping[str, Any], upstreams: list[str], engine: Mapping[str, Any], image_models: Sequence[str]
) -> dict[str, Any]:
    details = ("digest", "size", "quantization", "family", "parameters", "embedding_length")
    names = list(model.get("aliases") or [])
    return {
        "id": model["id"],
        "names": names,
        "images": not {model["id"], *names}.isdisjoint(image_models) or None,
        "upstreams": list(model.get("upstreams") or upstreams),
        "context_length": model.get("context_length") or engine.get("context_length"),
        **{name: model.get(name) for name in details},
    }


def _jwt(jwt: Mapping[str, Any], text: str | None) -> dict[str, Any] | None:
    if not jwt or text is None:
        return None
    numbers = [field for field in (*keys.COUNTS, "leeway") if jwt.get(field) is not None]
    return {
        "issuer": jwt["issuer"],
        "audience": jwt["audience"],
        "keys": jwks.public_keys(text, str(jwt.get("jwks"))),
        "claim_name": jwt.get("claim_name"),
        "claim_tenant": jwt.get("claim_tenant"),
        "claim_models": jwt.get("claim_models"),
        **{keys.CALLED.get(field, field): int(jwt[field]) for field in numbers},
    }


def without_empty(value: Any) -> Any:
    """The same without entries that say nothing: left out means the same to the reader."""
    if isinstance(value, Mapping):
        kept = {name: without_empty(entry) for name, entry in value.items()}
        return {name: entry for name, entry in kept.items() if entry not in (None, [], {}, "")}
    if isinstance(value, (list, tuple)):
        return [without_empty(entry) for entry in value]
    return value
