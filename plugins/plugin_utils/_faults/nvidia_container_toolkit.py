# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role nvidia_container_toolkit refuses and reports.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault

FAULTS = (
    Fault(
        "toolkit.docker_missing",
        "{host} has no Docker that answers.",
        "Install it with the role docker_engine, or start it ('systemctl start docker' on the host), and run again.",
    ),
    Fault(
        "toolkit.docker_unsupported",
        "The Docker on {host} is {kind}.",
        "{remedy} and install Docker from packages, with the role docker_engine for instance.",
    ),
    Fault(
        "toolkit.docker_too_old",
        "The Docker {version} on {host} is too old for the way in which the container toolkit {toolkit_version} gives "
        "GPUs to containers (CDI).",
        "Update it to {minimum} or newer, from Docker's own repository for instance, or set "
        "'nvidia_container_toolkit_legacy_runtime: true'.",
    ),
    Fault(
        "toolkit.cdi_folder_unused",
        "The Docker on {host} reads CDI specifications from {folders} only.",
        "Take 'cdi-spec-dirs' out of its settings, or add /etc/cdi and /var/run/cdi there.",
    ),
    Fault(
        "toolkit.restart_stops_containers",
        "Docker on {host} has to be restarted, which stops its {containers} running containers, since live restore is "
        "off.",
        "Switch that on (the role docker_engine does), or set 'nvidia_container_toolkit_stop_containers: true'.",
    ),
    Fault(
        "toolkit.unsupported_architecture",
        "{host} has the architecture {architecture}, for which NVIDIA has no container toolkit.",
        "Use one of {supported}.",
    ),
    Fault(
        "toolkit.bad_version",
        "'nvidia_container_toolkit_version' is '{version}', which is not one exact version.",
        "Give three numbers, such as 1.20.0.",
    ),
    Fault(
        "toolkit.version_vulnerable",
        "'nvidia_container_toolkit_version' is {version}, which has known vulnerabilities: {advisories} ({effects}).",
        "Set it to {fixed} or newer.",
    ),
    Fault(
        "toolkit.repository_mixed",
        "{files} on {host} names NVIDIA's container repository beside others, and apt does not work when two files "
        "name it with different keys.",
        "Remove the repository's lines from there and run again.",
    ),
    Fault(
        "toolkit.driver_missing",
        "{host} has {gpus} NVIDIA GPUs, but their driver is not loaded, so no container can get them.",
        "Load it ('modprobe nvidia' on the host) or reboot, and run again.",
    ),
)
