"""The real server behind the gateway: the endpoint's fixtures, and what is asked on the host itself."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def model() -> str:
    return os.environ["MODEL"]


@pytest.fixture
def client(url: str, key: str, trust: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> openai.OpenAI:
    # The client reads the authorities from the usual variable, as a user would set it.
    monkeypatch.setenv("SSL_CERT_FILE", os.environ["GATEWAY_CA"])
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, timeout=300, max_retries=0)


@pytest.fixture(scope="session")
def module() -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Run a module of the collection on the host; what it returned."""

    def run(name: str, options: dict[str, Any]) -> dict[str, Any]:
        command = ["ansible", "gpu_hosts", "--inventory", os.environ["INVENTORY"], "--one-line"]
        command += ["-m", f"mistralrs.stack.{name}", "-a", json.dumps(options)]
        settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=600, check=False, env={**os.environ, **settings}
        )
        head, arrow, said = done.stdout.partition("=>")
        assert arrow, done.stdout + done.stderr
        return {**json.loads(said), "failed": "FAILED" in head}

    return run
