"""What the module does on the host; a program in the place of docker answers, and notes what it was asked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import model_convert

Run = Callable[..., dict[str, Any]]
CONTAINER = "mistral-convert-tiny-uqff-q4k"
# Containers are files of their names, with what inspect says; `docker run` makes one unless it has to fail.
DOCKER = """#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$*" >>calls
for last; do :; done
case "$1" in
container) cat "containers/$last" 2>/dev/null || exit 1 ;;
run)
    echo '{"Config": {"Labels": {"io.mistralrs.stack.convert": "'"$LABEL"'"}}}' >"containers/$4"
    [ ! -e refuses ] || { echo "docker: could not select device driver" >&2; exit 125; } ;;
wait) [ -e "containers/$last" ] || { echo "Error: No such container: $last" >&2; exit 1; }; cat code ;;
logs) echo "Loading"; echo "Error: out of memory" >&2 ;;
rm)
    [ ! -e keeps ] || { echo "Error response from daemon: cannot remove container" >&2; exit 1; }
    rm -f "containers/$last" ;;
esac
"""


class Host:
    """A store with SafeTensors in it, and a Docker with the engine's container."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = root / "mistral" / "models"
        self.result = root / "mistral" / "convert" / "tiny.tiny-uqff-q4k"
        self.docker = root / "docker"
        self.containers = root / "containers"
        self.containers.mkdir()
        self.docker.write_text(DOCKER.replace("$LABEL", f"tiny q4k {self.store}"))
        self.docker.chmod(0o755)
        (root / "code").write_text("0\n")
        (self.store / "tiny").mkdir(parents=True)
        (self.store / "tiny" / "config.json").write_text("{}")
        (self.store / "tiny" / "model.safetensors").write_bytes(bytes(16))
        self.add("mistral-engine")

    def add(self, name: str, label: str | None = None) -> None:
        labels = {} if label is None else {"io.mistralrs.stack.convert": label}
        config = {"Image": "engine:1", "User": f"{os.getuid()}:{os.getgid()}", "Labels": labels}
        said = {"Image": "sha256:1", "Config": config, "HostConfig": {"Memory": 1}}
        (self.containers / name).write_text(json.dumps(said))

    def called(self, verb: str) -> list[str]:
        calls = self.root / "calls"
        return [line for line in calls.read_text().splitlines() if line.split()[0] == verb] if calls.exists() else []


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def run(host: Host, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(state: str = "started", check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "path": str(host.store),
            "source": "tiny",
            "name": "tiny:uqff",
            "quantization": "Q4K",
            "docker": str(host.docker),
            "state": state,
            "_ansible_check_mode": check,
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            model_convert.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


def test_a_conversion(host: Host, run: Run) -> None:
    dry = run(check=True)
    assert (dry["changed"], dry["converting"]) == (True, False)
    assert not host.called("run")
    assert not host.result.parent.exists()

    started = run()
    assert (started["changed"], started["converting"]) == (True, True)
    assert host.called("run") == [" ".join(started["command"][1:])]
    assert started["command"] == dry["command"]
    assert (started["container"], started["target"]) == (CONTAINER, "tiny-uqff-q4k")
    assert started["result"] == str(host.result)
    assert host.result.stat().st_mode & 0o777 == 0o700

    # The next run attaches to it.
    again = run()
    assert (again["changed"], again["converting"]) == (False, True)
    assert len(host.called("run")) == 1
    assert run("finished")["changed"] is False
    assert (host.result.exists(), (host.containers / CONTAINER).exists()) == (True, True)

    assert run("absent", check=True)["changed"] is True
    assert host.result.exists()
    assert run("absent")["changed"] is True
    assert not host.result.exists()
    assert not (host.containers / CONTAINER).exists()
    assert run("absent")["changed"] is False


def test_what_an_earlier_one_left_is_not_taken_for_a_result(host: Host, run: Run) -> None:
    host.result.mkdir(parents=True)
    (host.result / "q4k-0.uqff").touch()
    assert run()["changed"] is True
    assert list(host.result.iterdir()) == []


def test_what_is_in_the_store_is_not_converted_again(host: Host, run: Run) -> None:
    (host.store / "tiny-uqff-q4k").mkdir()
    (host.store / ".store").mkdir()
    record = host.store / ".store" / "tiny-uqff-q4k.gguf.json"
    record.write_text(json.dumps({"source": f"file://{host.result}"}))
    # Neither Docker nor the source is needed for that.
    done = run(docker="/none/docker", source="tiny")
    assert (done["changed"], done["converting"], done["command"]) == (False, False, [])
    for text in ('{"source": "hf://org/tiny"}', "no record", "[]"):
        record.write_text(text)
        assert run()["error_id"] == "models.convert_name"
    record.unlink()
    assert run()["error_id"] == "models.convert_name"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"source": "nothing"}, "models.convert_source"),
        ({"source": "../models"}, "models.convert_source"),
        ({"source": "../models", "state": "absent"}, "models.convert_source"),
        ({"quantization": ""}, "models.convert_type"),
        ({"name": "tiny.gguf"}, "models.convert_name"),
        ({"name": "../tiny"}, "model.unsafe_name"),
        ({"engine": "another"}, "models.no_engine"),
        ({"docker": "/none/docker"}, "models.no_engine"),
    ],
)
def test_what_can_not_be_converted(host: Host, run: Run, options: dict[str, Any], error: str) -> None:
    for check in (True, False):
        assert run(check=check, **options)["error_id"] == error
    assert not host.called("run")
    assert {path.name for path in host.store.parent.iterdir()} == {"models"}


