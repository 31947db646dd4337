"""Processes of this machine, for tests that take them away."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def kill_family(pid: int) -> None:
    """Kill a process and all that descend from it; Ansible's workers and connections have sessions of their own."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    family, before = {pid}, 0
    while len(family) > before:
        before = len(family)
        family |= {child for child, parent in parents.items() if parent in family}
    for member in family:
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
