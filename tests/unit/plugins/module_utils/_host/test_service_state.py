"""Which files a running service has not read, and how the words of systemd are taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._host.service_state import (
    Service,
    parse,
    program_replaced,
    tree,
    unread,
    unread_drop_in,
    written_after,
)

# systemd 257 (Debian 13); its order is its own.
SHOWN = """ExecMainStartTimestamp=Fri 2026-11-27 05:06:42.500000 UTC
ExecStart={ path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS ; ignore_errors=no ; status=0/0 }
MainPID=4711
FragmentPath=/usr/lib/systemd/system/docker.service
DropInPaths=/etc/systemd/system/docker.service.d/a.conf /etc/systemd/system/docker.service.d/b.conf
UnitFileState=enabled
ActiveState=active
StateChangeTimestamp=Fri 2026-11-27 05:06:43.000000 UTC
InvocationID=5b38
NeedDaemonReload=yes
"""
STARTED = 1795756002.5


def test_what_systemd_says() -> None:
    service = parse(SHOWN)
    assert service.command.startswith("{ path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd -H fd:// ")
    assert service._replace(command="") == Service(
        state="active",
        enabled="enabled",
        unit_file="/usr/lib/systemd/system/docker.service",
        drop_ins=("/etc/systemd/system/docker.service.d/a.conf", "/etc/systemd/system/docker.service.d/b.conf"),
        needs_daemon_reload=True,
        pid=4711,
        run="5b38",
        since=STARTED,
        changed=STARTED + 0.5,
    )
    assert service.runs


@pytest.mark.parametrize(
    "text", ["", "Unit x could not be found.\n", "MainPID=[not set]\nExecMainStartTimestamp=n/a\n"]
)
def test_a_service_that_is_not_known(text: str) -> None:
    assert parse(text) == Service()
    assert not parse(text).runs


def file(path: Path, written: float) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    os.utime(path, (written, written))
    return str(path)


@pytest.mark.parametrize(
    ("written", "record", "expected"),
    [
        pytest.param(STARTED + 0.25, "", True, id="written after the start"),
        pytest.param(STARTED - 0.25, "", False, id="read at the start"),
        pytest.param(STARTED + 9, "5b38 beef", False, id="read by a reload"),
        pytest.param(STARTED + 9, "5b38 0000", True, id="another file was read by a reload"),
        pytest.param(STARTED + 9, "77aa beef", True, id="restarted since the reload"),
    ],
)
def test_a_file_that_the_service_has_not_read(tmp_path: Path, written: float, record: str, expected: bool) -> None:
    path = file(tmp_path / "settings", written)
    assert unread(parse(SHOWN), [path, f"{tmp_path}/none"], record, "beef") == ([path] if expected else [])


def test_a_service_that_has_never_run_has_nothing_unread(tmp_path: Path) -> None:
    assert unread(Service(), [file(tmp_path / "settings", STARTED)]) == []


def test_a_folder_counts_with_what_is_in_it(tmp_path: Path) -> None:
    old, new = file(tmp_path / "x" / "old", STARTED - 1), file(tmp_path / "x" / "in" / "new", STARTED + 1)
    for folder in (tmp_path / "x" / "in", tmp_path / "x"):
        os.utime(folder, (STARTED - 1, STARTED - 1))
    assert set(tree(f"{tmp_path}/x")) == {f"{tmp_path}/x", f"{tmp_path}/x/in", old, new}
    assert written_after(STARTED, tree(f"{tmp_path}/x")) == [new]
    assert list(tree(old)) == [old]


@pytest.mark.parametrize(
    ("written", "is_known", "is_unread"),
    [
        pytest.param(STARTED + 1, True, True, id="written"),
        pytest.param(STARTED - 1, True, False, id="read"),
        pytest.param(STARTED - 1, False, True, id="written, systemd not told"),
        pytest.param(None, True, True, id="removed, systemd not told"),
        pytest.param(None, False, False, id="never there"),
    ],
)
def test_a_drop_in_of_the_unit(tmp_path: Path, written: float | None, is_known: bool, is_unread: bool) -> None:
    path = f"{tmp_path}/docker.service.d/own.conf"
    if written is not None:
        file(Path(path), written)
    service = parse(SHOWN)._replace(drop_ins=(path,) if is_known else ())
    assert unread_drop_in(service, path) == ([path] if is_unread else [])


@pytest.mark.parametrize(("foreign", "expected"), [(False, True), (True, False)])
def test_a_drop_in_that_was_removed(tmp_path: Path, foreign: bool, expected: bool) -> None:
    """systemd knows of it, the service was not restarted; with others in the folder nobody can tell whose it was."""
    folder = tmp_path / "docker.service.d"
    folder.mkdir()
    if foreign:
        file(folder / "limits.conf", STARTED - 1)
    os.utime(folder, (STARTED + 1, STARTED + 1))
    assert unread_drop_in(parse(SHOWN), f"{folder}/own.conf") == ([str(folder)] if expected else [])


def test_a_program_that_was_not_replaced() -> None:
    assert not program_replaced(os.getpid())
    assert not program_replaced(0)
