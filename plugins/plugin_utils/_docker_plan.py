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

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ansible_collections.mistralrs.stack.plugins.module_utils._docker.daemon_json import merge
from ansible_collections.mistralrs.stack.plugins.module_utils._docker.facts import Facts, Network, from_result
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._trust.certificates import split as split_certificates

SETTING_INVALID = Fault(
    "docker.setting_invalid",
    "The value of '{variable}' cannot be used: {problem}.",
    "Correct it (the role's README describes it); nothing was changed.",
)
POOLS_OVERLAP = Fault(
    "docker.pools_overlap",
    "The address pool {pool} in 'docker_engine_address_pools' overlaps {other}.",
    "Choose networks that nothing else uses; nothing was changed.",
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
    "'docker_engine_userns_remap' names {user}, who is no user of the host with entries in /etc/subuid and "
    "/etc/subgid.",
    "Make that user (useradd --system {user}; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "
    "{user}), or use 'default'.",
)
CGROUP_WITH_CONTAINERS = Fault(
    "docker.cgroup_driver_with_containers",
    "'docker_engine_cgroup_driver' is {wanted}, Docker runs with {former}, and {count} of its containers run.",
    "Stop them first: a container that outlasts the change is no longer limited as it should be.",
)
FLAGS_CONFLICT = Fault(
    "docker.flags_conflict",
    "dockerd is started with the option {flag}, and the key '{key}' is to be in daemon.json too: with both it "
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
    "Docker on the host runs only rootless, for {users}, and the stack needs the system's.",
    "Remove it (dockerd-rootless-setuptool.sh uninstall, as that user), or enable the system's Docker beside it "
    "(systemctl enable --now docker.service), and run again.",
)
VERSION_UNAVAILABLE = Fault(
    "docker.version_unavailable",
    "'docker_engine_version' is {version}, and the package repositories of the host have {package} in {available}.",
    "Set one of those, or add the repository that has it.",
)
VERSION_NEEDS_APT = Fault(
    "docker.version_needs_apt",
    "'docker_engine_version' is {version}, and this host installs with dnf, where the role cannot pin a version.",
    "Install that version by hand (dnf install docker-ce-{version}; dnf versionlock add docker-ce): an existing Docker "
    "is left as it is. Then unset the variable.",
)
OTHER_SOURCE = Fault(
    "docker.other_source",
    "'docker_engine_version' is {version}, and the Docker {present} on the host {origin}, not from the source "
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
# From this version on dockerd takes proxies from daemon.json.
PROXIES_IN_SETTINGS = 23
ULIMITS = frozenset(
    [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ]
)
_REGISTRY = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")
_USERNS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_CGROUP = "native.cgroupdriver="


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


def _invalid(variable: str, problem: str) -> StackError:
    return StackError(SETTING_INVALID, variable=f"docker_engine_{variable}", problem=problem)


def _pools(value: Any, networks: Sequence[Network]) -> list[dict[str, Any]]:
    pools: list[dict[str, Any]] = []
    taken: list[tuple[Any, str]] = [
        (ipaddress.ip_network(one.network), f"the host's network {one.network} ({one.interface})") for one in networks
    ]
    for entry in value:
        if not isinstance(entry, Mapping) or set(entry) != {"base", "size"}:
            raise _invalid("address_pools", f"{entry!r} is not a 'base' and a 'size'")
        try:
            base = ipaddress.ip_network(str(entry["base"]))
            size = int(entry["size"])
        except ValueError as error:
            raise _invalid("address_pools", str(error)) from error
        if "/" not in str(entry["base"]) or not base.prefixlen <= size < base.max_prefixlen - 1:
            limit = base.max_prefixlen - 2
            problem = f"networks of size {size} do not fit into {base}: it has to be from {base.prefixlen} to {limit}"
            raise _invalid("address_pools", problem)
        for other, name in taken:
            if base.version == other.version and base.overlaps(other):
                raise StackError(POOLS_OVERLAP, pool=base, other=name)
        taken.append((base, f"the pool {base}"))
        pools.append({"base": str(base), "size": size})
    return pools


def _url(variable: str, text: str, schemes: Sequence[str], credentials: bool) -> str:
    # The message never shows the value: it may hold a password.
    try:
        parts = urlsplit(text)
        host = parts.hostname
        _port = parts.port
    except ValueError as error:
        raise _invalid(variable, "an address in it has no valid host or port") from error
    if parts.scheme not in schemes or not host or re.search(r"[\s\"']", text) or "@" in parts.path:
        raise _invalid(
            variable,
            f"each address has to be {' or '.join(schemes)}://host:port, special characters in a password as %XX",
        )
    if not credentials and (parts.username is not None or parts.query or parts.fragment):
        raise _invalid(variable, f"Docker takes no user, query or fragment in the address of {host}")
    return text


def _proxies(value: Mapping[str, Any]) -> dict[str, str]:
    unknown = sorted(set(value) - {"http", "https", "no_proxy"})
    if unknown:
        raise _invalid("proxies", f"it has no key {', '.join(unknown)}, only http, https and no_proxy")
    proxies = {}
    for key in ("http", "https"):
        if value.get(key):
            proxies[f"{key}-proxy"] = _url("proxies", str(value[key]), ("http", "https", "socks5"), True)
    no_proxy = value.get("no_proxy") or []
    words = no_proxy.split(",") if isinstance(no_proxy, str) else [str(word) for word in no_proxy]
    words = [word.strip() for word in words if word.strip()]
    if any(re.search(r"[\s\"'\\]", word) for word in words):
        raise _invalid("proxies", "'no_proxy' has to be names and networks, without spaces in them")
    if words:
        proxies["no-proxy"] = ",".join(words)
    return proxies


def _insecure(value: Sequence[Any]) -> list[str]:
    for one in map(str, value):
        if _REGISTRY.fullmatch(one):
            continue
        try:
            ipaddress.ip_network(one)
        except ValueError as error:
            problem = f"'{one}' is neither host:port nor a network such as 10.0.0.0/8"
            raise _invalid("insecure_registries", problem) from error
    return [str(one) for one in value]


def _ulimits(value: Mapping[str, Any]) -> dict[str, Any]:
    limits = {}
    for name, limit in value.items():
        if name not in ULIMITS:
            raise _invalid("ulimits", f"'{name}' is none of {', '.join(sorted(ULIMITS))}")
        pair = limit if isinstance(limit, Mapping) else {"soft": limit, "hard": limit}
        try:
            soft, hard = int(pair["soft"]), int(pair["hard"])
        except (KeyError, TypeError, ValueError) as error:
            raise _invalid("ulimits", f"'{name}' has to be a number, or a 'soft' and a 'hard' one") from error
        if soft < -1 or hard < -1 or hard != -1 and (soft > hard or soft == -1):
            raise _invalid("ulimits", f"'{name}': from -1 (no limit) on, and 'soft' not above 'hard'")
        limits[name] = {"Name": name, "Soft": soft, "Hard": hard}
    return limits


def _registry_ca(value: Mapping[str, str]) -> None:
    for registry, content in value.items():
        if not _REGISTRY.fullmatch(registry):
            raise _invalid("registry_ca_files", f"'{registry}' is not a registry's host:port")
        split_certificates(f"of '{registry}' in 'docker_engine_registry_ca_files'", content)


def _exec_opts(driver: str, former: Any) -> list[str]:
    others = [one for one in former or [] if isinstance(one, str) and not one.startswith(_CGROUP)]
    return [*others, _CGROUP + driver]


class Host(NamedTuple):
    """What the module docker_info found on a host, and its daemon.json."""

    found: Facts
    former: Mapping[str, Any]

    @property
    def usable(self) -> bool:
        return bool(self.found.daemon.version)


def settings_of(values: Mapping[str, Any], host: Host) -> dict[str, Any]:
    """Keys of daemon.json that the role's variables stand for; each value is checked."""
    settings: dict[str, Any] = {}
    own = values["daemon_settings"]
    if values["live_restore"] and host.found.daemon.swarm in ("", "inactive"):
        settings["live-restore"] = True
    if own.get("log-driver", "json-file") == "json-file":
        if not re.fullmatch(r"-1|[0-9]+[kmg]?", str(values["log_max_size"])):
            raise _invalid("log_max_size", f"'{values['log_max_size']}' is not a size such as 50m")
        if values["log_max_file"] < 1:
            raise _invalid("log_max_file", "at least one file has to be kept")
        settings["log-driver"] = "json-file"
        settings["log-opts"] = {"max-size": values["log_max_size"], "max-file": str(values["log_max_file"])}
    if values["data_root"]:
        if not re.fullmatch(r"/[^\s\"'\\]+", values["data_root"]) or "/../" in values["data_root"] + "/":
            raise _invalid("data_root", f"'{values['data_root']}' is not an absolute path without spaces")
        settings["data-root"] = values["data_root"].rstrip("/")
    if values["address_pools"]:
        pools = _pools(values["address_pools"], [])
        if pools != host.former.get("default-address-pools"):
            # Once in effect, the pools are networks of the host themselves.
            _pools(values["address_pools"], host.found.networks)
        settings["default-address-pools"] = pools
    if values["registry_mirrors"]:
        mirrors = [_url("registry_mirrors", str(one), ("http", "https"), False) for one in values["registry_mirrors"]]
        settings["registry-mirrors"] = mirrors
    if values["insecure_registries"]:
        settings["insecure-registries"] = _insecure(values["insecure_registries"])
    if values["cgroup_driver"]:
        settings["exec-opts"] = _exec_opts(values["cgroup_driver"], host.former.get("exec-opts"))
    if values["userns_remap"]:
        if not _USERNS.fullmatch(values["userns_remap"]):
            raise _invalid("userns_remap", f"'{values['userns_remap']}' is neither 'default' nor user or user:group")
        settings["userns-remap"] = values["userns_remap"]
    if values["ulimits"]:
        settings["default-ulimits"] = _ulimits(values["ulimits"])
    _registry_ca(values["registry_ca"])
    return merge(settings, own)


def version_wanted(values: Mapping[str, Any], host: Host, offer: Mapping[str, Any]) -> str:
    """The package version to install; empty if any will do, or if the repository that may have it is not there yet."""
    version, package, found = values["version"], offer["versioned"][0], host.found
    if not version:
        return ""
    if not re.fullmatch(r"[0-9][A-Za-z0-9.+~:-]*", version):
        raise _invalid("version", f"'{version}' is not a version such as 26.1.5")
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
        origin = f"is from the package {others[0]}" if others else "is from no package"
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
        proxies = _proxies(values["proxies"])
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
