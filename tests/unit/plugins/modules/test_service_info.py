"""Stand-ins of systemctl and ss in, facts about services out."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import service_info

NOW = time.time()


@pytest.mark.parametrize(
    ("written", "reload", "outdated"),
    [
        pytest.param(NOW - 1, "no", True, id="written, not restarted"),
        pytest.param(NOW - 9, "yes", True, id="written, systemd not told"),
        pytest.param(NOW - 9, "no", False, id="read"),
    ],
)
def test_settings_that_a_service_has_not_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    written: float,
    reload: str,
    outdated: bool,
) -> None:
    stamp = time.strftime("%a %Y-%m-%d %H:%M:%S.500000 UTC", time.gmtime(NOW - 5))
    shown = f"ActiveState=active\nUnitFileState=enabled\nExecMainStartTimestamp={stamp}\nNeedDaemonReload={reload}\n"
    (tmp_path / "shown").write_text(shown)
    for name, script in (("systemctl", f"cat {tmp_path}/shown"), ("ss", "echo LISTEN 0 1 '*:9100' '*:*'")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    folder = tmp_path / "x.service.d"
    folder.mkdir()
    (folder / "mistral.conf").write_text("")
    for path in (folder / "mistral.conf", folder):
        os.utime(path, (written, written))
    services = [
        {"unit": "x", "address": "127.0.0.1:9100", "settings": [str(folder), f"{tmp_path}/none"]},
        {"unit": "mistral-no-such", "address": "127.0.0.1:9100"},
    ]
    options = {"services": services, "_ansible_check_mode": True, "_ansible_remote_tmp": str(tmp_path)}
    with patch_module_args(options), pytest.raises(SystemExit):
        service_info.main()
    said = json.loads(capsys.readouterr().out)
    assert said["changed"] is False
    found = said["services"]["x"]
    assert found["outdated"] is outdated
    assert found["unread"] == ([str(folder), f"{folder}/mistral.conf"] if written > NOW - 5 else [])
    assert (found["state"], found["enabled"], found["settings"]) == ("active", "enabled", [str(folder)])
    assert found["others"] == ["another program"]
    assert said["services"]["mistral-no-such"]["settings"] == []


@pytest.mark.parametrize(
    ("unit_file", "settings", "outdated", "reload_unread"),
    [
        pytest.param(9, 9, False, False, id="all is read"),
        pytest.param(9, 1, False, True, id="settings written, not reloaded"),
        pytest.param(4, 9, True, False, id="service's settings written, then only reloaded"),
        pytest.param(9, 4, False, False, id="settings that a reload has read"),
    ],
)
def test_settings_that_a_reload_reads(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unit_file: int,
    settings: int,
    outdated: bool,
    reload_unread: bool,
) -> None:
    # It runs for 5 s and was reloaded 3 s ago.
    stamps = [time.strftime("%a %Y-%m-%d %H:%M:%S.000000 UTC", time.gmtime(NOW - ago)) for ago in (5, 3)]
    shown = f"ActiveState=active\nExecMainStartTimestamp={stamps[0]}\nStateChangeTimestamp={stamps[1]}\n"
    (tmp_path / "shown").write_text(shown)
    (tmp_path / "own.yml").write_text("as the package brought it")
    (tmp_path / "altered.yml").write_text("altered")
    sums = f" {tmp_path}/own.yml d03972c3df5f7c58bbde6ad458297a1f\n {tmp_path}/altered.yml {'0' * 32}\n"
    (tmp_path / "sums").write_text(f"{sums} {tmp_path}/none.yml {'0' * 32}\n {tmp_path}/own.yml newconffile\n")
    for name, script in (("systemctl", f"cat {tmp_path}/shown"), ("dpkg-query", f"cat {tmp_path}/sums")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, ago in (("mistral.conf", unit_file), ("rules.yml", settings)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (int(NOW) - ago, int(NOW) - ago))
    service = {
        "unit": "prometheus",
        "settings": [f"{tmp_path}/mistral.conf"],
        "reloaded_settings": [f"{tmp_path}/rules.yml", f"{tmp_path}/none.yml"],
        "package": "prometheus",
        "data": f"{tmp_path}/not/yet",
    }
    with patch_module_args({"services": [service], "_ansible_remote_tmp": str(tmp_path)}), pytest.raises(SystemExit):
        service_info.main()
    found = json.loads(capsys.readouterr().out)["services"]["prometheus"]
    assert found["outdated"] is outdated
    assert found["reload_unread"] == ([f"{tmp_path}/rules.yml"] if reload_unread else [])
    assert found["settings"] == [f"{tmp_path}/mistral.conf", f"{tmp_path}/rules.yml"]
    assert found["altered_package_files"] == [f"{tmp_path}/altered.yml"]
    assert found["free_kb"] > 0
    assert found["others"] == []
