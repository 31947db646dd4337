# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd says of a service, and which files that lie there the running service has not read.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

A run that writes a file and dies before the service is restarted leaves the next run nothing to write: only the
file's time tells that the service does not have it yet.
"""

from __future__ import annotations

import calendar
import os
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_PROPERTIES = (
    "ActiveState,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload,MainPID,InvocationID,ExecStart,"
    "ExecMainStartTimestamp,StateChangeTimestamp"
)
# What parse() needs; systemd knows such time stamps since its version 248.
SHOW = ["show", "--timestamp=us+utc", f"--property={_PROPERTIES}"]


class Service(NamedTuple):
    """What C(systemctl show) said of a service.

    C(since) and C(changed) are seconds since 1970, 0 if unknown: when its main process was started, and when its state
    changed last, which a reload does too. C(run) is the name that systemd gave to this run of it. C(pid) is 0 without a
    main process. C(needs_daemon_reload): systemd has not read the unit's files as they are.
    """

    state: str = ""
    enabled: str = ""
    unit_file: str = ""
    drop_ins: tuple[str, ...] = ()
    needs_daemon_reload: bool = False
    pid: int = 0
    run: str = ""
    command: str = ""
    since: float = 0.0
    changed: float = 0.0

    @property
    def runs(self) -> bool:
        return self.state in ("active", "reloading")


def parse(shown: str) -> Service:
    """The service of which C(systemctl) with the arguments C(SHOW) said this; without systemd all is empty."""
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    pid = values.get("MainPID", "")
    return Service(
        state=values.get("ActiveState", ""),
        enabled=values.get("UnitFileState", ""),
        unit_file=values.get("FragmentPath", ""),
        drop_ins=tuple(values.get("DropInPaths", "").split()),
        needs_daemon_reload=values.get("NeedDaemonReload") == "yes",
        pid=int(pid) if pid.isdigit() else 0,
        run=values.get("InvocationID", ""),
        command=values.get("ExecStart", ""),
        since=_seconds(values.get("ExecMainStartTimestamp", "")),
        changed=_seconds(values.get("StateChangeTimestamp", "")),
    )


def _seconds(text: str) -> float:
    """The seconds since 1970 of C(Fri 2026-11-27 05:06:42.123456 UTC); 0 for a text that is none."""
    try:
        _weekday, date, clock, _zone = text.split()
        whole, _dot, fraction = clock.partition(".")
        return calendar.timegm(time.strptime(f"{date} {whole}", "%Y-%m-%d %H:%M:%S")) + float(f"0.{fraction or 0}")
    except ValueError:
        return 0.0


def tree(path: str) -> Iterator[str]:
    """A file, or a folder with all that is in it."""
    yield path
    for folder, folders, files in os.walk(path):
        yield from (os.path.join(folder, name) for name in sorted([*folders, *files]))


def trees(paths: Iterable[str]) -> Iterator[str]:
    """The files and folders, and all that is in them."""
    for path in paths:
        yield from tree(path)


def written_after(moment: float, paths: Iterable[str]) -> list[str]:
    """Those of the files and folders that changed after C(moment) (seconds since 1970); none if it is 0, not known."""
    return [path for path in paths if moment and _time_of(path) > moment]


def _time_of(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def unread(service: Service, paths: Iterable[str], record: str = "", digest: str = "") -> list[str]:
    """Those of the files and folders that changed since the service was started, and that it has not read since.

    A reload counts like a start if somebody recorded it: C(record) is the run of the service and the SHA-256 of what it
    then read, C(digest) that of what lies there.
    """
    if record and record.split() == [service.run, digest]:
        return []
    return written_after(service.since, paths)


def unread_drop_in(service: Service, path: str) -> list[str]:
    """The drop-in of the unit, if the running service does not run as it says; removed ones count too.

    Other people's drop-ins in the same folder are theirs to put into effect.
    """
    is_there = os.path.lexists(path)
    if is_there != (path in service.drop_ins):
        # Written or removed by a run that was killed before it told systemd.
        return [path]
    if is_there:
        return unread(service, [path])
    # Removed, and systemd told, but the service not restarted. Only an empty folder shows whose removal changed it.
    folder = os.path.dirname(path)
    return unread(service, [folder]) if os.path.isdir(folder) and not os.listdir(folder) else []


def program_replaced(pid: int) -> bool:
    """Whether the program of a process was replaced on the disk since it was started."""
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith(" (deleted)")
    except OSError:
        return False
