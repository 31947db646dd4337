# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role docker_engine does on a host: settings, packages, or what is wrong.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

Facts about dockerd are from its reference (docs.docker.com/reference/cli/dockerd) and its source (daemon/config): which
keys of daemon.json its options stand for, that it does not start if both are given, and that user namespaces give its
data another folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._docker.daemon_json import merge
from ansible_collections.mistralrs.stack.plugins.module_utils._docker.facts import from_result
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._docker_settings import (
    PROXIES_IN_SETTINGS,
    Host,
    invalid,
    proxies_of,
    settings_of,
)

DATA_ROOT_HAS_MOVED = Fault(
    "docker.data_root_has_moved",
    "Docker keeps images, volumes or containers in {former}, and 'docker_engine_data_root' is {wanted}: Docker "
    "would no longer find them.",
    "Stop Docker (systemctl stop docker.socket docker.service), move them (cp -a {former}/. {wanted}/ and then "
    "mv {former} {former}.old), and run again; or leave the variable as it was.",
)
DATA_ROOT_ON_NETWORK = Fault(
    "docker.data_root_on_network",
    "Docker's folder {folder} is on a file system of type {kind}, on which Docker cannot keep images reliably.",
    "Set 'docker_engine_data_root' to a folder on a local disk with ext4 or XFS.",
)
USERNS_HIDES_DATA = Fault(
    "docker.userns_hides_data",
    "'docker_engine_userns_remap' is {wanted} and Docker runs with {former}: it would keep its data in another "
    "folder, and no longer find the images, volumes and containers that are in {folder}.",
    "Remove them first (docker system prune --all --volumes, after saving what is needed), or leave the variable as it "
    "was.",
)
USERNS_USER_UNKNOWN = Fault(
    "docker.userns_user_unknown",
    "'docker_engine_userns_remap' names {user}, who is not a user of the host with entries in /etc/subuid and "
    "/etc/subgid.",
    "Make that user (useradd --system {user}; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "
    "{user}), or use 'default'.",
)
CGROUP_WITH_CONTAINERS = Fault(
    "docker.cgroup_driver_with_containers",
    "'docker_engine_cgroup_driver' is {wanted}, Docker runs with {former}, and {count} of its containers are running.",
    "Stop them first: a container that outlasts the change is no longer limited as it should be.",
)
FLAGS_CONFLICT = Fault(
    "docker.flags_conflict",
    "dockerd is started with the option {flag}, and the key '{key}' would also be in daemon.json: with both it "
    "does not start.",
    "Remove the option (systemctl cat docker.service shows the drop-in; on Debian DOCKER_OPTS in "
    "/etc/default/docker may hold it), or don't set the key.",
)
SNAP = Fault(
    "docker.snap_unsupported",
    "The host has Docker as a snap, which reads no settings from /etc/docker and cannot use GPUs.",
    "Save what is needed, remove it (snap remove --purge docker), and run again.",
)
ROOTLESS = Fault(
    "docker.rootless_only",
    "Docker on the host runs only rootless, for {users}, but the stack needs the system-wide Docker.",
    "Remove it (dockerd-rootless-setuptool.sh uninstall, as that user), or enable the system's Docker beside it "
    "(systemctl enable --now docker.service), and run again.",
)
VERSION_UNAVAILABLE = Fault(
    "docker.version_unavailable",
    "'docker_engine_version' is {version}, but the package repositories of the host have {package} in {available}.",
    "Set one of those, or add the repository that has it.",
)
VERSION_NEEDS_APT = Fault(
    "docker.version_needs_apt",
    "'docker_engine_version' is {version}, but this host uses dnf, with which the role cannot pin a version.",
    "Install that version by hand (dnf install docker-ce-{version}; dnf versionlock add docker-ce): an existing Docker "
    "is left as it is. Then unset the variable.",
)
OTHER_SOURCE = Fault(
    "docker.other_source",
    "'docker_engine_version' is {version}, but the Docker {present} on the host {origin}, not from the source "
    "'{source}'.",
    "Unset the variable to keep that Docker, set 'docker_engine_source' to where it came from, or remove it "
    "(its data stays).",
)
# Options of dockerd that are not called like their key in daemon.json.
FLAG_KEYS = {
    "-D": "debug",
    "-G": "group",
    "-H": "hosts",
    "-b": "bridge",
    "-l": "log-level",
    "-p": "pidfile",
    "-s": "storage-driver",
    "--add-runtime": "runtimes",
    "--authorization-plugin": "authorization-plugins",
    "--cdi-spec-dir": "cdi-spec-dirs",
    "--default-address-pool": "default-address-pools",
    "--default-network-opt": "default-network-opts",
    "--default-ulimit": "default-ulimits",
    "--dns-opt": "dns-opts",
    "--exec-opt": "exec-opts",
    "--feature": "features",
    "--host": "hosts",
    "--http-proxy": "proxies",
    "--https-proxy": "proxies",
    "--insecure-registry": "insecure-registries",
    "--label": "labels",
    "--log-opt": "log-opts",
    "--no-proxy": "proxies",
    "--node-generic-resource": "node-generic-resources",
    "--registry-mirror": "registry-mirrors",
    "--storage-opt": "storage-opts",
}
NETWORK_FILE_SYSTEMS = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
        "virtiofs",
    ]
)


