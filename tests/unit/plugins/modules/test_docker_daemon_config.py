"""The module's own part: files, modes, links, check mode, and the daemon's word on new settings."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import docker_daemon_config

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(path: Path, check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "path": str(path),
            "validate": "",
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            "_ansible_remote_tmp": str(tmp_path),
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            docker_daemon_config.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_new_file_and_second_run(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "etc" / "docker" / "daemon.json"
    preview = run(path, check=True, settings={"live-restore": True})
    assert preview["changed"]
    assert not path.parent.exists()
    first = run(path, settings={"live-restore": True})
    assert first["changed"]
    assert first["diff"] == preview["diff"]
    assert json.loads(path.read_text()) == {"live-restore": True}
    assert path.stat().st_mode & 0o7777 == 0o644
    inode = path.stat().st_ino
    second = run(path, settings={"live-restore": True})
    assert not second["changed"]
    assert path.stat().st_ino == inode, "an unchanged file is not written again"


def test_mode_and_link_are_kept_and_the_old_file_copied(tmp_path: Path, run: Run) -> None:
    real = tmp_path / "real.json"
    real.write_text('{"data-root": "/srv"}')
    real.chmod(0o600)
    link = tmp_path / "daemon.json"
    link.symlink_to(real)
    result = run(link, settings={"debug": True}, backup=True)
    assert result["path"] == str(real)
    assert link.is_symlink()
    assert json.loads(real.read_text()) == {"data-root": "/srv", "debug": True}
    assert real.stat().st_mode & 0o7777 == 0o600
    assert Path(result["backup_file"]).read_text() == '{"data-root": "/srv"}'


def test_broken_file_is_left_alone(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"a": }')
    result = run(path, settings={"debug": True})
    assert result["failed"]
    assert result["error_id"] == "docker.daemon_json_invalid"
    assert f"{path} cannot be used: not valid JSON at line 1, column 7" in result["msg"]
    assert path.read_text() == '{"a": }'


@pytest.mark.parametrize("kind", ["folder", "bytes"])
def test_file_that_cannot_be_read(tmp_path: Path, run: Run, kind: str) -> None:
    path = tmp_path / "daemon.json"
    if kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b'{"a": "\xff"}')
    assert run(path, settings={"debug": True})["error_id"] == "docker.daemon_json_invalid"


@pytest.mark.parametrize("check", [True, False])
def test_settings_that_docker_refuses_are_not_put_in_place(tmp_path: Path, run: Run, check: bool) -> None:
    path = tmp_path / "daemon.json"
    path.write_text("{}")
    dockerd = program(
        tmp_path / "dockerd", 'echo "unable to configure the Docker daemon with file $3: bad key" >&2; exit 1'
    )
    result = run(path, check=check, settings={"no-such": True}, validate=dockerd)
    assert result["error_id"] == "docker.daemon_settings_refused"
    assert f"with file {path}: bad key." in result["msg"]
    assert path.read_text() == "{}"
    assert not list(tmp_path.glob(".daemon.json*"))


@pytest.mark.parametrize("script", ["exit 0", 'echo "unknown flag: --validate" >&2; exit 125'])
def test_settings_that_docker_takes_or_cannot_check(tmp_path: Path, run: Run, script: str) -> None:
    path = tmp_path / "daemon.json"
    dockerd = program(tmp_path / "dockerd", script)
    assert run(path, settings={"debug": True}, validate=dockerd)["changed"]
    assert json.loads(path.read_text()) == {"debug": True}


def test_a_disk_that_is_full(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any, **_options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(docker_daemon_config.os, "makedirs", full)
    result = run(tmp_path / "x" / "daemon.json", settings={"debug": True})
    assert result["error_id"] == "docker.daemon_json_not_written"
    assert "daemon.json could not be written: No space left on device. " in result["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_passwords_in_urls_are_not_shown(tmp_path: Path, run: Run, check: bool) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"proxies": {"http-proxy": "http://me:0ldS3cret@proxy:3128"}}')
    result = run(path, check=check, settings={"proxies": {"https-proxy": "http://me:n3wS3cret@proxy:3128"}})
    assert result["changed"]
    assert "S3cret" not in json.dumps(result)
    assert ("n3wS3cret" in path.read_text()) is not check


@pytest.mark.parametrize("is_there", [True, False])
def test_secret_settings_close_the_file(tmp_path: Path, run: Run, is_there: bool) -> None:
    path = tmp_path / "daemon.json"
    if is_there:
        path.write_text('{"debug": true}')
        path.chmod(0o644)
    secret = {"proxies": {"http-proxy": "http://me:n3wS3cret@proxy:3128"}}
    first = run(path, secret_settings=secret, backup=True)
    assert first["changed"]
    assert "n3wS3cret" in path.read_text()
    assert "n3wS3cret" not in json.dumps(first)
    assert {entry.stat().st_mode & 0o777 for entry in tmp_path.glob("daemon.json*")} == {0o600}
    second = run(path, secret_settings=secret)
    assert not second["changed"]
    path.chmod(0o644)
    assert run(path, check=True, secret_settings=secret)["changed"]
    assert path.stat().st_mode & 0o777 == 0o644
    assert run(path, secret_settings=secret)["changed"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_short_password_damages_nothing_else(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"data-root": "/srv/docker", "proxies": {"http-proxy": "http://me:docker@proxy:3128"}}')
    result = run(path, settings={"debug": True})
    assert result["settings"]["data-root"] == "/srv/docker"
    assert result["settings"]["proxies"] == {"http-proxy": "http://me:***@proxy:3128"}
    assert result["settings_before"]["data-root"] == "/srv/docker"


SERVICE = """echo ActiveState={state}
echo 'ExecMainStartTimestamp=Fri 2026-11-27 05:06:42.500000 UTC'
echo InvocationID=5b38"""
STARTED = 1795756002.5
RESTART = [
    pytest.param("active", STARTED + 0.25, "", False, id="written after the start"),
    pytest.param("active", STARTED - 0.25, "", True, id="read at the start"),
    pytest.param("active", STARTED + 9, "5b38 {digest}", True, id="read by a reload"),
    pytest.param("active", STARTED + 9, "5b38 0000", False, id="another file was read by a reload"),
    pytest.param("active", STARTED + 9, "77aa {digest}", False, id="restarted since the reload"),
    pytest.param("inactive", STARTED + 9, "", True, id="not running"),
]


@pytest.mark.parametrize(("state", "written", "record", "in_effect"), RESTART)
def test_a_file_that_docker_has_not_read(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, state: str, written: float, record: str, in_effect: bool
) -> None:
    """An earlier run wrote it and did not live to have Docker read it: this run finds nothing to write."""
    path = tmp_path / "daemon.json"
    path.write_text('{"live-restore": true}')
    os.utime(path, (written, written))
    program(tmp_path / "systemctl", SERVICE.format(state=state))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "record").write_text(record.format(digest=digest))
    said = run(path, settings={"live-restore": True}, reload_record=str(tmp_path / "record"))
    assert not said["changed"]
    assert said["in_effect"] is in_effect
    assert said["restart_required"] is not in_effect
