"""Clients of the endpoint."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator

import httpx
import openai
import pytest


@pytest.fixture(scope="session")
def model() -> str:
    """The name that clients type."""
    return "gemma3:270m"


@pytest.fixture
def http(url: str, trust: ssl.SSLContext) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, verify=trust, timeout=120) as client:
        yield client


@pytest.fixture
def client(url: str, key: str, monkeypatch: pytest.MonkeyPatch) -> openai.OpenAI:
    # The client reads the authorities from the usual variable, as a user would set it.
    monkeypatch.setenv("SSL_CERT_FILE", os.environ["GATEWAY_CA"])
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, timeout=120, max_retries=0)
