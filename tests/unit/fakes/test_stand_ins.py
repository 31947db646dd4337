"""The programs that imitate the engine in the scenarios say what the recordings of the real one say."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_tokenizer import PROMPT
from ansible_collections.mistralrs.stack.plugins.module_utils._image.doctor import report_of, verdict

TESTS = Path(__file__).resolve().parents[2]
RECORDED = TESTS / "recordings" / "mistralrs-0.9.2+7"
PROGRAM = TESTS / "fakes" / "registry" / "mistralrs"
COPIES = TESTS / "fakes" / "engine_workspace" / "workspace" / "mistralrs-cli" / "src" / "recorded"


def body(name: str) -> str:
    return str(json.loads((RECORDED / "http" / f"{name}.json").read_text())["response"]["body"])


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    return runpy.run_path(str(PROGRAM))


@pytest.mark.parametrize(
    ("name", "recording"), [("MODELS", "models"), ("COMPLETION", "completions"), ("CHAT", "chat")], ids=str
)
def test_the_answers_of_the_toolkits_engine(name: str, recording: str, program: dict[str, Any]) -> None:
    assert json.loads(program[name]) == json.loads(body(recording))


def test_the_report_of_the_toolkits_engine(program: dict[str, Any]) -> None:
    assert json.loads(program["DOCTOR"]) == json.loads((RECORDED / "doctor.json").read_text())
    # There is no GPU here.
    said = subprocess.run([PROGRAM, "doctor", "--json"], capture_output=True, text=True, check=True).stdout
    report = report_of(said)
    assert report.build["cuda"] is True
    assert verdict(report, gpu=False).failures == ()
    assert [text.split(":")[0] for text in verdict(report, gpu=True).failures] == ["cuda_devices"]


@pytest.mark.parametrize("name", ["health", "models", "completions"])
def test_the_answers_of_the_workspaces_engine(name: str) -> None:
    assert (COPIES / f"{name}.txt").read_text() == body(name)


def test_the_report_of_the_workspaces_engine() -> None:
    assert (COPIES / "doctor.json").read_text() == (RECORDED / "doctor.json").read_text()


def test_the_workspaces_commit(tmp_path: Path) -> None:
    script = TESTS / "fakes" / "engine_workspace" / "repository.sh"
    said = subprocess.run([script, tmp_path / "r.git"], capture_output=True, text=True, check=True).stdout
    variables = TESTS.parent / "molecule" / "engine_image" / "vars" / "main.yml"
    wanted = yaml.safe_load(variables.read_text())["mistral_image_commit"]
    assert re.fullmatch(r"[0-9a-f]{40}\n", said)
    assert said.strip() == wanted


def test_the_toolkits_engine_ends_without_a_gpu_as_the_real_one_does() -> None:
    start = json.loads((TESTS / "recordings" / "mistralrs-0.8.1-cuda" / "starts" / "no-device.json").read_text())
    assert start["rc"] == 1
    assert repr(start["log"][-1]) in PROGRAM.read_text()


def test_the_toolkits_engine_knows_the_prompt_of_the_proof() -> None:
    assert list(runpy.run_path(str(PROGRAM))["PROMPT_TOKENS"]) == [PROMPT]
