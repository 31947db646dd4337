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
