"""LiteLLM's proxy for the bench: an environment of its own, a running proxy, what it has cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.component.gateway.nginx_host import MODEL, ROOT, free_ports, wait_until

VERSION = "1.108.7"
FOLDER = ROOT / ".cache" / f"litellm-{VERSION}"


class NotToBeHad(Exception):
    """LiteLLM can't be installed or does not start; the text says why."""


def install() -> Path:
    """Its program. It needs other versions of much that the tests have, so that it gets an environment of its own."""
    program = FOLDER / "bin" / "litellm"
    complete = FOLDER / "complete"
    if complete.exists():
        return program
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(FOLDER)],
        [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "--quiet", f"litellm[proxy]=={VERSION}"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip() or "it does not say why").splitlines()[-1]
            raise NotToBeHad(f"LiteLLM {VERSION} can't be installed: {last}")
    complete.touch()
    return program


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def running(folder: Path, upstream_port: int, key: str) -> Iterator[tuple[int, int]]:
    """One process with one model: its pid and its port."""
    program = install()
    (port,) = free_ports(1)
    parameters = {"model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{upstream_port}/v1", "api_key": "none"}
    settings = {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "general_settings": {"master_key": key},
        "litellm_settings": {"telemetry": False},
    }
    # JSON is YAML too.
    (folder / "litellm.yaml").write_text(json.dumps(settings))
    command = [
        str(program),
        "--config",
        str(folder / "litellm.yaml"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--num_workers",
        "1",
    ]
    # Without the variable it fetches a list of prices.
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:

        def is_up() -> bool:
            if process.poll() is not None:
                said = (folder / "litellm.log").read_text(errors="replace").strip().splitlines()
                raise NotToBeHad(f"LiteLLM {VERSION} does not start: {said[-1] if said else process.returncode}")
            return _answers(port)

        wait_until(is_up, 180, "LiteLLM does not answer")
        yield process.pid, port
    finally:
        process.terminate()
        process.wait()


def processor_seconds(pid: int) -> float:
    """Of all its threads, those that have ended too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
