# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers what the container toolkit meets on this host: Docker, its packages, and who else names its repository.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._docker.facts import Daemon
from ansible_collections.mistralrs.stack.plugins.module_utils._docker.probe import APT_SOURCES, Command, ask_daemon
from ansible_collections.mistralrs.stack.plugins.module_utils._host import service_state

UNIT = "nvidia-cdi-refresh.service"
_ENTRY = re.compile(r"\s*(deb(-src)?\s|URIs:)")
_NVIDIA = r"nvidia\.github\.io/(libnvidia-container|nvidia-docker|nvidia-container-runtime)"
# As dpkg says it, and in one word.
_STATES = {"hold ok installed": "held", "install ok installed": "free"}


class Package(NamedTuple):
    """A package that is there; C(state) is C(held), C(free) (the next update may change it), or what dpkg says."""

    name: str
    state: str
    version: str


class Facts(NamedTuple):
    """What the toolkit meets on a host.

    C(client) and C(program) are the paths of Docker's client, links resolved, and of its daemon, empty if there are
    none. C(sources) are other files that name the repository and nothing else, C(mixed_sources) those that name others
    too. C(selinux_devices) is SELinux' C(on) or C(off) for devices in containers, empty without SELinux.
    """

    daemon: Daemon
    client: str
    program: str
    needs_daemon_reload: bool
    packages: tuple[Package, ...]
    sources: tuple[str, ...]
    mixed_sources: tuple[str, ...]
    selinux_devices: str


def result(facts: Facts) -> dict[str, Any]:
    """The facts as a module returns them."""
    packages = [package._asdict() for package in facts.packages]
    return {**facts._asdict(), "daemon": facts.daemon._asdict(), "packages": packages}


def gather(
    names: Sequence[str], own_source: str, address: str, run: Command, find: Callable[[str], str | None]
) -> Facts:
    """All of it for the packages C(names), whose repository at C(address) the file C(own_source) names.

    C(find) gives the path of a program.
    """
    client = find("docker")
    sources, mixed = other_sources(_source_files(own_source), address)
    return Facts(
        daemon=ask_daemon(run)[0],
        client=os.path.realpath(client) if client else "",
        program=find("dockerd") or "",
        needs_daemon_reload=service_state.parse(run(["systemctl", *service_state.SHOW, UNIT])[1]).needs_daemon_reload,
        packages=_deb(names, run) if find("dpkg-query") else _rpm(names, run),
        sources=sources,
        mixed_sources=mixed,
        selinux_devices=parse_sebool(run(["getsebool", "container_use_devices"])[1]),
    )


def _deb(names: Sequence[str], run: Command) -> tuple[Package, ...]:
    return parse_deb(run(["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Status}\n", *names])[1])


def _rpm(names: Sequence[str], run: Command) -> tuple[Package, ...]:
    return parse_rpm(run(["rpm", "--query", "--queryformat", "held %{NAME} %{VERSION}-%{RELEASE}\n", *names])[1])


def parse_deb(text: str) -> tuple[Package, ...]:
    """Lines of dpkg-query with the name, the version and the status."""
    lines = (re.match(r"(\S+) (\S*) (.*)", line) for line in text.splitlines())
    return tuple(Package(line[1], _STATES.get(line[3], line[3]), line[2]) for line in lines if line)


def parse_rpm(text: str) -> tuple[Package, ...]:
    """Lines of rpm; there, packages are held by a repository that is off but for the role that installs them."""
    lines = (line.split() for line in text.splitlines())
    return tuple(Package(words[1], "held", words[2]) for words in lines if len(words) == 3 and words[0] == "held")


def parse_sebool(text: str) -> str:
    """C(on) or C(off) of C(container_use_devices --> off)."""
    return text.strip().rpartition("--> ")[2] if "--> " in text else ""


def _source_files(own: str) -> list[tuple[str, str]]:
    """The path and the text of each of apt's files of sources but our own."""
    found = []
    for path in (path for pattern in APT_SOURCES for path in sorted(glob.glob(pattern))):
        if path != own and os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                found.append((path, file.read()))
    return found


def other_sources(texts: Sequence[tuple[str, str]], address: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of the files (path, text) that name NVIDIA's repository or its mirror: alone, and beside others."""
    repository = re.compile(f"{_NVIDIA}|{re.escape(address)}")
    alone: list[str] = []
    mixed: list[str] = []
    for path, text in texts:
        entries = [line for line in text.splitlines() if _ENTRY.match(line)]
        named = [line for line in entries if repository.search(line)]
        if named:
            (alone if named == entries else mixed).append(path)
    return tuple(alone), tuple(mixed)
