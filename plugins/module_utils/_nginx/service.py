# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Nginx that runs: what it has loaded, and how it is made to run what lies there.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import http.client
import os
import re
import time
from typing import Callable, NamedTuple
from urllib.parse import urlsplit

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._host.service_state import program_replaced

NOT_LOADED = Fault(
    "gateway.configuration_not_loaded",
    "Nginx does not run the new configuration: {problem}.",
    "The files are as they were before; free what is in the way, or correct the setting that this comes from, and run "
    "again.",
)

PATIENCE = 30.0
GRACE = 4.0
POLL = 0.1

Command = Callable[[list[str]], tuple[int, str, str]]


class Running(NamedTuple):
    """What runs now; C(loaded) is the name of the files that the running Nginx has read."""

    active: bool
    outdated: bool
    loaded: str


def loaded(url: str, timeout: float = 2.0) -> str:
    """What Nginx answers at an address of its own; '' if it does not. Whatever proxy the environment names."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return answer.read(200).decode("ascii", "replace").strip() if answer.status == 200 else ""
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def replaced(pid: int) -> bool:
    """Whether the program or one of Nginx's modules was replaced on the disk since it was started."""
    if program_replaced(pid):
        return True
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            return any(re.search(r"/ngx_\w+\.so \(deleted\)$", line) for line in file)
    except OSError:
        return False


def look(unit: str, url: str, run: Command) -> Running:
    """What of the unit runs."""
    _rc, stdout, _stderr = run(["systemctl", "show", "--property=ActiveState,MainPID", unit])
    state = dict(line.split("=", 1) for line in stdout.splitlines() if "=" in line)
    pid = int(state.get("MainPID") or 0)
    if state.get("ActiveState") not in ("active", "reloading") or not pid:
        return Running(False, False, "")
    return Running(True, replaced(pid), loaded(url))


def take_up(unit: str, url: str, name: str, running: Running, error_log: str, run: Command) -> str:
    """Make the unit run what lies there; returns the verb that did it. Raises StackError if it goes on without."""
    verb = "start" if not running.active else "restart" if running.outdated else "reload"
    end_of_log = os.path.getsize(error_log) if os.path.exists(error_log) else 0
    rc, stdout, stderr = run(["systemctl", verb, unit])
    end, complained = time.monotonic() + PATIENCE, False
    while rc == 0:
        if loaded(url) == name:
            return verb
        # The main process reads the files after the command has ended, and says only in its log that it could not;
        # for an address in use it tries a few times.
        if not complained and complaint(error_log, end_of_log):
            complained = True
            end = min(end, time.monotonic() + GRACE)
        if time.monotonic() > end:
            break
        time.sleep(POLL)
    reason = complaint(error_log, end_of_log)
    if not reason:
        lines = [line for line in (stderr + stdout).splitlines() if line.strip()]
        reason = lines[0] if lines else f"'systemctl {verb} {unit}' had no effect, and {error_log} does not say why"
    raise StackError(NOT_LOADED, problem=reason.rstrip("."))


def complaint(error_log: str, begin: int) -> str:
    """The first serious line that Nginx has written since; without its time and process."""
    try:
        with open(error_log, "rb") as file:
            file.seek(begin)
            text = file.read(1 << 20).decode("utf-8", "replace")
    except OSError:
        return ""
    found = re.search(r"^[\d/]+ [\d:]+ \[emerg\] (?:\d+#\d+: )?(.*)$", text, re.MULTILINE)
    return found.group(1) if found else ""
