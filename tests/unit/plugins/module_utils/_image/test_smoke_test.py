"""The proof with a model: how the engine is started, what counts as an answer, and what is said if there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._image import smoke_test as subject

BODY = '{"choices": [{"text": " Paris."}]}'
OK = f"HTTP/1.1 200 OK\r\ncontent-length: {len(BODY)}\r\n\r\n{BODY}"


class Docker:
    """Answers commands by the first entry whose words are in the command."""

    def __init__(self, *answers: tuple[str, tuple[int, str, str]]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, command: list[str]) -> tuple[int, str, str]:
        self.asked.append(" ".join(command))
        return next((answer for words, answer in self.answers if words in self.asked[-1]), (0, "", ""))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "store" / "tiny-q4_k_m.gguf"
    path.parent.mkdir()
    path.write_bytes(b"GGUF....")
    return path


def prove(docker: Docker, model: Path, **changes: Any) -> dict[str, Any]:
    wanted = subject.Subject("sha256:9", "0.9.2", str(model), ["--read-only"], False, "b1")._replace(**changes)
    return subject.prove(docker, wanted, str(model.parent), "proof")


def test_it_answers(model: Path) -> None:
    docker = Docker(("/bin/bash", (0, OK, "")))
    proof = prove(docker, model)
    assert (proof["answer"], proof["model"]) == (" Paris.", str(model))
    started = next(command for command in docker.asked if command.startswith("docker run"))
    assert started.endswith("sha256:9 from-config -f /etc/mistral/engine.toml")
    assert f"source={model},target=/models/tiny-q4_k_m/tiny-q4_k_m.gguf,readonly" in started
    assert "tokenizer.json" not in started
    assert docker.asked[-1] == "docker rm --force proof"
    configuration = (model.parent / "proof.toml").read_text()
    assert 'quantized_file = "tiny-q4_k_m.gguf"' in configuration
    assert "cpu = true" in configuration


def test_on_a_gpu_it_takes_no_more_memory_than_it_needs(model: Path) -> None:
    (model.parent / "tokenizer.json").write_text("{}")
    docker = Docker(("/bin/bash", (0, OK, "")))
    prove(docker, model, gpu=True)
    configuration = (model.parent / "proof.toml").read_text()
    assert 'mode = "off"' in configuration
    assert "cpu" not in configuration
    assert "target=/models/tiny-q4_k_m/tokenizer.json,readonly" in " ".join(docker.asked)


def test_what_the_store_made_goes_with_the_model(model: Path) -> None:
    """A model of the store that calls itself Mistral is refused from 0.9.1 on without its config.json."""
    assert subject.made_for(str(model)) == {"tokenizer": "", "tokenizer_config": "", "config": ""}
    for kind in ("tokenizer", "tokenizer_config", "config"):
        beside = model.parent / f"{kind}.json"
        beside.write_text("{}")
        assert subject.made_for(str(model))[kind] == str(beside)
        stored = model.with_name(f"{model.stem}.{kind}.json")
        stored.write_text("{}")
        assert subject.made_for(str(model))[kind] == str(stored)
    docker = Docker(("/bin/bash", (0, OK, "")))
    prove(docker, model)
    started = next(command for command in docker.asked if command.startswith("docker run"))
    assert f"source={model.with_suffix('')}.tokenizer.json,target=/models/tiny-q4_k_m/tokenizer.json" in started


def test_the_oldest_engine_has_flags(model: Path) -> None:
    docker = Docker(("/bin/bash", (0, OK, "")))
    prove(docker, model, version="0.6.0")
    started = next(command for command in docker.asked if command.startswith("docker run"))
    assert started.endswith(" gguf -m tiny-q4_k_m -f tiny-q4_k_m.gguf")
    assert "engine.toml" not in started


def test_the_tokenizer_beside_it_is_used_where_the_engine_can(model: Path) -> None:
    (model.parent / "tokenizer.json").write_text("{}")
    docker = Docker(("/bin/bash", (0, OK, "")))
    prove(docker, model, version="0.8.4")
    assert "tokenizer.json" not in " ".join(docker.asked)
    (model.parent / "tokenizer_config.json").write_text("{}")
    prove(docker, model, version="0.8.4")
    assert "target=/models/tiny-q4_k_m/tokenizer_config.json,readonly" in " ".join(docker.asked)
    assert 'tok_model_id = "tiny-q4_k_m"' in (model.parent / "proof.toml").read_text()


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([("docker run", (125, "", "docker: no such runtime.\n"))], "docker: no such runtime."),
        (
            [
                ("healthcheck", (1, "", "")),
                ("docker inspect", (0, "false 1 false\n", "")),
                ("docker logs", (0, "", "Error: invalid GGUF magic [3c, 68, 74, 6d]\n")),
            ],
            "invalid GGUF magic [3c, 68, 74, 6d]",
        ),
        ([("/bin/bash", (0, 'HTTP/1.1 500 X\r\n\r\n{"message": "no kernel"}', ""))], "it answers 500 (no kernel)."),
        ([("/bin/bash", (0, 'HTTP/1.1 200 OK\r\n\r\n{"choices": [{"text": " "}]}', ""))], "its answer is empty."),
        ([("/bin/bash", (0, 'HTTP/1.1 200 OK\r\n\r\n{"choices": [{"te', ""))], "its answer breaks off."),
        ([("/bin/bash", (1, "", "no bash"))], "it answers nothing."),
    ],
    ids=["docker", "load", "error", "empty", "cut", "silence"],
)
def test_no_answer(answers: list[tuple[str, tuple[int, str, str]]], words: str, model: Path) -> None:
    docker = Docker(*answers)
    with pytest.raises(StackError) as caught:
        prove(docker, model)
    assert caught.value.id == "image.proof_without_answer"
    assert words in str(caught.value)
    assert docker.asked[-1] == "docker rm --force proof"


def test_it_does_not_wait_for_ever(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_PATIENCE", -1)
    docker = Docker(("healthcheck", (1, "", "")), ("docker inspect", (0, "true 0 false\n", "")))
    with pytest.raises(StackError, match="has not loaded it within"):
        prove(docker, model)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("tiny.gguf", "absolute path"),
        ("/no,where.gguf", "commas"),
        ("/nowhere.gguf", "No such file"),
        ("", "absolute path"),
    ],
)
def test_what_can_not_be_the_model(path: str, why: str) -> None:
    with pytest.raises(StackError, match=why) as caught:
        subject.check_model(path, "b1")
    assert caught.value.id == "image.proof_model_unusable"


def test_another_file_is_no_model(model: Path) -> None:
    model.write_bytes(b"<htm")
    with pytest.raises(StackError, match="is not a GGUF file"):
        subject.check_model(str(model), "b1")
