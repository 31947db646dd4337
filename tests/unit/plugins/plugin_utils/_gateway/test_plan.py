"""What the gateway's program gets to read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.filter.gateway_plan import gateway_plan
from ansible_collections.mistralrs.stack.plugins.plugin_utils._gateway import plan

GIVEN: dict[str, Any] = {
    "engine": {
        "version": "0.8.1",
        "models": [{"id": "tiny-q4", "aliases": ["tiny:1b"]}, {"id": "other-q8", "upstreams": ["192.0.2.7:1"]}],
        "default_model": "tiny-q4",
        "defaults": {"temperature": 0, "max_tokens": 64},
        "context_length": 8192,
        "max_tokens": 2048,
        "max_concurrent_requests": 1,
    },
    "upstreams": ["127.0.0.1:11434"],
    "names": ["gw.example"],
    "api_keys": [{"name": "default"}],
    "generated": {"default": "Wq7Rz2mXk9LpTf4VbN8s"},
    "max_concurrent_requests": 1,
    "queue_length": 0,
    "queue_timeout": 300,
    "read_timeout": 600,
}


def planned(**changed: Any) -> dict[str, Any]:
    found = gateway_plan({**GIVEN, **changed})
    assert found["errors"] == []
    return dict(found["plan"])


def errors(**changed: Any) -> list[str]:
    found = gateway_plan({**GIVEN, **changed})
    assert found["plan"] == {}
    return [line.rpartition("[")[2].rstrip("]") for line in found["errors"]]


def test_a_plan() -> None:
    found = planned()
    assert found["version"] == 1
    assert found["line"] == "0.8.1"
    assert found["models"] == [
        {"id": "tiny-q4", "names": ["tiny:1b"], "upstreams": ["127.0.0.1:11434"], "context_length": 8192},
        {"id": "other-q8", "upstreams": ["192.0.2.7:1"], "context_length": 8192},
    ]
    # Zero says something, and is not left out.
    assert found["defaults"] == {"temperature": 0, "max_tokens": 64}
    assert found["queue"] == {"running": 1, "waiting": 0, "timeout": 300, "exclusive": True, "silence": 600}
    assert found["paths"] == ["chat/completions", "completions", "ollama", "embeddings", "responses", "messages"]
    assert not {"jwt", "mtls", "cors", "ollama_open", "digest_secret"} & set(found)


def test_what_clients_are_told_about_a_model() -> None:
    details = {"digest": "a" * 64, "size": 7, "quantization": "Q4_K_M", "family": "llama", "parameters": "1.2B"}
    engine = {**GIVEN["engine"], "models": [{"id": "tiny-q4", "aliases": ["tiny:1b"], **details}, {"id": "other-q8"}]}
    tiny, other = planned(engine=engine, image_models=["tiny:1b"])["models"]
    assert details.items() <= tiny.items()
    assert tiny["images"] is True
    assert "images" not in other


def test_no_key_is_in_it() -> None:
    chosen = "zK4nQ8vR1xT6yB3mL9pD"
    found = planned(api_keys=[{"name": "default"}, {"name": "own", "key": chosen}], digest_secret="of this host")
    text = json.dumps(found)
    assert chosen not in text
    assert GIVEN["generated"]["default"] not in text
    assert [sorted(key) for key in found["keys"]] == [["name", "sha256", "tenant"], ["hmac", "name", "tenant"]]
    assert found["digest_secret"] == "of this host"


def test_without_a_limit_there_is_no_queue() -> None:
    assert "queue" not in planned(max_concurrent_requests=0)


@pytest.mark.parametrize(
    ("version", "apis", "offered"),
    [
        ("0.6.0", [], ["chat/completions", "completions", "ollama", "messages"]),
        ("0.9.2+7", [], list(plan.USUAL)),
        ("0.9.2", ["rerank", "completions"], ["rerank", "completions"]),
        ("", [], list(plan.USUAL)),
    ],
)
def test_what_is_offered(version: str, apis: list[str], offered: list[str]) -> None:
    assert planned(engine={**GIVEN["engine"], "version": version}, apis=apis)["paths"] == offered


@pytest.mark.parametrize("origin", ["*", "https://chat.example.org", "http://localhost:3000", "http://[::1]:8080"])
def test_origins(origin: str) -> None:
    assert planned(cors_origins=[origin])["cors"] == [origin]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"cors_origins": ["https://chat.example.org/"]}, "cors_origin_invalid"),
        ({"cors_origins": ["chat.example.org"]}, "cors_origin_invalid"),
        ({"cors_origins": ['https://a"; return 200']}, "cors_origin_invalid"),
        ({"ollama_open_networks": ["lan"]}, "network_invalid"),
        ({"apis": ["files"]}, "api_unknown"),
        ({"apis": ["rerank"]}, "api_not_in_engine"),
        ({"jwt": {"issuer": "https://i", "jwks": "x.json"}}, "jwt_field_missing"),
        ({"jwt": {"issuer": "https://i", "audience": "a", "jwks": "x"}, "jwks": "no"}, "jwks_invalid"),
        ({"jwt": {"issuer": "https://i", "audience": "a", "jwks": "x", "leeway": "long"}}, "jwt_rule_invalid"),
        ({"jwt": {"issuer": "https://i", "audience": "a", "jwks": "x", "tokens_per_day": 0}}, "jwt_rule_invalid"),
        ({"api_keys": []}, "api_keys_empty"),
        ({"image_models": ["tiny:2b"]}, "image_model_unknown"),
    ],
)
def test_what_is_refused(changed: dict[str, Any], error: str) -> None:
    assert errors(**changed) == [f"gateway.{error}"]


def test_before_the_engine_is_known_the_keys_are_checked() -> None:
    assert gateway_plan({**GIVEN, "engine": {}}) == {"errors": [], "plan": {}}
    assert len(gateway_plan({**GIVEN, "engine": {}, "api_keys": [{"name": "-"}]})["errors"]) == 1
