"""The module's own part: the URL it is given, and a Docker that doesn't answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.ready import Answer, ContainerState
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.modules import server_ready


@pytest.mark.parametrize("url", ["http://[x", "http://h:99999", "http://h:port", "https://h", "h:80", ""])
def test_a_url_that_is_none(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with patch_module_args({"url": url, "model": "m"}), pytest.raises(SystemExit):
        server_ready.main()
    assert json.loads(capsys.readouterr().out)["msg"].startswith(f"url is {url!r}, but must look like http://")


@pytest.mark.parametrize(
    ("url", "expected"), [("http://h", ("h", 80)), ("http://h:1", ("h", 1)), ("http://[::1]:8080", ("::1", 8080))]
)
def test_host_and_port(url: str, expected: tuple[str, int]) -> None:
    assert server_ready.endpoint(url) == expected


class Module:
    def __init__(self, code: int) -> None:
        self.code = code
        self.commands: list[list[str]] = []

    def get_bin_path(self, name: str) -> str:
        return f"/usr/bin/{name}"

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        self.commands.append(command)
        return self.code, "", "Error: No such container: mistral-engine"


def container(code: int) -> tuple[Any, Module]:
    module = Module(code)
    return server_ready.DockerContainer(module, "mistral-engine"), module  # type: ignore[arg-type]


def test_docker_is_not_waited_for_without_end() -> None:
    docker, _module = container(124)
    for question in (docker.state, docker.log, docker.last_exit):
        with pytest.raises(StackError, match=r"it gave no answer in 20 seconds\..*\[server\.docker_unusable\]"):
            question()


def test_docker_that_answers() -> None:
    docker, module = container(1)
    assert docker.state() is None
    assert module.commands == [["timeout", "20", "/usr/bin/docker", "container", "inspect", "mistral-engine"]]


@pytest.mark.parametrize("count", [-1, 1, 13])
def test_a_number_of_clients_that_proves_nothing(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    with patch_module_args({"model": "m", "concurrent_prompts": count}), pytest.raises(SystemExit):
        server_ready.main()
    assert json.loads(capsys.readouterr().out)["msg"] == f"concurrent_prompts is {count}, but must be 0 or from 2 to 12"


class Host:
    """An engine and its container; the answers are in the form of tests/recordings/mistralrs-0.8.1/http."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = ContainerState("running", 0, 0, False, "7f8e", "2026-11-27T01:12:15.66Z")
        self.prompts: list[str] = []
        self.mixed_up = False
        self.restarts_meanwhile = False
        monkeypatch.setattr(server_ready, "HttpClient", lambda *_address: self)
        monkeypatch.setattr(server_ready, "DockerContainer", lambda *_arguments: self.Container(self))

    class Container:
        def __init__(self, host: Host) -> None:
            self.host = host

        def state(self) -> ContainerState:
            return self.host.state

    def get(self, path: str, timeout: float) -> Answer:
        return Answer(200, json.dumps({"data": [{"id": "m", "status": "loaded"}]}))

    def post(self, path: str, body: str, timeout: float) -> Answer:
        document = json.loads(body)
        if "messages" in document:
            return Answer(200, json.dumps({"choices": [{"message": {"content": "Hello"}}]}))
        self.prompts.append(document["prompt"])
        if self.restarts_meanwhile and document["max_tokens"] > 1:
            self.state = ContainerState("running", 0, 0, False, "7f8e", "2026-11-27T03:00:00Z")
        word = "water" if self.mixed_up else document["prompt"].split(",")[0]
        return Answer(200, json.dumps({"choices": [{"text": f"{word}, {word}, {word}"}], "usage": {}}))

    def run(self, capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
        self.prompts.clear()
        with patch_module_args({"model": "m", **arguments}), pytest.raises(SystemExit):
            server_ready.main()
        result = json.loads(capsys.readouterr().out)
        assert isinstance(result, dict)
        return result


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_a_proof_is_not_repeated_before_the_container_starts_again(
    host: Host, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = {"proof_file": str(tmp_path / "proven.json")}
    assert host.run(capsys, **asked)["load_check"] == "passed"
    assert len(host.prompts) == 1 + 3 * 6
    again = host.run(capsys, **asked)
    assert (again["load_check"], again["changed"], len(host.prompts)) == ("already_passed", False, 1)
    assert host.run(capsys, concurrent_prompts=7, **asked)["load_check"] == "passed"
    host.state = ContainerState("running", 0, 0, False, "7f8e", "2026-11-27T02:00:00Z")
    assert host.run(capsys, **asked)["load_check"] == "passed"


def test_a_proof_without_a_file_or_a_container_is_repeated(
    host: Host, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for arguments in ({}, {}, *([{"container": "", "proof_file": str(tmp_path / "proven.json")}] * 2)):
        assert host.run(capsys, **arguments)["load_check"] == "passed"
    assert not list(tmp_path.iterdir())


def test_a_container_that_starts_again_during_the_proof_has_not_passed(
    host: Host, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    host.restarts_meanwhile = True
    assert host.run(capsys, proof_file=str(tmp_path / "proven.json"))["load_check"] == "passed"
    host.restarts_meanwhile = False
    assert host.run(capsys, proof_file=str(tmp_path / "proven.json"))["load_check"] == "passed"
    assert len(host.prompts) == 19


def test_an_inconclusive_proof_is_a_warning_and_not_remembered(
    host: Host, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(server_ready.AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    host.mixed_up = True
    # All answer "water", alone too, so that only one answer is known.
    assert host.run(capsys, proof_file=str(tmp_path / "proven.json"))["load_check"] == "inconclusive"
    assert len(warnings) == 1
    assert "It is not proven that the model m gives several clients the right answers" in warnings[0]
    assert not list(tmp_path.iterdir())


def test_a_record_that_cannot_be_written(host: Host, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = host.run(capsys, proof_file=str(tmp_path / "file" / "proven.json"))
    assert (result["failed"], result["error_id"]) == (True, "server.proof_not_written")


def test_no_proof_where_it_is_off_and_in_check_mode(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    off = host.run(capsys, concurrent_prompts=0)
    assert (off["load_check"], len(host.prompts)) == ("off", 1)
    checked = host.run(capsys, _ansible_check_mode=True)
    assert (checked["ready"], "load_check" in checked, len(host.prompts)) == (True, False, 1)
