# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process something belongs to, and whether it still runs.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import socket


def began(pid: int) -> str:
    """When a process was started, in the kernel's ticks; '' if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""


def own_name() -> str:
    """A name for this process that no other one has, also after a restart of the host."""
    pid = os.getpid()
    return f"{socket.gethostname()} {_boot()} {pid} {began(pid)}"


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "-"


def is_running(name: str) -> bool:
    """Whether a process of this host, by the name that it gave itself, still runs and is not this one."""
    words = name.split()
    if len(words) != 4 or words[:2] != [socket.gethostname(), _boot()] or not words[2].isdigit():
        return False
    pid = int(words[2])
    return pid != os.getpid() and began(pid) == words[3]


def readable(name: str) -> str:
    """The name that a process gave itself, for people."""
    words = name.split()
    if len(words) != 4 or not words[2].isdigit():
        return "another process"
    return f"process {words[2]} of {'this host' if words[0] == socket.gethostname() else words[0]}"
