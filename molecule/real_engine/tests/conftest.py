"""The real server behind the gateway: the endpoint's fixtures, and what is asked on the host itself."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.tools.scenario import run_module


@pytest.fixture(scope="session")
def model() -> str:
    return "smollm2:135m"


@pytest.fixture
def client(url: str, key: str, trust: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> openai.OpenAI:
    # The client reads the authorities from the usual variable, as a user would set it.
    monkeypatch.setenv("SSL_CERT_FILE", os.environ["GATEWAY_CA"])
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, timeout=300, max_retries=0)


@pytest.fixture(scope="session")
def module() -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Run a module of the collection on the host; what it returned."""
    return run_module
