"""The module's own part: when a specification is made, by whom, and what is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import cdi_spec

GPU = "GPU-d37e67a5-91dd-3774-a5cb-99096249601a"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A host with a device file and a library, and a toolkit that describes them."""
    (tmp_path / "nvidia0").write_text("")
    (tmp_path / "libcuda.so.550.163.01").write_text("")
    (tmp_path / "calls").write_text("")
    toolkit(tmp_path, f'printf "%s\\n" "$*" >>{tmp_path}/calls', "550.163.01")
    return tmp_path


def toolkit(place: Path, first: str, driver: str) -> None:
    """A program in the place of nvidia-ctk that writes what the real one does, in short."""
    text = (
        f"---\ncdiVersion: 0.7.0\ncontainerEdits:\n  mounts:\n  - hostPath: {place}/libcuda.so.{driver}\n"
        f"devices:\n- containerEdits:\n    deviceNodes:\n    - path: {place}/nvidia0\n  name: {GPU}\n"
        "kind: nvidia.com/gpu\n"
    )
    program = place / "nvidia-ctk"
    program.write_text(
        f"#!/bin/sh\n{first}\ncase $2 in\n"
        f"list) printf 'nvidia.com/gpu={GPU}\\nnvidia.com/gpu=all\\n' ;;\n"
        f"generate) cat >\"${{3#--output=}}\" <<'END'\n{text}END\n;;\nesac\n"
    )
    program.chmod(0o755)


