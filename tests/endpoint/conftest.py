"""The endpoint under test, as the scenario describes it in the environment.

GATEWAY_URL (https://localhost:port), GATEWAY_KEY_FILE, GATEWAY_CA, GATEWAY_HOST_EXEC (the command prefix that runs a
command on the host), MODEL (a name that clients type), HOST (the inventory name), INVENTORY and EXTRA_VARS (as given to
ansible-playbook).
"""

from __future__ import annotations

import os
import shlex
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import openai
import pytest

HostCommand = Callable[..., str]


@pytest.fixture(scope="session")
def url() -> str:
    return os.environ["GATEWAY_URL"]


@pytest.fixture(scope="session")
def key() -> str:
    return Path(os.environ["GATEWAY_KEY_FILE"]).read_text().strip()


@pytest.fixture(scope="session")
def model() -> str:
    return os.environ["MODEL"]


@pytest.fixture(scope="session")
def trust() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.environ["GATEWAY_CA"])


@pytest.fixture
def http(url: str, trust: ssl.SSLContext) -> httpx.Client:
    with httpx.Client(base_url=url, verify=trust, timeout=120) as client:
        yield client


@pytest.fixture
def client(url: str, key: str) -> openai.OpenAI:
    # The client reads the authorities from the usual variable, as a user would set it.
    os.environ["SSL_CERT_FILE"] = os.environ["GATEWAY_CA"]
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, timeout=120, max_retries=0)


@pytest.fixture(scope="session")
def on_host() -> HostCommand:
    prefix = shlex.split(os.environ["GATEWAY_HOST_EXEC"])

    def run(*command: str, check: bool = True) -> str:
        done = subprocess.run([*prefix, *command], capture_output=True, text=True, timeout=120, check=False)
        if check:
            assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    return run
