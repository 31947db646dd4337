# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose distribution a role does not support, in each role's own words.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault

_AREAS = {
    "docker_engine": "docker",
    "mistral_exporters": "exporters",
    "mistral_gateway": "gateway",
    "mistral_image": "image",
    "mistral_monitor": "monitor",
    "mistral_server": "server",
    "mistral_trust": "trust",
    "nvidia_container_toolkit": "toolkit",
}
# By the name of the role.
UNSUPPORTED = {
    role: Fault(
        f"{area}.unsupported_distribution",
        f"{{host}} runs {{distribution}}, which the role {role} does not support.",
        "Use a host with one of {supported}.",
    )
    for role, area in _AREAS.items()
}
FAULTS = tuple(UNSUPPORTED.values())
