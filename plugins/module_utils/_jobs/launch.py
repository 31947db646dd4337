# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a job's script is started: as a transient unit of systemd, or where that can't be as a detached process.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Callable, Protocol

from ansible_collections.mistralrs.stack.plugins.module_utils._files.lock import FileLock, Locked

# Runs a program: its exit status, stdout and stderr.
Run = Callable[[Sequence[str]], "tuple[int, str, str]"]

# A job that is stopped has so long to end by itself, in seconds.
STOP_SECONDS = 30.0
# What was killed is gone after this time, unless its disk does not answer.
_KILL_SECONDS = 5.0
# Who asks whether a process runs has its lock for a moment.
_LOCK_SECONDS = 0.5


class NotStarted(Exception):
    """The script was not started; the text says why."""


class Launcher(Protocol):
    """Starts one script at a time, and knows whether it or a process that it started still runs.

    C(private) is a directory for what the script needs and nobody else may read; it is gone when the script has ended.
    """

    private: str

    def start(self, script: str, folder: str) -> None:
        """Run a shell script in the directory C(folder). Raises L{NotStarted} and OSError."""

    def is_running(self) -> bool:
        """Whether the script, or a process that it started, still runs. Raises OSError."""

    def stop(self, seconds: float) -> None:
        """Send SIGTERM and, after some seconds, SIGKILL to all of it, and wait until it has ended, if it does."""


class Unit:
    """A transient unit of this host's systemd, C(NAME.service); its user has to be root.

    It does not depend on the session of whoever starts it, and systemd removes C(/run/NAME) also if it is killed.
    """

    def __init__(self, name: str, description: str, run: Run, runtime: str = "/run") -> None:
        self.name = name
        self.private = os.path.join(runtime, name)
        self._description = description
        self._run = run

    def start(self, script: str, folder: str) -> None:
        """Run a shell script in the directory C(folder). Raises L{NotStarted}."""
        # A unit that failed or was killed is forgotten, or its name would be taken.
        self._run(["systemctl", "reset-failed", f"{self.name}.service"])
        command = [
            "systemd-run",
            f"--unit={self.name}",
            f"--description={self._description}",
            "--collect",
            "--quiet",
            f"--property=WorkingDirectory={folder}",
            f"--property=RuntimeDirectory={self.name}",
            "--property=RuntimeDirectoryMode=0700",
            f"--property=TimeoutStopSec={STOP_SECONDS:.0f}",
            # The script says how far it is, for 'systemctl status'.
            "--property=NotifyAccess=all",
            "/bin/sh",
            # systemd replaces variables in arguments.
            script.replace("$", "$$"),
        ]
        status, _out, err = self._run(command)
        if status != 0:
            raise NotStarted((err.strip().splitlines() or ["it says nothing"])[-1].rstrip("."))

    def is_running(self) -> bool:
        """Whether a process of the unit still runs."""
        _status, out, _err = self._run(["systemctl", "is-active", f"{self.name}.service"])
        return out.strip() in ("active", "activating", "deactivating", "reloading")

    def stop(self, _seconds: float) -> None:
        """Stop the unit; systemd waits as long as the unit says."""
        self._run(["systemctl", "stop", f"{self.name}.service"])


class Process:
    """A process of a session of its own, for users without root and hosts without systemd.

    All processes of the script hold the lock on the file C(running) in C(folder), so it is free when the last one ends.
    """

    def __init__(self, folder: str) -> None:
        self.private = os.path.join(folder, "private")
        self._lock = os.path.join(folder, "running")

    def start(self, script: str, folder: str) -> None:
        """Run a shell script in the directory C(folder). Raises L{NotStarted} and OSError."""
        # The first shell ends at once, and leaves the second one to process 1.
        command = ["/bin/sh", "-c", '/bin/sh "$1" </dev/null >/dev/null 2>&1 & echo "$$"', "sh", script]
        try:
            with FileLock(self._lock, timeout=_LOCK_SECONDS) as descriptor:
                done = subprocess.run(  # pylint: disable=ansible-bad-function
                    command,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    pass_fds=(descriptor,),
                    start_new_session=True,
                    check=False,
                )
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, done.stdout, 0)
        except Locked:
            raise NotStarted("an earlier one still runs") from None
        if done.returncode != 0:
            raise NotStarted(done.stderr.decode(errors="replace").strip() or "there is no process for it")

    def is_running(self) -> bool:
        """Whether a process of the script still runs. Raises OSError."""
        try:
            with FileLock(self._lock, shared=True, create=False):
                return False
        except Locked:
            return True
        except FileNotFoundError:
            return False

    def stop(self, seconds: float) -> None:
        """Send SIGTERM and, after some seconds, SIGKILL to all processes of the script."""
        for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, _KILL_SECONDS)):
            until = time.monotonic() + patience
            if self.is_running():
                # Its processes keep the number of their group from being given to others.
                with suppress(OSError, ValueError), open(self._lock, encoding="ascii") as file:
                    os.killpg(int(file.read()), number)
            while self.is_running() and time.monotonic() < until:
                time.sleep(0.02)


def launcher_for(name: str, description: str, folder: str, run: Run) -> Launcher:
    """A unit where systemd runs this host and the user is root, else a process."""
    if os.geteuid() == 0 and os.path.isdir("/run/systemd/system"):
        return Unit(name, description, run)
    return Process(folder)
