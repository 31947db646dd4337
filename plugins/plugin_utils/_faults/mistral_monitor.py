# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role mistral_monitor refuses and reports.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault

FAULTS = (
    Fault(
        "monitor.settings_refused",
        "The new settings of Prometheus on {host} are not in place, since promtool refuses them: {reason}.",
        "Correct what that names (the variables of the role mistral_monitor, or a file in /etc/prometheus/rules.d); "
        "the former settings stay in use.",
    ),
    Fault(
        "monitor.port_in_use",
        "{address} on {host}, meant for Prometheus, is in use by {others}.",
        "Stop that program, or set another address in 'mistral_monitor_listen_address'.",
    ),
    Fault(
        "monitor.foreign_prometheus",
        "{host} already has a Prometheus with settings of its own ({files}).",
        "Monitor from another host, or set 'mistral_monitor_take_over' to true, which leaves that file unused.",
    ),
    Fault(
        "monitor.disk_too_small",
        "Prometheus' folder {folder} on {host} needs {needed_gb} GB of free space but has {free_gb} GB.",
        "Make room there, or lower 'mistral_monitor_retention_size' and 'mistral_monitor_minimum_free_gb'.",
    ),
    Fault(
        "monitor.target_down",
        "Prometheus on {host} does not get an answer from {targets}.",
        "Start what should listen there and let Prometheus reach it, or correct the list of targets.",
    ),
)
