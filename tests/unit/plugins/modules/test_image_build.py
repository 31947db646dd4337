"""The module's own part: what is there, what would be built, and who finishes what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import image_build

Run = Callable[..., dict[str, Any]]
INPUTS = "0123456789abcdef"
IMAGE = [{"Id": "sha256:1", "Config": {"Labels": {"io.mistralrs.stack.inputs": INPUTS}}}]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the module with programs docker, systemctl and systemd-run whose answers are files."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("docker", "systemctl", "systemd-run"):
        path = programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/asked\ncat {tmp_path}/{name}.says 2>/dev/null\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")

    def call(check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "reference": "mistralrs-stack/engine:1",
            "inputs": INPUTS,
            "path": str(tmp_path / "mistral"),
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path),
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            image_build.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


def test_what_is_there_is_not_built(run: Run, tmp_path: Path) -> None:
    (tmp_path / "docker.says").write_text(json.dumps(IMAGE))
    result = run()
    assert not result["changed"]
    assert result["image"]["Id"] == "sha256:1"
    assert "systemd-run" not in (tmp_path / "asked").read_text()
    assert not (tmp_path / "mistral").exists()


def test_an_image_of_other_inputs_does_not_count(run: Run, tmp_path: Path) -> None:
    other = [{"Id": "sha256:1", "Config": {"Labels": {"io.mistralrs.stack.inputs": "f" * 16}}}]
    (tmp_path / "docker.says").write_text(json.dumps(other))
    result = run(check=True)
    assert result["changed"]
    assert result["image"] == {}
    assert result["diff"]["after"] == "mistralrs-stack/engine:1\n"
    assert not (tmp_path / "mistral").exists(), "a dry run leaves nothing"


def test_bad_input(run: Run) -> None:
    result = run(inputs="xyz")
    assert result["failed"]
    assert result["error_id"] == "image.inputs_invalid"


def test_a_build_that_nobody_started(run: Run) -> None:
    result = run(job="poll")
    assert result["error_id"] == "image.build_cancelled"
    assert run(job="cancel")["changed"] is False


def test_a_failure_tells_the_log(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mistral" / "builds" / INPUTS
    folder.mkdir(parents=True)
    (folder / "attempt.json").write_text('{"began": 0, "jobs": 3}')
    (folder / "status").write_text("1\n")
    (folder / "log").write_text(
        "#12 9.1    Compiling x v1\n#12 9.2 nvcc error: 'cicc' died due to signal 9 (Kill signal)\n"
    )
    result = run(job="poll")
    assert result["error_id"] == "image.build_out_of_memory"
    assert "lower than 3" in result["msg"]
    assert result["log_tail"][-1].startswith("nvcc error")
    assert result["log"] == str(folder / "log")
