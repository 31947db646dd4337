"""The host and the gateway under test, as a scenario's verify step describes them in the environment.

GATEWAY_URL (https://localhost:port), GATEWAY_KEY_FILE, GATEWAY_CA, GATEWAY_HOST_EXEC (the command prefix that runs a
command on the host).
"""

from __future__ import annotations

import os
import shlex
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import tests.tools.checkout  # noqa: F401


@pytest.fixture(scope="session")
def url() -> str:
    return os.environ["GATEWAY_URL"]


@pytest.fixture(scope="session")
def key() -> str:
    return Path(os.environ["GATEWAY_KEY_FILE"]).read_text().strip()


@pytest.fixture(scope="session")
def trust() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.environ["GATEWAY_CA"])


@pytest.fixture(scope="session")
def on_host() -> Callable[..., str]:
    """Run a command on the host; its output. A failure fails the test."""
    prefix = shlex.split(os.environ["GATEWAY_HOST_EXEC"])

    def run(*command: str) -> str:
        done = subprocess.run([*prefix, *command], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    return run
