"""The module's own part: a folder of files and the host's bundle made from it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import trusted_certificates

PEM = """-----BEGIN CERTIFICATE-----
MIIBOjCB7aADAgECAhQzGxQQNNi7mj+GTRqeGbQ+RsZW+zAFBgMrZXAwEjEQMA4G
A1UEAwwHZXhhbXBsZTAgFw0yNjExMjMyMDUyMDZaGA8yMTI2MTAzMDIwNTIwNlow
EjEQMA4GA1UEAwwHZXhhbXBsZTAqMAUGAytlcAMhANtD+yOCxVvqGgPDyJXWvzG0
SqYkI//9YxVvkupnRYaio1MwUTAdBgNVHQ4EFgQUCapBuuVuzpMm9nEDYl4xnNoo
3x0wHwYDVR0jBBgwFoAUCapBuuVuzpMm9nEDYl4xnNoo3x0wDwYDVR0TAQH/BAUw
AwEB/zAFBgMrZXADQQAu6+I5liqU0FE1kZzjpwtmQtfGDuMBM/y02PVV9zi+3ZWE
zAF8wlehCE3TpH5oMjcCnZxzIsy+7IEauQEuwloC
-----END CERTIFICATE-----
"""
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    script = tmp_path / "update"
    script.write_text(
        f"#!/bin/sh\ncat {tmp_path}/mistral/*.crt > {tmp_path}/bundle 2>/dev/null || :> {tmp_path}/bundle\n"
    )
    script.chmod(0o755)

    def call(
        *certificates: dict[str, str],
        check: bool = False,
        command: str = str(script),
        folder: str = str(tmp_path / "mistral"),
        services: list[str] | None = None,
    ) -> dict[str, Any]:
        arguments = {
            "certificates": list(certificates),
            "folder": folder,
            "bundle": str(tmp_path / "bundle"),
            "command": [command],
            "services": services or [],
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path),
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            trusted_certificates.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


CA = {"name": "/x/ca.pem", "content": PEM}


def test_added_kept_and_removed(tmp_path: Path, run: Run) -> None:
    preview = run(CA, check=True)
    assert preview["changed"]
    assert not (tmp_path / "mistral").exists()
    first = run(CA)
    assert first["changed"]
    assert first["added"] == preview["added"]
    assert (tmp_path / "bundle").read_text() == PEM
    assert not run(CA)["changed"]
    gone = run()
    assert gone["removed"] == first["added"]
    assert not list((tmp_path / "mistral").iterdir())
    assert (tmp_path / "bundle").read_text() == ""
    assert not run()["changed"]


def test_a_bundle_that_lost_the_certificate_is_made_anew(tmp_path: Path, run: Run) -> None:
    run(CA)
    (tmp_path / "bundle").write_text("")
    assert run(CA)["changed"]
    assert (tmp_path / "bundle").read_text() == PEM


def test_a_program_that_does_not_do_its_work_is_noticed(run: Run) -> None:
    assert run(CA, command="true")["error_id"] == "trust.not_taken_over"


def test_nothing_is_written_when_one_file_is_bad(tmp_path: Path, run: Run) -> None:
    result = run(CA, {"name": "bad.pem", "content": "hello"})
    assert result["error_id"] == "trust.not_a_certificate"
    assert not (tmp_path / "mistral").exists()


def test_a_removal_that_was_cut_off_is_taken_up_again(tmp_path: Path, run: Run) -> None:
    first = run(CA)
    broken = run(command="false")
    assert broken["failed"]
    assert (tmp_path / "bundle").read_text() == PEM
    assert run(check=True)["changed"]
    again = run()
    assert again["changed"]
    assert again["removed"] == []
    assert again["diff"]["before"] == again["diff"]["after"] == ""
    assert (tmp_path / "bundle").read_text() == ""
    assert first["added"]
    assert not list((tmp_path / "mistral").iterdir())
    assert not run()["changed"]


def test_no_marker_is_left_when_all_went_well(tmp_path: Path, run: Run) -> None:
    added = run(CA)["added"]
    assert [path.name for path in (tmp_path / "mistral").iterdir()] == added


@pytest.mark.parametrize("kind", ["no parent", "a folder within", "a file in its place"])
def test_what_cannot_be_written_is_said_in_one_sentence(tmp_path: Path, run: Run, kind: str) -> None:
    folder = tmp_path / "mistral"
    if kind == "a folder within":
        (folder / "inner").mkdir(parents=True)
    elif kind == "a file in its place":
        folder.write_text("")
    else:
        folder = tmp_path / "none" / "mistral"
    result = run(CA, folder=str(folder))
    assert result["error_id"] == "trust.not_written"
    assert result["msg"].startswith(f"The certificates in {folder} could not be changed: {folder}")
    assert "exception" not in result


@pytest.mark.parametrize("certificates", [[CA], []], ids=["added", "removed"])
def test_a_service_that_started_before_the_last_change_is_named(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, certificates: list[dict[str, str]]
) -> None:
    """Also by a run that changes nothing: the one that did may not have lived to restart it."""
    show = f"#!/bin/sh\necho ActiveState=active\necho ExecMainStartTimestamp=$(cat {tmp_path}/started)\n"
    (tmp_path / "systemctl").write_text(show)
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "started").write_text("Fri 2020-11-27 05:06:42.500000 UTC")
    run(CA)
    run(*certificates)
    again = run(*certificates, services=["docker.service"])
    assert not again["changed"]
    assert again["outdated_services"] == ["docker.service"]
    (tmp_path / "started").write_text("Fri 2120-11-27 05:06:42.500000 UTC")
    assert run(*certificates, services=["docker.service"])["outdated_services"] == []