def test_a_directory_without_configuration_is_no_source(host: Host, run: Run) -> None:
    (host.store / "tiny" / "config.json").unlink()
    assert run()["error_id"] == "models.convert_source"


def test_no_room_for_the_result(host: Host, run: Run) -> None:
    # With a hole in it, so that it is larger than any disk.
    with (host.store / "tiny" / "more.safetensors").open("wb") as file:
        file.truncate(1 << 43)
    failed = run()
    assert failed["error_id"] == "models.convert_space"
    assert "a conversion of tiny may need 9675.7 GB" in failed["msg"]
    assert not host.called("run")


def test_another_conversion_to_that_name_is_left_alone(host: Host, run: Run) -> None:
    host.add(CONTAINER, label="other q4k /srv")
    assert run()["error_id"] == "models.convert_running"
    assert (host.containers / CONTAINER).exists()


def test_a_container_that_does_not_start_leaves_nothing(host: Host, run: Run) -> None:
    (host.root / "refuses").touch()
    failed = run()
    assert failed["error_id"] == "models.conversion_not_started"
    assert "could not select device driver" in failed["msg"]
    assert not host.result.exists()
    assert not (host.containers / CONTAINER).exists()


def test_a_user_that_the_host_does_not_know(host: Host, run: Run) -> None:
    engine = host.containers / "mistral-engine"
    engine.write_text(engine.read_text().replace(f'"{os.getuid()}:', '"nobody-of-this-name:'))
    failed = run()
    assert failed["error_id"] == "models.conversion_not_started"
    assert "nobody-of-this-name" in failed["msg"]
    assert not host.called("run")


@pytest.mark.parametrize(("code", "hint"), [("1", False), ("137", True)])
def test_a_failed_conversion_leaves_nothing(host: Host, run: Run, code: str, hint: bool) -> None:
    run()
    (host.root / "code").write_text(f"{code}\n")
    failed = run("finished")
    assert failed["error_id"] == "models.conversion_failed"
    assert f"exit code {code}" in failed["msg"]
    assert "Error: out of memory" in failed["msg"]
    assert ("perhaps because the memory was not enough" in failed["msg"]) == hint
    assert not host.result.exists()
    assert not (host.containers / CONTAINER).exists()


def test_a_container_that_somebody_removed_meanwhile(host: Host, run: Run) -> None:
    run()
    (host.containers / CONTAINER).unlink()
    failed = run("finished")
    assert failed["error_id"] == "models.conversion_not_watched"
    assert "No such container" in failed["msg"]
    assert run()["changed"] is True


def test_a_container_that_docker_does_not_remove(host: Host, run: Run) -> None:
    run()
    (host.root / "keeps").touch()
    failed = run("absent")
    assert failed["error_id"] == "models.conversion_not_removed"
    assert "cannot remove container" in failed["msg"]
    assert host.result.exists()


def test_a_dry_run_does_not_wait(host: Host, run: Run) -> None:
    assert run("finished", check=True)["changed"] is False
    assert not host.called("wait")


def test_a_folder_that_can_not_be_made(host: Host, run: Run) -> None:
    host.result.parent.write_text("a file")
    failed = run()
    assert failed["error_id"] == "models.conversion_not_accessible"
    assert str(host.result.parent) in failed["msg"]
