# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is of Docker on a host, as data, and how the words of its programs are read.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Only what is named here leaves the host: what C(docker info) and the service's command line say may hold passwords.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._docker.daemon_json import masked

_FATAL = re.compile(r"failed to start daemon|unable to configure|level=fatal|Failed at step")
_FROM_SYSTEMD = re.compile(r"docker\.service|Start|Stopp|Failed to start docker")
_COMPLAINT = re.compile(r"error|cannot|failed|no such", re.I)
_FROM_ANYBODY = re.compile(r"error|cannot|too quickly", re.I)


class Daemon(NamedTuple):
    """What C(docker info) says. Without a daemon that answers, C(version) is empty, and the plugins may still be known.

    C(swarm) is the state of the host in one, as C(inactive).
    """

    version: str = ""
    compose_version: str = ""
    buildx_version: str = ""
    storage_driver: str = ""
    data_root: str = ""
    cgroup_driver: str = ""
    containers_running: int = 0
    live_restore: bool = False
    swarm: str = ""
    cdi_folders: tuple[str, ...] = ()
    security_options: tuple[str, ...] = ()


class Package(NamedTuple):
    """An installed package of Debian's; C(selection) is what dpkg is to do with it, C(install) or C(hold)."""

    name: str
    version: str
    selection: str


class Network(NamedTuple):
    """An IPv4 network that the host reaches through an interface, as C(10.0.0.0/8)."""

    interface: str
    network: str


class Facts(NamedTuple):
    """What there is of Docker on a host.

    C(program) is the daemon's program, or the unit that starts it, and empty without Docker. C(data_root) is where its
    data is; C(free_kb) (units of 1024 bytes) and C(file_system) are those of there, or of where it is to go.
    """

    daemon: Daemon = Daemon()
    program: str = ""
    state: str = ""
    enabled: str = ""
    last_words: str = ""
    options: tuple[str, ...] = ()
    packages: tuple[Package, ...] = ()
    available_versions: tuple[str, ...] = ()
    repository_file: str = ""
    data_root: str = ""
    has_data: bool = False
    free_kb: int = 0
    file_system: str = ""
    networks: tuple[Network, ...] = ()
    userns_user: bool = False
    snap: bool = False
    rootless_users: tuple[str, ...] = ()
    service_files: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    program_replaced: bool = False

    def version_of(self, package: str) -> str:
        """The version of an installed package, empty if it is not installed."""
        return next((one.version for one in self.packages if one.name == package), "")


def result(facts: Facts) -> dict[str, Any]:
    """The facts as a module returns them."""
    return {
        **facts._asdict(),
        "daemon": facts.daemon._asdict(),
        "packages": [package._asdict() for package in facts.packages],
        "networks": [network._asdict() for network in facts.networks],
    }


def from_result(data: Mapping[str, Any]) -> Facts:
    """The facts that a module returned."""
    return Facts(
        **{
            **data,
            "daemon": Daemon(**data["daemon"]),
            "packages": tuple(Package(**package) for package in data["packages"]),
            "networks": tuple(Network(**network) for network in data["networks"]),
        }
    )


def parse_info(text: str) -> Daemon:
    """What C(docker info --format '{{json .}}') printed."""
    lines = text.splitlines()
    try:
        info = json.loads(lines[-1]) if lines else {}
    except ValueError:
        info = {}
    if not isinstance(info, dict):
        return Daemon()
    plugins = {
        str(plugin.get("Name")): str(plugin.get("Version") or "")
        for plugin in (info.get("ClientInfo") or {}).get("Plugins") or []
        if isinstance(plugin, dict)
    }
    return Daemon(
        version=str(info.get("ServerVersion") or ""),
        compose_version=plugins.get("compose", ""),
        buildx_version=plugins.get("buildx", ""),
        storage_driver=str(info.get("Driver") or ""),
        data_root=str(info.get("DockerRootDir") or ""),
        cgroup_driver=str(info.get("CgroupDriver") or ""),
        containers_running=int(info.get("ContainersRunning") or 0),
        live_restore=bool(info.get("LiveRestoreEnabled")),
        swarm=str((info.get("Swarm") or {}).get("LocalNodeState") or ""),
        cdi_folders=tuple(info.get("CDISpecDirs") or ()),
        security_options=tuple(info.get("SecurityOptions") or ()),
    )


def last_words(journal: str, client: str) -> str:
    """The daemon's reason for not starting, else its or systemd's last complaint, else its client's."""
    lines = [line for line in journal.splitlines() if "level=info" not in line]
    choices = (
        [line for line in lines if _FATAL.search(line)],
        [line for line in lines if _COMPLAINT.search(line) and not _FROM_SYSTEMD.match(line)],
        [line for line in lines if _FROM_ANYBODY.search(line)],
        [line for line in client.splitlines() if line.strip(" ")],
    )
    return str(masked(next((found[-1] for found in choices if found), "")))


def option_names(command: str, defaults: str) -> tuple[str, ...]:
    """The names of dockerd's options, not their values: in C(ExecStart) of its unit and in Debian's C(DOCKER_OPTS)."""
    texts = re.findall(r"argv\[\]=([^;]*);", command)
    texts += re.findall(r"""^ *DOCKER_OPTS= *["']?([^"'\n]*)""", defaults, re.MULTILINE)
    words = (re.match(r"-+[A-Za-z][A-Za-z-]*", word) for text in texts for word in text.split())
    return tuple(sorted({word.group() for word in words if word}))


def parse_packages(text: str) -> tuple[Package, ...]:
    """What dpkg-query printed: lines of the status, the name, the version and the selection of a package."""
    lines = (line.split() for line in text.splitlines())
    return tuple(Package(*words[1:4]) for words in lines if len(words) == 4 and words[0] == "installed")


def parse_versions(text: str) -> tuple[str, ...]:
    """The versions that C(apt-cache madison) printed, in its order, the newest first."""
    rows = (line.split() for line in text.splitlines())
    return tuple(dict.fromkeys(row[2] for row in rows if len(row) > 2 and row[-1] != "Sources"))


def parse_routes(text: str) -> tuple[Network, ...]:
    """The networks in C(/proc/net/route), but the default one and those of Docker's own bridges.

    Its numbers are hexadecimal, the bytes in the machine's order, which is the little-endian one on every machine with
    GPUs that is known here.
    """
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        interface, destination, mask = words[0], words[1], words[7]
        if interface.startswith(("docker", "br-", "veth")) or int(mask, 16) == 0:
            continue
        address = ipaddress.IPv4Address(bytes.fromhex(destination)[::-1])
        found.append(Network(interface, f"{address}/{bin(int(mask, 16)).count('1')}"))
    return tuple(found)


def names_repository(texts: Sequence[tuple[str, str]], address: str) -> str:
    """The first of the files (path, text) that names the package repository, whatever its protocol; empty if none."""
    place = address.split("://", 1)[-1]
    return next((path for path, text in texts if place in text), "")
