"""What the endpoint's clients need: MODEL (a name that clients type) in addition to the scenario's environment.

test_host.py and test_bad_input.py also read REBOOT (the command that reboots the host), INVENTORY and EXTRA_VARS
(files, as given to ansible-playbook).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator

import httpx
import openai
import pytest


@pytest.fixture(scope="session")
def model() -> str:
    return os.environ["MODEL"]


@pytest.fixture
def http(url: str, trust: ssl.SSLContext) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, verify=trust, timeout=120) as client:
        yield client


@pytest.fixture
def client(url: str, key: str, monkeypatch: pytest.MonkeyPatch) -> openai.OpenAI:
    # The client reads the authorities from the usual variable, as a user would set it.
    monkeypatch.setenv("SSL_CERT_FILE", os.environ["GATEWAY_CA"])
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, timeout=120, max_retries=0)
