# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The capacity plan: which quantization of a model serves so many users on how many hosts.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import (
    DEFAULT_VERSION,
    engine_of,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._capacity import fleet, report


def capacity_plan(
    name: str,
    source: str,
    remote: Mapping[str, Any],
    request: Mapping[str, Any],
    hosts: Sequence[Mapping[str, Any]],
    version: str,
) -> tuple[dict[str, Any], list[StackError]]:
    """The plan and why it serves not all users, if so. Raises StackError for what can't be planned at all.

    C(remote) is what the module model_info says of the source, C(request) what C(request.read) has made of the
    playbook's variables; C(hosts) have a C(name) and C(gpus), and count only if C(request) has no GPUs.
    """
    version = (version or DEFAULT_VERSION).lstrip("v")
    engine = engine_of(version)
    more = bool(request["gpus"])
    given = [{"name": "each host", "gpus": request["gpus"]}] if more else hosts
    known = fleet.hosts_of(given, float(request["memory_fraction"]))
    fleet.check_model(name, remote["gguf"], int(request["context"]), version)
    offered = fleet.candidates_of(name, remote)
    candidates = fleet.chosen_labels(name, source, offered, str(request["quantization"]))
    users = int(request["users"])
    rows = fleet.rows_of(engine, candidates, known, int(request["context"]), users, more)
    chosen = fleet.choose(rows, more)
    subject = report.Subject(name, source, users, version, more)
    errors = [] if chosen else [fleet.refusal(engine, rows, known, users, name)]
    return {
        "lines": report.lines(subject, rows, known, chosen),
        "rows": [report.as_data(row, known) for row in rows],
        "quantization": chosen.candidate.label if chosen else "",
        "hosts": chosen.hosts if chosen else 0,
    }, errors
