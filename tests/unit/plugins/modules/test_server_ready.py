"""The module's own part: the URL it is given, and a Docker that doesn't answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
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
