# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role mistral_server refuses and reports, besides what the engine's plan checks.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault

FAULTS = (
    Fault(
        "server.image_missing",
        "There is no engine image for {host}.",
        "Run the role mistral_image first, or give 'reference' and 'engine_version' in 'mistral_server_image'.",
    ),
    Fault(
        "server.config_not_a_mapping",
        "'mistral_server_config' of {host} is not a mapping.",
        "Write the sections models, server, inference and gpu below it, or leave it out.",
    ),
    Fault(
        "server.size_invalid",
        "'{name}' of {host} is '{value}', which is not a size.",
        "Write a whole number and K, M or G, for example 48G.",
    ),
    Fault(
        "server.memory_limit_above_host",
        "'mistral_server_memory_limit' is {limit}, but {host} has only {memory_mb}M of memory.",
        "Lower the limit, or leave it out.",
    ),
    Fault(
        "server.reservation_above_limit",
        "'mistral_server_memory_reservation' of {host} is {reservation}, which is more than the limit of {limit_mb}M.",
        "Lower the reservation or raise 'mistral_server_memory_limit'.",
    ),
    Fault(
        "server.port_in_use",
        "Port {port} of {host} is in use by {others}.",
        "Stop it, or set 'mistral_server_port' to a free port.",
    ),
    Fault(
        "server.egress_open",
        "The engine's container on {host} would reach the network, since the firewall rule against it cannot be set "
        "({reason}).",
        "See 'systemctl status {unit}' on the host, or allow it with 'mistral_server_allow_egress'.",
    ),
)