def upstream(package_version: str) -> str:
    """The version of Docker in a package's: C(26.1.5) of C(5:26.1.5-1~debian.12~bookworm) or C(26.1.5+dfsg1-9+b9)."""
    return re.split(r"[-+~]", package_version.partition(":")[2] or package_version)[0]


def resolve(version: str, available: Sequence[str]) -> str | None:
    """The package version in C(available) (newest first) that C(version) means.

    A user gives the package's whole version, the same without its epoch (C(5:), which apt insists on), or
    Docker's alone.
    """
    for form in (lambda one: one, lambda one: one.partition(":")[2] or one, upstream):
        for one in available:
            if form(one) == version:
                return one
    return None


def version_wanted(values: Mapping[str, Any], host: Host, offer: Mapping[str, Any]) -> str:
    """The package version to install; empty if any will do, or if the repository that may have it is not there yet."""
    version, package, found = values["version"], offer["versioned"][0], host.found
    if not version:
        return ""
    if not re.fullmatch(r"[0-9][A-Za-z0-9.+~:-]*", version):
        raise invalid("version", f"'{version}' is not a version such as 26.1.5")
    if offer.get("format") == "rpm":
        raise StackError(VERSION_NEEDS_APT, version=version)
    present = found.version_of(package)
    if present and resolve(version, [present]):
        return present
    if found.program and not present:
        running = found.daemon.version
        if version == running:
            return ""
        others = [name for name in ("docker.io", "docker-ce", "moby-engine") if found.version_of(name)]
        origin = f"is from the package {others[0]}" if others else "is not from a package"
        raise StackError(OTHER_SOURCE, version=version, present=running, origin=origin, source=values["source"])
    resolved = resolve(version, found.available_versions)
    if resolved is None and (found.available_versions or offer["repository"] == "present"):
        available = ", ".join(found.available_versions[:12]) or "no version"
        raise StackError(VERSION_UNAVAILABLE, version=version, package=package, available=available)
    return resolved or ""


def major(values: Mapping[str, Any], host: Host, offer: Mapping[str, Any]) -> int:
    """The major version of the Docker that will run."""
    if host.usable and not values["version"]:
        text = host.found.daemon.version
    else:
        found, package = host.found, offer["versioned"][0]
        versions = [values["version"], found.version_of(package), *found.available_versions, found.daemon.version]
        text = upstream(next((one for one in versions if one), ""))
    number = re.match(r"[0-9]+", text)
    # Docker's own repository has had nothing older for years.
    return int(number.group()) if number else PROXIES_IN_SETTINGS


