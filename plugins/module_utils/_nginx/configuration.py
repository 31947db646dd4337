# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of Nginx's configuration: as they shall be, as differences show them, and tested as one.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any, Callable
from urllib.parse import urlsplit

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.staged_tree import (
    Change,
    Wanted,
    checked_path,
    is_stock,
    stage_copy,
)

BROKEN = Fault(
    "gateway.configuration_broken",
    "Nginx could not start with the configuration in {root}: {problem}.",
    "That part is not from this collection: correct it, or reinstall the package that it came with.",
)
REJECTED = Fault(
    "gateway.configuration_rejected",
    "Nginx refuses the new configuration: {problem}.",
    "The old one is still in place and in use; correct the setting that this line comes from.",
)
WRONG_MODE = Fault(
    "gateway.wrong_mode",
    "The permissions of {path} are {mode!r}, but must be an octal number.",
    "Give them as four digits in quotes, such as '0644'.",
)

STOCK_SITE = "sites-enabled/default"

Command = Callable[[list[str]], tuple[int, str, str]]


def octal(path: str, mode: str) -> int:
    """The permissions of a file from digits such as C(0644)."""
    if not re.match(r"(0o)?0*[0-7]{1,4}\Z", mode):
        raise StackError(WRONG_MODE, path=path, mode=mode)
    return int(mode, 8)


def wanted_files(root: str, files: list[dict[str, Any]], secrets: Mapping[str, Any]) -> list[Wanted]:
    """The files of the options C(files) and C(secrets) of the module nginx_config."""
    wanted = []
    for entry in files:
        path, content = checked_path(entry["path"]), None
        if entry["state"] == "present":
            content = entry["content"].encode("utf-8")
        elif entry["state"] == "as_is":
            with open(os.path.join(root, path), "rb") as file:
                content = file.read()
        wanted.append(Wanted(path, content, octal(entry["path"], entry["mode"]), False))
    for path, text in secrets.items():
        wanted.append(Wanted(checked_path(path), str(text).encode("utf-8"), 0o600, True))
    return wanted


def loaded_file(path: str, url: str, name: str) -> Wanted:
    """The file in which Nginx finds the name of the files that it has read, to answer it at C(url)."""
    text = f"# Managed by Ansible: the name of the files as Nginx has read them.\nlocation = {urlsplit(url).path} {{\n"
    text += f'    default_type text/plain;\n    return 200 "{name}\\n";\n}}\n'
    return Wanted(checked_path(path), text.encode(), 0o644, False)


def stock_site(root: str, dpkg_query: str | None, run: Command) -> list[Wanted]:
    """The removal of the welcome page's link, if that is as the package made it."""
    link = os.path.join(root, STOCK_SITE)
    site = os.path.join(root, "sites-available", "default")
    if not dpkg_query or not os.path.islink(link) or os.path.realpath(link) != os.path.realpath(site):
        return []
    _rc, conffiles, _stderr = run([dpkg_query, "-W", "-f", "${Conffiles}\n", "nginx-common"])
    return [Wanted(STOCK_SITE, None, 0o644, False)] if is_stock(site, conffiles) else []


def difference(root: str, change: Change) -> dict[str, str]:
    """A change as Ansible shows it, without what is secret."""
    path = os.path.join(root, change.wanted.path)
    # A file that only its owner may read is as secret when it goes as when it comes.
    private = [mode for mode in (change.mode_before, change.wanted.mode) if mode is not None and not mode & 0o077]
    hidden = change.wanted.secret or bool(private)

    def shown(content: bytes | None) -> str:
        if content is None:
            return ""
        return "(secret)\n" if hidden else content.decode("utf-8", "replace")

    before, after = shown(change.before), shown(change.wanted.content)
    if before == after:
        before, after = f"{before}(before)\n", f"{after}(after)\n"
    return {"before_header": path, "after_header": path, "before": before, "after": after}


def check(
    run: Command, program: str, root: str, todo: list[Change], marks: list[Change], folder: str, trial: str = ""
) -> None:
    """Have Nginx test the configuration as it will be, in a copy below C(folder). C(marks) only name what lies there.

    C(trial) is a file below C(root) with which Nginx is started for a moment, for what its test does not look at.
    Raises StackError C(gateway.configuration_rejected), and C(gateway.configuration_broken) if nothing would change;
    OSError if there is no room for the copy.
    """
    if not todo and not marks:
        problem = refusal(run, program, root)
        if problem:
            raise StackError(BROKEN, root=root, problem=problem)
        return
    stage = tempfile.mkdtemp(prefix="nginx-", dir=folder)
    try:
        stage_copy(root, stage, todo + marks)
        problem = refusal(run, program, stage) or (trial_problem(run, program, stage, trial) if trial else "")
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    if problem:
        problem = problem.replace(stage, root)
        raise StackError(REJECTED, problem=problem) if todo else StackError(BROKEN, root=root, problem=problem)


def refusal(run: Command, program: str, folder: str) -> str:
    """What Nginx has against the configuration in a folder; '' if nothing."""
    rc, stdout, stderr = run([program, "-t", "-q", "-c", os.path.join(folder, "nginx.conf")])
    if rc == 0:
        return ""
    lines = [line for line in (stderr or stdout).splitlines() if line.strip()]
    serious = [line for line in lines if "[emerg]" in line or "[crit]" in line or "[alert]" in line] or lines
    line = serious[0] if serious else f"it exits with {rc} and prints nothing"
    return without_prefix(line)


def trial_problem(run: Command, program: str, folder: str, name: str) -> str:
    """What goes wrong when Nginx is started with a file of the folder, and stopped again; '' if nothing.

    Programs that are part of the configuration are read at a start only, so that a test sees nothing of their mistakes.
    The file has to name a pid and an error log within the folder, and to listen nowhere.
    """
    command = [program, "-c", os.path.join(folder, name)]
    rc, stdout, stderr = run(command)
    if rc == 0:
        run([*command, "-s", "stop"])
        return ""
    lines = [line.strip() for line in (stderr or stdout).splitlines() if line.strip()]
    place = next((number for number, line in enumerate(lines) if "error" in line or "emerg" in line), None)
    if place is None:
        return f"it exits with {rc} and prints nothing"
    said = lines[place]
    # Where a module of Lua cannot be read, the next line says which line of it, and why.
    if said.endswith(":") and place + 1 < len(lines):
        said = f"{said} {lines[place + 1]}"
    return without_prefix(said)


def without_prefix(line: str) -> str:
    """A line of Nginx's log without its time, its level and who wrote it."""
    return re.sub(r"^(nginx: |[\d/]+ [\d:]+ )?\[\w+\] (\d+#\d+: )?", "", line).rstrip(".")
