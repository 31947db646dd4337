# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error that a role or a playbook reports in its own tasks, by its id.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

Modules and filters have their faults next to the code that raises them; both kinds are in C(docs/errors.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._faults import (
    distribution,
    docker_engine,
    mistral_exporters,
    mistral_gateway,
    mistral_image,
    mistral_monitor,
    mistral_server,
    mistral_trust,
    nvidia_container_toolkit,
    nvidia_driver,
    playbooks,
)

_PARTS = (
    distribution,
    docker_engine,
    mistral_exporters,
    mistral_gateway,
    mistral_image,
    mistral_monitor,
    mistral_server,
    mistral_trust,
    nvidia_container_toolkit,
    nvidia_driver,
    playbooks,
)
FAULTS = {fault.id: fault for part in _PARTS for fault in part.FAULTS}


def message(error_id: str, values: Mapping[str, object]) -> str:
    """The line that the user sees; KeyError if there is no such error or it needs a value that is not given."""
    return str(StackError(FAULTS[error_id], **values))
