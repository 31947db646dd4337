# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role mistral_exporters refuses and reports.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault

FAULTS = (
    Fault(
        "exporters.port_in_use",
        "{address} on {host}, meant for {unit}, is in use by {others}.",
        "Stop that program, or set another address ('mistral_exporters_node_address', "
        "'mistral_exporters_nginx_address').",
    ),
    Fault(
        "exporters.no_answer",
        "{unit} on {host} does not answer at {url} ({reason}).",
        "See 'journalctl -u {unit}' on the host.",
    ),
)
