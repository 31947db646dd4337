# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of an inventory that a migration writes, and what to run next.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from ansible_collections.mistralrs.stack.plugins.plugin_utils._migration.compose_stack import Migration, Stack, plain

GROUPS = ("builders", "gpu_hosts", "gateways", "monitors")
# How the host is reached, as far as it was said.
CONNECTION = ("ansible_host", "ansible_port", "ansible_user", "ansible_connection", "ansible_python_interpreter")


def _dump(value: Any) -> str:
    return yaml.safe_dump(plain(value), sort_keys=False, default_flow_style=False, width=150, allow_unicode=True)


def next_steps(migration: Migration, folder: str) -> list[str]:
    """What to run, in this order."""
    old = migration.variables.get("mistral_server_replaces", "")
    back = f"docker start {old}" if old else "start the old one"
    return [
        f"Read {folder}/group_vars/all/main.yml.",
        f"Check, without a change: ansible-playbook -i {folder} mistralrs.stack.preflight",
        f"Take over: ansible-playbook -i {folder} mistralrs.stack.site"
        + (f" ({old} serves until the new engine is about to start, and is not removed)" if old else ""),
        f"To go back, on the host: docker stop mistral-engine, then {back}.",
    ]


def files(host: str, reached: Mapping[str, Any], stack: Stack, migration: Migration) -> dict[str, tuple[str, str]]:
    """By path: the content and the mode of each file."""
    variables = {name: reached[name] for name in CONNECTION if reached.get(name) not in ("", None, host)}
    hosts = {"all": {"hosts": {host: variables or None}}}
    hosts["all"]["children"] = {group: {"hosts": {host: None}} for group in GROUPS}
    origin = " and ".join(path for path, text in (stack.env, stack.config) if text)
    head = f"---\n# Made by mistralrs.stack.migrate from {origin} of {host}.\n"
    main = head + _dump(migration.variables)
    if migration.unserved:
        lines = _dump(migration.unserved).splitlines()
        main += "# Found, and not served:\n" + "".join(f"# {line}\n" for line in lines)
    written = {"hosts.yml": ("---\n" + _dump(hosts).replace(": null", ":"), "0644")}
    written["group_vars/all/main.yml"] = (main, "0644")
    if migration.secrets:
        written["group_vars/all/secrets.yml"] = (head + _dump(migration.secrets), "0600")
    return written
