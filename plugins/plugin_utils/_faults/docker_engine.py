# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role docker_engine refuses and reports.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault

FAULTS = (
    Fault(
        "docker.source_unavailable",
        "{distribution} on {host} has no Docker of its own.",
        "Set 'docker_engine_source' to 'docker'.",
    ),
    Fault(
        "docker.compose_checksum_missing",
        "'docker_engine_compose_url' is set, but 'docker_engine_compose_sha256' is not a SHA-256.",
        "Set it to the 64 hexadecimal digits that belong to the file.",
    ),
    Fault(
        "docker.registry_ca_missing",
        "'docker_engine_registry_ca_files' names {paths}, which is not a file on the controller.",
        "Correct the path, or put the file there.",
    ),
    Fault(
        "docker.not_usable",
        "Docker on {host} {problem}; its last log line: {last_words}.",
        "Correct 'docker_engine_daemon_settings', or repair what that line names ('journalctl -u docker' on the host "
        "has more), or remove this Docker; then run again.",
    ),
    Fault(
        "docker.conflicting_packages",
        "{host} has no Docker daemon, but {packages}, which installing {docker} Docker would remove or conflict with.",
        "Complete the Docker that they belong to, or remove them, and run again.",
    ),
    Fault(
        "docker.compose_missing",
        "{host} has no Compose 2 for Docker, and {reason}.",
        "Set 'docker_engine_source' to 'docker' before Docker is installed, install docker-compose-plugin beside "
        "Docker's own packages, or set 'docker_engine_compose_url' and 'docker_engine_compose_sha256'.",
    ),
    Fault(
        "docker.disk_too_small",
        "Docker's folder {folder} on {host} needs {needed_gb} GB of free space but has {free_gb} GB.",
        "Make room there, set another folder ('docker_engine_data_root'), or lower 'docker_engine_minimum_free_gb'.",
    ),
    Fault(
        "docker.repository_unreachable",
        "{host} can't fetch the key of Docker's package repository from {url}: {reason}.",
        "Let the host reach it, or set 'docker_engine_repository_url' to a mirror.",
    ),
    Fault(
        "docker.key_fingerprint_differs",
        "The key at {url} has the fingerprint {found}, but {expected} is expected. Nothing was changed.",
        "Find out from Docker which one is right; if it is the new one, set "
        "'docker_engine_repository_key_fingerprint' to it.",
    ),
    Fault(
        "docker.too_old",
        "{host} has Docker {version} with Compose {compose_version}; at least {minimum} and {compose_minimum} are "
        "needed.",
        "Update them and run again.",
    ),
)
