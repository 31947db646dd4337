# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers what there is of Docker on this host; changes nothing.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import glob
import os
import pwd
import stat
from collections.abc import Sequence
from typing import Callable, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._docker import facts
from ansible_collections.mistralrs.stack.plugins.module_utils._files.existing_folder import existing_folder
from ansible_collections.mistralrs.stack.plugins.module_utils._host import service_state
from ansible_collections.mistralrs.stack.plugins.module_utils._host.service_state import Service

UNIT = "docker.service"
# A daemon that hangs does not answer at all.
PATIENCE = 30
APT_SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list", "/etc/apt/sources.list.d/*.sources")
# They lie in every data root, also in one that nobody has used.
_ALWAYS_THERE = frozenset({"metadata.db", "backingFsBlockDev"})

# Runs a program and returns its exit status, what it printed and what it complained of; (127, "", "") if there is none.
Command = Callable[[Sequence[str]], tuple[int, str, str]]


class Request(NamedTuple):
    """What is asked of the host.

    C(data_root) is where Docker is to keep its data, C(former_data_root) the same in the settings that lie there.
    C(package) is the one whose versions are wanted, C(packages) those to look for, C(userns_user) the user of its user
    namespace, C(repository) the address of a package repository, C(service_files) what its service reads only when it
    starts.
    """

    data_root: str = "/var/lib/docker"
    former_data_root: str = "/var/lib/docker"
    package: str = ""
    packages: tuple[str, ...] = ()
    userns_user: str = ""
    repository: str = ""
    service_files: tuple[str, ...] = ()


def ask_daemon(run: Command) -> tuple[facts.Daemon, str]:
    """What Docker says of itself, and what its client complained of."""
    _status, out, err = run(["timeout", str(PATIENCE), "docker", "info", "--format", "{{json .}}"])
    return facts.parse_info(out), err


def unread(service: Service, paths: Sequence[str]) -> list[str]:
    """Those of the files that its service reads when it starts and that the running Docker has not read."""
    if not service.pid:
        return []
    found: list[str] = []
    for path in paths:
        is_drop_in = os.path.basename(os.path.dirname(path)) == f"{UNIT}.d"
        found += service_state.unread_drop_in(service, path) if is_drop_in else service_state.unread(service, [path])
    return found


def gather(request: Request, run: Command, find: Callable[[str], str | None]) -> facts.Facts:
    """All of it; C(find) gives the path of a program."""
    daemon, complaints = ask_daemon(run)
    service = service_state.parse(run(["systemctl", *service_state.SHOW, UNIT])[1])
    journal = run(["journalctl", f"--unit={UNIT}", "--lines=100", "--output=cat", "--no-pager"])[1]
    data_root = daemon.data_root or request.data_root
    # If the data is to move, the new place counts for space and file system.
    moves = request.data_root != request.former_data_root
    folder = existing_folder(request.data_root if moves else data_root)
    space = os.statvfs(folder)
    return facts.Facts(
        daemon=daemon,
        program=find("dockerd") or service.unit_file,
        state=service.state,
        enabled=service.enabled,
        last_words=facts.last_words(journal, complaints),
        options=facts.option_names(service.command, _text("/etc/default/docker")),
        packages=_packages(request.packages, run),
        available_versions=_versions(request.package, run),
        repository_file=_repository_file(request.repository),
        data_root=data_root,
        has_data=any(map(_has_data, (daemon.data_root, request.former_data_root))),
        free_kb=space.f_bavail * space.f_frsize // 1024,
        file_system=_last_line(run(["findmnt", "--noheadings", "--output=FSTYPE", "--target", folder])[1]),
        networks=facts.parse_routes(_text("/proc/net/route")),
        userns_user=is_userns_user(request.userns_user.partition(":")[0]),
        snap=os.path.lexists("/snap/docker/current"),
        rootless_users=tuple(rootless_users()),
        service_files=tuple(path for path in request.service_files if os.path.lexists(path)),
        unread=tuple(unread(service, request.service_files)),
        program_replaced=bool(service.pid) and service_state.program_replaced(service.pid),
    )


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _last_line(text: str) -> str:
    lines = text.splitlines()
    return lines[-1].strip() if lines else ""


def _packages(names: Sequence[str], run: Command) -> tuple[facts.Package, ...]:
    if not names:
        return ()
    form = "${db:Status-Status} ${Package} ${Version} ${db:Status-Want}\n"
    return facts.parse_packages(run(["dpkg-query", "--show", "--showformat", form, *names])[1])


def _versions(package: str, run: Command) -> tuple[str, ...]:
    return facts.parse_versions(run(["apt-cache", "madison", package])[1]) if package else ()


def _repository_file(address: str) -> str:
    if not address:
        return ""
    paths = [path for pattern in APT_SOURCES for path in sorted(glob.glob(pattern))]
    return facts.names_repository([(path, _text(path)) for path in paths], address)


def _has_data(root: str) -> bool:
    """Whether a data root has containers, images or volumes."""
    if not root:
        return False
    parts = [f"{root}/containers", f"{root}/volumes", *glob.glob(f"{root}/image/*/imagedb/content/sha256")]
    return any(not _ALWAYS_THERE.issuperset(os.listdir(part)) for part in parts if os.path.isdir(part))


def is_userns_user(name: str, tables: str = "/etc") -> bool:
    """Whether there is a user who has entries in the tables of subordinate users and groups."""
    if not name:
        return False
    try:
        pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        return False
    texts = (_text(f"{tables}/subuid"), _text(f"{tables}/subgid"))
    return all(any(line.startswith(f"{name}:") for line in text.splitlines()) for text in texts)


def rootless_users(sockets: str = "/run/user") -> list[str]:
    """Who runs a Docker without root's rights. A dead user's socket stays behind; the process tells who has one."""
    found = []
    for socket in sorted(glob.glob(f"{sockets}/*/docker.sock")):
        user = os.path.basename(os.path.dirname(socket))
        if user == "0" or not stat.S_ISSOCK(os.lstat(socket).st_mode):
            continue
        try:
            found.append(pwd.getpwuid(int(user)).pw_name)
        except (KeyError, ValueError):
            found.append(user)
    return found
