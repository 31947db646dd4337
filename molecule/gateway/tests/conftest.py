"""Clients of the gateway, and the question that makes the stand-in engine tell what reached it."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest


@pytest.fixture
def stranger(url: str, trust: ssl.SSLContext) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, verify=trust, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def client(url: str, trust: ssl.SSLContext, key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, verify=trust, timeout=60, headers=headers, trust_env=False) as with_key:
        yield with_key


@pytest.fixture
def echo(client: httpx.Client) -> Callable[..., dict[str, Any]]:
    """Ask the stand-in, and return what reached it."""

    def ask(path: str = "/v1/completions", **body: Any) -> dict[str, Any]:
        if "chat" in path:
            body.setdefault("messages", [{"role": "user", "content": "x"}])
        else:
            body.setdefault("prompt", "x")
        answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        choice = answer.json()["choices"][0]
        return json.loads(choice["message"]["content"] if "chat" in path else choice["text"])

    return ask
