# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job: long work on the host, which goes on when the connection or the controller is lost.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Its files are in a directory of its own: C(run) is the script that does the work, C(log) what it writes,
C(attempt.json) says when it began and C(status), once it has ended, its exit status. Secrets are only in the private
directory of its launcher. C(lock), beside the directory, is held by who starts the job or takes what came out.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._files import text_files
from ansible_collections.mistralrs.stack.plugins.module_utils._files.lock import FileLock
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.launch import Launcher, NotStarted

# The journal of the unit shows the last lines of the log.
_SCRIPT = """\
#!/bin/sh
umask 077
{{
{program}
}} >log 2>&1
status=$?
tail -n 20 log
rm -rf {private}
echo "$status" >status.new && mv status.new status
exit "$status"
"""


class State(NamedTuple):
    """How a job is: none, running, succeeded, failed or interrupted (it ended without saying how).

    C(seconds) is how long it took or takes so far, C(code) its exit status if it failed.
    """

    name: str
    seconds: float = 0.0
    code: int = 0


class Job:
    """One job of this host; the same directory is the same job."""

    def __init__(self, folder: str, launcher: Launcher) -> None:
        self.folder = os.path.abspath(folder)
        self.launcher = launcher

    def path(self, name: str) -> str:
        """A file of the job."""
        return os.path.join(self.folder, name)

    def read(self, name: str) -> str:
        """The text of a file of the job; empty if there is none. Raises OSError."""
        return text_files.read(self.path(name))

    def lock(self, shared: bool = False, create: bool = True) -> FileLock:
        """The lock under which a run starts the job or takes what came out; the others wait for it."""
        if create:
            os.makedirs(os.path.dirname(self.folder), exist_ok=True)
        return FileLock(f"{self.folder}.lock", shared=shared, create=create, timeout=None)

    def attempt(self) -> dict[str, Any]:
        """What L{start} was told about the last attempt, and C(began), its time; {} if there was none."""
        try:
            found = json.loads(self.read("attempt.json") or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def state(self) -> State:
        """How the last attempt is. Raises OSError."""
        attempt = self.attempt()
        if not attempt:
            return State("none")
        began = float(attempt.get("began", 0))
        # First whether it runs and then what it wrote: the other way round it may end in between.
        is_running = self.launcher.is_running()
        status = self.read("status").strip()
        if not is_running and status:
            # The status may be read hours later.
            seconds = max(0.0, os.stat(self.path("status")).st_mtime - began)
            return State("succeeded", seconds) if status == "0" else State("failed", seconds, int(status))
        return State("running" if is_running else "interrupted", max(0.0, time.time() - began))

    def start(self, program: str, private: Mapping[str, bytes], **details: Any) -> None:
        """Start a new attempt; the caller has the lock.

        C(program) is a piece of a shell script that runs in the job's directory; its status is that of its last
        command. C(private) are files in the launcher's private directory, C(details) what L{attempt} returns. Raises
        L{NotStarted} and OSError; then there is no attempt.
        """
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        text_files.remove(self.folder, "status")
        try:
            shutil.rmtree(self.launcher.private, ignore_errors=True)
            os.makedirs(self.launcher.private, mode=0o700, exist_ok=True)
            for name, content in private.items():
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with open(os.open(os.path.join(self.launcher.private, name), flags, 0o600), "wb") as file:
                    file.write(content)
            script = _SCRIPT.format(program=program, private=shlex.quote(self.launcher.private))
            text_files.write(self.path("run"), script, 0o700)
            text_files.write(self.path("attempt.json"), json.dumps({"began": time.time(), **details}))
            self.launcher.start(self.path("run"), self.folder)
        except (NotStarted, OSError):
            shutil.rmtree(self.launcher.private, ignore_errors=True)
            text_files.remove(self.folder, "attempt.json")
            raise

    def remove(self, *names: str) -> None:
        """Remove files of the job, if they are there. Raises OSError."""
        text_files.remove(self.folder, *names)