def flag_conflicts(flags: Sequence[str], keys: Sequence[str]) -> list[StackError]:
    """One fault for each of the options C(flags) that stands for one of C(keys)."""
    faults = []
    for flag in flags:
        key = FLAG_KEYS.get(flag, flag.lstrip("-"))
        if key in keys:
            faults.append(StackError(FLAGS_CONFLICT, flag=flag, key=key))
    return faults


def host_problems(values: Mapping[str, Any], settings: Mapping[str, Any], host: Host) -> list[StackError]:
    """What on the host is in the way of C(settings)."""
    found = host.found
    faults = []
    if found.snap:
        faults.append(StackError(SNAP))
    if found.rootless_users and not host.usable and found.enabled not in ("enabled", "enabled-runtime"):
        faults.append(StackError(ROOTLESS, users=", ".join(found.rootless_users)))
    faults += flag_conflicts(found.options, [*host.former, *settings])

    former = str(host.former.get("data-root") or "/var/lib/docker").rstrip("/")
    wanted = str(settings.get("data-root") or former)
    if wanted != former and found.has_data:
        faults.append(StackError(DATA_ROOT_HAS_MOVED, former=former, wanted=wanted))
    kind = found.file_system
    if kind in NETWORK_FILE_SYSTEMS and not (host.usable and wanted == former):
        faults.append(StackError(DATA_ROOT_ON_NETWORK, folder=wanted, kind=kind))

    remap, remap_former = settings.get("userns-remap", ""), host.former.get("userns-remap", "")
    if remap and remap != remap_former:
        if found.has_data:
            before = remap_former or "no user namespace"
            faults.append(StackError(USERNS_HIDES_DATA, wanted=remap, former=before, folder=found.data_root or former))
        user = str(remap).partition(":")[0]
        if user != "default" and not found.userns_user:
            faults.append(StackError(USERNS_USER_UNKNOWN, user=user))

    driver, former_driver, running = (
        values["cgroup_driver"],
        found.daemon.cgroup_driver,
        found.daemon.containers_running,
    )
    if driver and former_driver not in ("", driver) and running:
        faults.append(StackError(CGROUP_WITH_CONTAINERS, wanted=driver, former=former_driver, count=f"{running}"))
    return faults


def docker_plan(
    values: Mapping[str, Any],
    found: Mapping[str, Any],
    former: Mapping[str, Any],
    offer: Mapping[str, Any],
) -> dict[str, Any]:
    """What is to be done on a host.

    C(values) are the role's variables without their prefix, C(found) what the module docker_info found, C(former) the
    settings in daemon.json, C(offer) the entry of the role's table for the distribution and source, with C(repository)
    C(present) if apt knows that source already.

    Returns C(settings), C(secret_settings), C(environment) (lines for dockerd's environment, for a Docker that
    does not take
    proxies from daemon.json), C(version) (the package version to install, or empty) and C(errors) (one line each).
    """
    host = Host(from_result(found), former)
    plan: dict[str, Any] = {"settings": {}, "secret_settings": {}, "environment": [], "version": "", "errors": []}
    faults: list[StackError] = []
    try:
        settings = settings_of(values, host)
        proxies = proxies_of(values["proxies"])
        if proxies and major(values, host, offer) < PROXIES_IN_SETTINGS:
            names = {key: key.replace("-", "_").upper() for key in proxies}
            plan["environment"] = [f'{names[key]}="{value}"' for key, value in proxies.items()]
        elif proxies:
            settings = merge({"proxies": proxies}, settings)
        has_password = re.search(r"://[^/\s]*:[^/\s]*@", str(settings.get("proxies", "")))
        secret = ["proxies"] if has_password else []
        plan["secret_settings"] = {key: settings[key] for key in secret}
        plan["settings"] = {key: value for key, value in settings.items() if key not in secret}
        faults += host_problems(values, settings, host)
        plan["version"] = version_wanted(values, host, offer)
    except StackError as error:
        faults.append(error)
    plan["errors"] = [str(fault) for fault in faults]
    return plan
