"""The gateway under test, as the environment describes it.

GATEWAY_URL (https://localhost:port), GATEWAY_KEY_FILE, GATEWAY_CA, GATEWAY_HOST_EXEC (the command prefix that runs a
command on its host), and GATEWAY_STAND_IN=1 if stand_in_engine.py answers behind it with the plan of plan.yml.
"""

from __future__ import annotations

import json
import os
import shlex
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

HostCommand = Callable[..., str]


@pytest.fixture(scope="session")
def url() -> str:
    return os.environ["GATEWAY_URL"]


@pytest.fixture(scope="session")
def key() -> str:
    return Path(os.environ["GATEWAY_KEY_FILE"]).read_text().strip()


@pytest.fixture(scope="session")
def trust() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.environ["GATEWAY_CA"])


@pytest.fixture
def stranger(url: str, trust: ssl.SSLContext) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, verify=trust, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def client(url: str, trust: ssl.SSLContext, key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, verify=trust, timeout=60, headers=headers, trust_env=False) as with_key:
        yield with_key


@pytest.fixture(scope="session")
def on_host() -> HostCommand:
    prefix = shlex.split(os.environ["GATEWAY_HOST_EXEC"])

    def run(*command: str) -> str:
        return subprocess.run([*prefix, *command], capture_output=True, text=True, timeout=120, check=True).stdout

    return run


@pytest.fixture
def echo(client: httpx.Client) -> Callable[..., dict[str, Any]]:
    """Ask the stand-in, and return what reached it."""

    def ask(path: str = "/v1/completions", **body: Any) -> dict[str, Any]:
        body.setdefault("messages" if "chat" in path else "prompt", [{"role": "user", "content": "x"}])
        answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.json()["choices"][0]["text"])

    return ask
