"""What the module makes of what a container says; a program in the place of docker says it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import gpu_container_check

GPU = "GPU-d37e67a5-91dd-3774-a5cb-99096249601a"
SEEN = f"node=/dev/nvidia0\nnode=/dev/nvidiactl\nGPU 0: Tesla T4 (UUID: {GPU})\n"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(out: str, err: str = "", status: int = 0, inspect: int = 0, **options: Any) -> dict[str, Any]:
        (tmp_path / "out").write_text(out)
        (tmp_path / "err").write_text(err)
        docker = tmp_path / "docker"
        docker.write_text(
            f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\ncase $1 in\nimage) exit {inspect} ;;\nimport) exit 0 ;;\n'
            f"run) cat {tmp_path}/out; cat {tmp_path}/err >&2; exit {status} ;;\nesac\n"
        )
        docker.chmod(0o755)
        arguments = {"docker": str(docker), "_ansible_remote_tmp": str(tmp_path), **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            gpu_container_check.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


def calls(tmp_path: Path) -> list[str]:
    lines = (tmp_path / "calls").read_text().splitlines()
    return [line for line in lines if line.startswith(("image ", "import ", "run "))]


def test_all_there(tmp_path: Path, run: Run) -> None:
    result = run(SEEN, devices=[GPU], image="mine:1")
    assert (result["changed"], result["image"], result["devices"]) == (False, "mine:1", [GPU])
    assert result["nodes"] == ["/dev/nvidia0", "/dev/nvidiactl"]
    (command,) = calls(tmp_path)
    assert "--device nvidia.com/gpu=all mine:1 -c" in command
    for word in ("--rm", "--network none", "--pull never", "--cap-drop ALL", "no-new-privileges"):
        assert word in command


def test_the_image_is_made_once(tmp_path: Path, run: Run) -> None:
    made = run(SEEN, inspect=1)
    assert made["changed"]
    assert [line.split()[0] for line in calls(tmp_path)] == ["image", "import", "run"]
    assert not run(SEEN)["changed"]


def test_legacy_runtime(tmp_path: Path, run: Run) -> None:
    assert run(SEEN, access="runtime", image="mine:1")["devices"] == [GPU]
    assert "--runtime nvidia --env NVIDIA_VISIBLE_DEVICES=all" in calls(tmp_path)[0]


@pytest.mark.parametrize(
    ("out", "options"),
    [
        ("no-nvidia-smi\n", {}),
        ("node=/dev/nvidiactl\nno-nvidia-smi\n", {}),
        (SEEN, {"gpus": 2}),
        (SEEN, {"devices": [GPU, "GPU-2"]}),
    ],
)
def test_gpus_that_are_missing(run: Run, out: str, options: dict[str, Any]) -> None:
    assert run(out, image="mine:1", **options)["error_id"] == "toolkit.container_without_gpus"


@pytest.mark.parametrize(
    ("out", "err", "error"),
    [
        ("", "docker: Error response from daemon: CDI device injection failed: unresolvable CDI devices x.", 0),
        ("node=/dev/nvidia0\nFailed to initialize NVML: Driver/library version mismatch\n", "", 1),
        (
            "",
            "docker: Error response from daemon: unknown or invalid runtime name: nvidia.\nSee 'docker run --help'.",
            2,
        ),
    ],
)
def test_containers_that_fail(run: Run, out: str, err: str, error: int) -> None:
    ids = ("cdi_device_unknown", "driver_library_mismatch", "runtime_unknown")
    assert run(out, err, status=125, image="mine:1")["error_id"] == f"toolkit.{ids[error]}"


def test_no_docker(run: Run) -> None:
    assert run(SEEN, docker="there-is-no-such-docker")["error_id"] == "toolkit.docker_client_missing"
