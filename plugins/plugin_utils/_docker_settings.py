# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of daemon.json that the variables of the role docker_engine stand for; each value is checked.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ansible_collections.mistralrs.stack.plugins.module_utils._docker.daemon_json import merge
from ansible_collections.mistralrs.stack.plugins.module_utils._docker.facts import Facts, Network
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


def invalid(variable: str, problem: str) -> StackError:
    """The error for a variable of the role, named without its prefix."""
    return StackError(SETTING_INVALID, variable=f"docker_engine_{variable}", problem=problem)


def _pools(value: Any, networks: Sequence[Network]) -> list[dict[str, Any]]:
    pools: list[dict[str, Any]] = []
    taken: list[tuple[Any, str]] = [
        (ipaddress.ip_network(one.network), f"the host's network {one.network} ({one.interface})") for one in networks
    ]
    for entry in value:
        if not isinstance(entry, Mapping) or set(entry) != {"base", "size"}:
            raise invalid("address_pools", f"{entry!r} is not a 'base' and a 'size'")
        try:
            base = ipaddress.ip_network(str(entry["base"]))
            size = int(entry["size"])
        except ValueError as error:
            raise invalid("address_pools", str(error)) from error
        if "/" not in str(entry["base"]) or not base.prefixlen <= size < base.max_prefixlen - 1:
            limit = base.max_prefixlen - 2
            problem = f"networks of size {size} do not fit into {base}: it has to be from {base.prefixlen} to {limit}"
            raise invalid("address_pools", problem)
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
        raise invalid(variable, "an address in it has no valid host or port") from error
    if parts.scheme not in schemes or not host or re.search(r"[\s\"']", text) or "@" in parts.path:
        raise invalid(
            variable,
            f"each address has to be {' or '.join(schemes)}://host:port, special characters in a password as %XX",
        )
    if not credentials and (parts.username is not None or parts.query or parts.fragment):
        raise invalid(variable, f"Docker takes no user, query or fragment in the address of {host}")
    return text


def proxies_of(value: Mapping[str, Any]) -> dict[str, str]:
    """Docker's proxies as keys of C(proxies) in daemon.json. Raises StackError."""
    unknown = sorted(set(value) - {"http", "https", "no_proxy"})
    if unknown:
        raise invalid("proxies", f"it has no key {', '.join(unknown)}, only http, https and no_proxy")
    proxies = {}
    for key in ("http", "https"):
        if value.get(key):
            proxies[f"{key}-proxy"] = _url("proxies", str(value[key]), ("http", "https", "socks5"), True)
    no_proxy = value.get("no_proxy") or []
    words = no_proxy.split(",") if isinstance(no_proxy, str) else [str(word) for word in no_proxy]
    words = [word.strip() for word in words if word.strip()]
    if any(re.search(r"[\s\"'\\]", word) for word in words):
        raise invalid("proxies", "'no_proxy' has to be names and networks, without spaces in them")
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
            raise invalid("insecure_registries", problem) from error
    return [str(one) for one in value]


def _ulimits(value: Mapping[str, Any]) -> dict[str, Any]:
    limits = {}
    for name, limit in value.items():
        if name not in ULIMITS:
            raise invalid("ulimits", f"'{name}' is not one of {', '.join(sorted(ULIMITS))}")
        pair = limit if isinstance(limit, Mapping) else {"soft": limit, "hard": limit}
        try:
            soft, hard = int(pair["soft"]), int(pair["hard"])
        except (KeyError, TypeError, ValueError) as error:
            raise invalid("ulimits", f"'{name}' has to be a number, or a 'soft' and a 'hard' one") from error
        if soft < -1 or hard < -1 or hard != -1 and (soft > hard or soft == -1):
            raise invalid("ulimits", f"'{name}': from -1 (no limit) on, and 'soft' not above 'hard'")
        limits[name] = {"Name": name, "Soft": soft, "Hard": hard}
    return limits


def _registry_ca(value: Mapping[str, str]) -> None:
    for registry, content in value.items():
        if not _REGISTRY.fullmatch(registry):
            raise invalid("registry_ca_files", f"'{registry}' is not a registry's host:port")
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
            raise invalid("log_max_size", f"'{values['log_max_size']}' is not a size such as 50m")
        if values["log_max_file"] < 1:
            raise invalid("log_max_file", "at least one file has to be kept")
        settings["log-driver"] = "json-file"
        settings["log-opts"] = {"max-size": values["log_max_size"], "max-file": str(values["log_max_file"])}
    if values["data_root"]:
        if not re.fullmatch(r"/[^\s\"'\\]+", values["data_root"]) or "/../" in values["data_root"] + "/":
            raise invalid("data_root", f"'{values['data_root']}' is not an absolute path without spaces")
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
            raise invalid("userns_remap", f"'{values['userns_remap']}' is neither 'default' nor user or user:group")
        settings["userns-remap"] = values["userns_remap"]
    if values["ulimits"]:
        settings["default-ulimits"] = _ulimits(values["ulimits"])
    _registry_ca(values["registry_ca"])
    return merge(settings, own)
