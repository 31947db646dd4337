# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another program that installs packages: how long it is waited for, and who it is.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

The texts are those of apt 2.4 to 3.0, of Ansible's module apt, and of dnf 4.
"""

from __future__ import annotations

import re

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

# A fresh host updates itself for some minutes. The roles' scripts say the same to apt-get.
TIMEOUT = 600

BUSY = Fault(
    "packages.busy",
    "{where}: {holder} is installing or updating packages and did not finish within {timeout} s.",
    "Wait until it has finished (on a fresh host it is often the automatic update) and run again.",
)

_FAILED = re.compile(
    r"E: ?(Could not get lock|Unable to acquire the dpkg frontend lock|Unable to lock )"
    r"|Failed to lock apt|lockfile is held by another process|already locked by"
)
_HOLDER = re.compile(r"held by process (?P<pid>\d+)(?: \((?P<name>[^)]*)\))?|already locked by (?P<other>\d+)")


def busy(text: str, where: str, timeout: int = TIMEOUT) -> StackError | None:
    """The error for the output of a program that did not get the lock of the packages; None for any other output."""
    if not _FAILED.search(text):
        return None
    holder = "another program"
    for found in _HOLDER.finditer(text):
        pid = found["pid"] or found["other"]
        holder = f"{found['name']} (process {pid})" if found["name"] else f"the process {pid}"
    return StackError(BUSY, where=where, holder=holder, timeout=timeout)