@pytest.fixture
def run(place: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "program": str(place / "nvidia-ctk"),
            "unit": "there-is-no-such-unit.service",
            "path": str(place / "etc" / "cdi" / "nvidia.yaml"),
            "unit_path": str(place / "run" / "cdi" / "nvidia.yaml"),
            "unit_settings": str(place / "refresh.env"),
            "driver_version": "550.163.01",
            "devices": [GPU],
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            "_ansible_remote_tmp": str(place),
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            cdi_spec.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


def calls(place: Path) -> list[str]:
    return [line.split(" --")[0] for line in (place / "calls").read_text().splitlines()]


def test_new_specification_and_second_run(place: Path, run: Run) -> None:
    path = place / "etc" / "cdi" / "nvidia.yaml"
    preview = run(check=True)
    assert (preview["changed"], preview["reasons"], path.exists()) == (True, ["there is none"], False)
    assert calls(place) == []
    first = run()
    assert (first["changed"], first["path"]) == (True, str(path))
    assert first["devices"] == [f"nvidia.com/gpu={GPU}", "nvidia.com/gpu=all"]
    assert first["diff"]["after"] == path.read_text()
    assert path.stat().st_mode & 0o7777 == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["nvidia.yaml"]
    inode = path.stat().st_ino
    (place / "calls").write_text("")
    second = run()
    assert (second["changed"], second["reasons"]) == (False, [])
    assert path.stat().st_ino == inode
    assert calls(place) == ["cdi list"]


def test_another_driver(place: Path, run: Run) -> None:
    run()
    (place / "libcuda.so.580.95.05").write_text("")
    preview = run(check=True, driver_version="580.95.05")
    assert preview["reasons"] == ["it is for the driver 550.163.01, and 580.95.05 is loaded"]
    toolkit(place, "", "580.95.05")
    assert run(driver_version="580.95.05")["changed"]
    assert not run(driver_version="580.95.05")["changed"]


def test_a_toolkit_that_fails_leaves_the_old_one(place: Path, run: Run) -> None:
    run()
    path = place / "etc" / "cdi" / "nvidia.yaml"
    before = path.read_text()
    toolkit(place, "echo 'level=error msg=\"failed to initialize NVML: Driver Not Loaded\"' >&2; exit 1", "580.95.05")
    failed = run(driver_version="580.95.05")
    assert failed["error_id"] == "toolkit.driver_not_loaded"
    assert path.read_text() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["nvidia.yaml"]


def test_the_other_place_is_cleared(place: Path, run: Run) -> None:
    run()
    other = place / "run" / "cdi" / "nvidia.yaml"
    other.parent.mkdir(parents=True)
    other.write_text("kind: nvidia.com/gpu\n")
    preview = run(check=True)
    assert (preview["changed"], preview["set_aside"], other.exists()) == (True, str(other), True)
    result = run()
    assert (result["changed"], result["set_aside"]) == (True, str(other))
    assert not other.exists()
    assert (other.parent / "nvidia.yaml.replaced").read_text() == "kind: nvidia.com/gpu\n"
    assert not run()["changed"]


def test_a_file_of_somebody_else(place: Path, run: Run) -> None:
    run()
    mine = place / "etc" / "cdi" / "mine.json"
    mine.write_text('{"kind": "nvidia.com/gpu", "devices": [{"name": "0"}]}')
    result = run(driver_version="580.95.05")
    assert result["error_id"] == "toolkit.cdi_spec_foreign"
    assert str(mine) in result["msg"]
    mine.write_text('{"kind": "example.org/nic", "devices": [{"name": "0"}]}')
    assert not run()["changed"]


def test_devices_that_stay_away(run: Run) -> None:
    result = run(devices=[GPU, "GPU-2"])
    assert result["error_id"] == "toolkit.cdi_devices_missing"
    assert "nvidia.com/gpu=GPU-2" in result["msg"]


def test_no_toolkit(place: Path, run: Run) -> None:
    (place / "nvidia-ctk").unlink()
    assert run(check=True)["changed"]
    assert run()["error_id"] == "toolkit.not_installed"


def test_no_room(place: Path, run: Run) -> None:
    (place / "etc").write_text("")
    assert run()["error_id"] == "toolkit.cdi_spec_not_written"


def systemctl(place: Path, monkeypatch: pytest.MonkeyPatch, fragment: Path, reload: str) -> Path:
    """A program in the place of systemctl that knows the toolkit's service; the file of what was asked of it.

    Values: systemd 257 after the packages of 1.20.0 were replaced by those of 1.17.8, seen in the scenario `gpu_host`.
    """
    folder, asked = place / "bin", place / "asked"
    folder.mkdir()
    program = folder / "systemctl"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "show*LoadState*) echo loaded ;;\n"
        f"show*FragmentPath*) echo {fragment} ;;\n"
        f"show*NeedDaemonReload*) echo {reload} ;;\n"
        f'*) echo "$1" >>{asked} ;;\n'
        "esac\n"
        f'[ "$1" != restart ] || {place}/nvidia-ctk cdi generate --output={place}/run/cdi/nvidia.yaml\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return asked


def test_a_service_that_systemd_only_remembers(place: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = systemctl(place, monkeypatch, place / "gone.service", "yes")
    result = run()
    assert (result["changed"], result["path"]) == (True, str(place / "etc" / "cdi" / "nvidia.yaml"))
    assert not asked.exists(), "nothing is asked of a service whose file is gone"
    assert not run()["changed"]


@pytest.mark.parametrize(
    ("reload", "expected"),
    [("no", ["reset-failed", "restart"]), ("yes", ["daemon-reload", "reset-failed", "restart"])],
)
def test_a_service_runs_as_its_file_says(
    place: Path, run: Run, monkeypatch: pytest.MonkeyPatch, reload: str, expected: list[str]
) -> None:
    fragment = place / "nvidia-cdi-refresh.service"
    fragment.write_text("")
    asked = systemctl(place, monkeypatch, fragment, reload)
    result = run()
    assert (result["changed"], result["path"]) == (True, str(place / "run" / "cdi" / "nvidia.yaml"))
    assert asked.read_text().split() == expected
    assert not run()["changed"]


# The first line of the real ones' answer: tests/fakes/apt/nvidia/toolkit.py builds them.
@pytest.mark.parametrize(
    ("version", "by_service"), [("1.17.8", False), ("1.18.0", True), ("1.20.2", True), ("unknown", True)]
)
def test_a_service_that_an_older_toolkit_left_behind(
    place: Path, run: Run, monkeypatch: pytest.MonkeyPatch, version: str, by_service: bool
) -> None:
    fragment = place / "nvidia-cdi-refresh.service"
    fragment.write_text("")
    systemctl(place, monkeypatch, fragment, "no")
    said = f"NVIDIA Container Toolkit CLI version {version}"
    toolkit(place, f'[ "$1" != --version ] || {{ echo "{said}"; exit; }}', "550.163.01")
    folder = "run" if by_service else "etc"
    assert run()["path"] == str(place / folder / "cdi" / "nvidia.yaml")
    assert not run()["changed"]
