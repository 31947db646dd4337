# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is of the engine's container on a host, before it is started.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._host import listeners

Run = Callable[[Sequence[str]], tuple[int, str, str]]


class Wanted(NamedTuple):
    """The container as it is to be: its name, image and Compose file, and the address and port that it publishes.

    C(egress_unit) is the unit that sets the firewall rule C(egress_rule), words of iptables without the table, against
    connections from the container. C(former_network) is the network of an earlier release. C(replaces) is the container
    that gives way to this one, '' if there is none.
    """

    container: str
    image: str
    compose_file: str
    address: str
    port: int
    egress_unit: str
    egress_rule: str
    former_network: str
    replaces: str = ""


def gather(run: Run, wanted: Wanted, units: str = "/etc/systemd/system") -> dict[str, Any]:
    """The facts of the container; C(run) runs a program, C(units) is the folder of systemd's units."""
    return {
        "port_holders": _port_holders(run, wanted),
        "can_start": os.path.exists(wanted.compose_file) and _succeeds(run, "docker", "image", "inspect", wanted.image),
        "egress": _egress(run, wanted, units),
        "replaced_runs": _replaced_runs(run, wanted),
        "has_former_network": _has_former_network(run, wanted),
    }


def _succeeds(run: Run, *command: str) -> bool:
    return run(command)[0] == 0


def _port_holders(run: Run, wanted: Wanted) -> list[str]:
    """Who else has the port: containers that publish it, else programs that listen on it."""
    listed = run(["docker", "ps", "--filter", f"publish={wanted.port}/tcp", "--format", "{{.Names}}"])[1]
    publishers = listed.split()
    if wanted.container in publishers or publishers == [wanted.replaces]:
        return []
    host = f"[{wanted.address}]" if ":" in wanted.address else wanted.address
    address = f"{host}:{wanted.port}"
    programs = listeners.others(run(listeners.command(address))[1], address, wanted.container)
    return [f"the container {name}" for name in publishers] if programs and publishers else programs


def _replaced_runs(run: Run, wanted: Wanted) -> bool:
    if not wanted.replaces or wanted.replaces == wanted.container:
        return False
    # Restarting counts: it would come back.
    status, state, _stderr = run(["docker", "container", "inspect", "--format", "{{.State.Running}}", wanted.replaces])
    return status == 0 and state.strip() == "true"


def _egress(run: Run, wanted: Wanted, units: str) -> str:
    """C(closed) if the rule is in force and will be after a reboot, C(open) if not, C(none) without the unit."""
    if not os.path.exists(os.path.join(units, wanted.egress_unit)):
        return "none"
    is_enabled = os.path.exists(os.path.join(units, "multi-user.target.wants", wanted.egress_unit))
    check = ["iptables", "--wait", "--table", "mangle", "--check", *wanted.egress_rule.split()]
    return "closed" if is_enabled and _succeeds(run, *check) else "open"


def _has_former_network(run: Run, wanted: Wanted) -> bool:
    """Whether there is the network of an earlier release, with nobody else in it."""
    template = "{{range .Containers}}{{.Name}} {{end}}"
    status, names, _stderr = run(["docker", "network", "inspect", "--format", template, wanted.former_network])
    return status == 0 and set(names.split()) <= {wanted.container}
