"""The module as a whole: stand-ins of the host's programs in, facts out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import container_toolkit_info

PROGRAMS = {
    "docker": "echo '{}'",
    "dockerd": "",
    "systemctl": "echo NeedDaemonReload=yes",
    "dpkg-query": "echo nvidia-container-toolkit 1.20.0-1 hold ok installed; exit 1",
    "getsebool": "echo 'container_use_devices --> off'",
}
DAEMON = {"ServerVersion": "26.1.5+dfsg1", "HttpProxy": "http://me:s3cret@proxy:3128", "CDISpecDirs": ["/etc/cdi"]}


def gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **given: str) -> Any:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in {**PROGRAMS, **given}.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    options = {
        "packages": ["nvidia-container-toolkit", "libnvidia-container1"],
        "source_file": "/etc/apt/sources.list.d/nvidia-container-toolkit.sources",
        "repository": "https://mirror.example.org/nvidia",
        "_ansible_check_mode": True,
        "_ansible_remote_tmp": str(tmp_path),
    }
    with patch_module_args(options), pytest.raises(SystemExit):
        container_toolkit_info.main()
    text = capsys.readouterr().out
    assert "s3cret" not in text
    said = json.loads(text)
    assert said["changed"] is False
    return said["container_toolkit_info"]


def test_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    facts = gathered(tmp_path, monkeypatch, capsys, docker=f"echo '{json.dumps(DAEMON)}'")
    assert facts["daemon"]["version"] == "26.1.5+dfsg1"
    assert facts["daemon"]["cdi_folders"] == ["/etc/cdi"]
    assert (facts["client"], facts["program"]) == (f"{tmp_path}/bin/docker", f"{tmp_path}/bin/dockerd")
    assert facts["packages"] == [{"name": "nvidia-container-toolkit", "state": "held", "version": "1.20.0-1"}]
    assert (facts["needs_daemon_reload"], facts["selinux_devices"]) == (True, "off")


def test_a_docker_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = gathered(tmp_path, monkeypatch, capsys, docker="exit 1", systemctl="", getsebool="exit 1")
    assert facts["daemon"]["version"] == ""
    assert (facts["needs_daemon_reload"], facts["selinux_devices"]) == (False, "")
