#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: container_toolkit_info
short_description: Gather facts about the host for NVIDIA's container toolkit
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Asks Docker, the package manager, systemd and SELinux, and reads apt's sources.
  - On a host without Docker, or whose Docker does not answer, the module does not fail; it returns what it knows.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
    details: Nothing is ever changed.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  packages:
    description: The names of the toolkit's packages.
    type: list
    elements: str
    required: true
  source_file:
    description: The caller's own file of package sources, which is left out of RV(container_toolkit_info.sources).
    type: path
    required: true
  repository:
    description: The address of the package repository, NVIDIA's own or a mirror of it.
    type: str
    required: true
seealso:
  - module: mistralrs.stack.docker_info
"""

EXAMPLES = r"""
- name: Gather what the container toolkit needs to know of the host
  mistralrs.stack.container_toolkit_info:
    packages:
      - nvidia-container-toolkit
    source_file: /etc/apt/sources.list.d/nvidia-container-toolkit.sources
    repository: https://nvidia.github.io/libnvidia-container/stable
  register: result

- name: Stop if Docker does not answer
  ansible.builtin.assert:
    that: result.container_toolkit_info.daemon.version | length > 0
"""

RETURN = r"""
container_toolkit_info:
  description: The facts.
  returned: success
  type: dict
  contains:
    daemon:
      description:
        - What Docker reports, as C(docker_info.daemon) of M(mistralrs.stack.docker_info). Its values are empty if
          Docker does not answer.
      type: dict
    client:
      description: The path of the program C(docker), with links resolved; empty if it is not installed.
      type: str
    program:
      description: The path of the program C(dockerd); empty if it is not installed.
      type: str
    needs_daemon_reload:
      description: Whether systemd has yet to read changed settings of the toolkit's service (C(daemon-reload)).
      type: bool
    packages:
      description: Those of O(packages) that the package manager knows.
      type: list
      elements: dict
      contains:
        name:
          description: Its name.
          type: str
        state:
          description:
            - V(held) if updates leave it alone, V(free) if they don't; for a package that is not completely installed,
              the state that dpkg reports.
          type: str
        version:
          description: Its version.
          type: str
    sources:
      description: Other source files of apt that name the repository and nothing else.
      type: list
      elements: str
    mixed_sources:
      description: Other source files of apt that name the repository and others.
      type: list
      elements: str
    selinux_devices:
      description: Whether SELinux lets containers use devices, V(on) or V(off); empty without SELinux.
      type: str
  sample:
    daemon:
      version: 26.1.5+dfsg1
      compose_version: 2.26.1-4
      buildx_version: 0.13.1+ds1
      storage_driver: overlay2
      data_root: /var/lib/docker
      cgroup_driver: systemd
      containers_running: 2
      live_restore: true
      swarm: inactive
      cdi_folders: []
      security_options: ["name=seccomp,profile=builtin"]
    client: /usr/bin/docker
    program: /usr/sbin/dockerd
    needs_daemon_reload: false
    packages:
      - name: nvidia-container-toolkit
        state: held
        version: 1.20.0-1
    sources: []
    mixed_sources: []
    selinux_devices: ""
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._module import program_runner
from ansible_collections.mistralrs.stack.plugins.module_utils._toolkit.probe import gather, result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "required": True},
            "source_file": {"type": "path", "required": True},
            "repository": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    asked = module.params
    run, find = program_runner(module), module.get_bin_path
    facts = gather(asked["packages"], asked["source_file"], asked["repository"], run, find)
    module.exit_json(changed=False, container_toolkit_info=result(facts))


if __name__ == "__main__":
    main()
