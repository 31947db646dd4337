"""The real mistral.rs 0.8.1 itself, asked on its host without the gateway, and what the role says of its image."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.tools.scenario import bed

from . import containers

On = Callable[..., str]
URL = "http://127.0.0.1:11434"
ID = "smollm2-135m-q4_1"
MODULE = Callable[[str, dict[str, Any]], dict[str, Any]]


def test_the_container_is_the_real_server_built_for_the_cpu(on_host: On) -> None:
    labels = json.loads(on_host("docker", "inspect", "--format", "{{json .Config.Labels}}", "mistral-engine"))
    assert labels["io.mistralrs.stack.source"] == "build"
    assert labels["io.mistralrs.stack.engine_version"] == "0.8.1"
    assert labels["io.mistralrs.stack.commit"] == "9397956728e6508d1c7a288043161ad1d70b658f"
    assert labels["io.mistralrs.stack.cuda"] == ""
    assert on_host("docker", "exec", "mistral-engine", "mistralrs", "--version").startswith("mistralrs 0.8.1")
    doctor = json.loads(on_host("docker", "exec", "mistral-engine", "mistralrs", "doctor", "--json"))
    assert doctor["system"]["build"]["cuda"] is False


def ready(module: MODULE, **options: Any) -> dict[str, Any]:
    known = {"url": URL, "model": ID, "container": "mistral-engine", "timeout": 300, "concurrent_prompts": 0}
    return module("server_ready", {**known, **options})


# As many as the role asks with. Of two, one may be answered before the other arrives.
def test_asked_at_once_it_mixes_answers_up_and_the_proof_says_so(module: MODULE) -> None:
    said = ready(module, concurrent_prompts=6)
    assert said["failed"], said
    assert "[server.answers_change_under_load]" in said["msg"]
    assert "answers are wrong" in said["msg"]


def test_without_that_question_it_is_ready(module: MODULE) -> None:
    # Alone it is right again: nothing but the load shows the defect.
    said = ready(module)
    assert not said["failed"], said


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}{{ m.content }", "expected end of variable block"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    ],
    ids=["broken", "raising"],
)
def test_a_template_that_breaks_every_chat_is_named(module: MODULE, template: str, message: str) -> None:
    with containers.shared_folder() as folder:
        (folder / "template.jinja").write_text(template)
        model = {
            "name": ID,
            "file": f"{ID}.gguf",
            "path": str(containers.SHARED / f"{ID}.gguf"),
            "chat_template": str(containers.seen(folder / "template.jinja")),
        }
        with containers.running(folder, [model]) as url:
            own = {"url": url, "container": containers.NAME}
            assert not ready(module, chat=False, **own)["failed"]
            said = ready(module, chat=True, **own)
            assert said["failed"], said
            assert "[server.chat_failed]" in said["msg"]
            assert message in said["msg"]


# The last one: 0.8.1 does not load a model again that it was asked to unload.
def test_it_answers_the_recorded_requests_as_recorded() -> None:
    command = bed("exec", "env", "--chdir=/srv", "python3", "-B", "-m", "tests.component.contract.replay", "--url", URL)
    command += ["--model", ID, "--against", "mistralrs-0.8.1", "--subject", "real"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    same = re.search(r"(\d+) same", done.stdout)
    assert same, done.stdout
    assert int(same[1]) > 100
