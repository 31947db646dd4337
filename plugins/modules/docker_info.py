#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_info
short_description: Gather facts about Docker on a host
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Asks Docker, systemd and the package manager, and finds out whether the running Docker has read its settings.
  - On a host without Docker, or whose Docker does not answer, the module does not fail; it returns what it knows.
  - No password leaves the host. Only the facts below are returned; the options of the daemon are returned without their
    values, and passwords in URLs are not shown.
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
  data_root:
    description: Where Docker is to keep its data. It counts if Docker does not report a place itself.
    type: path
    default: /var/lib/docker
  former_data_root:
    description:
      - The folder that the host's present settings name. If O(data_root) is another one, the data is to move, and the
        space and the file system that are returned are those of O(data_root).
    type: path
    default: /var/lib/docker
  packages:
    description: The names of packages to look for. Ignored where there is no dpkg.
    type: list
    elements: str
    default: []
  package:
    description: The package whose available versions to list. Ignored where there is no apt.
    type: str
    default: ""
  repository:
    description: The address of a package repository to look for in apt's sources.
    type: str
    default: ""
  userns_user:
    description: The user, or user and group (V(user:group)), of Docker's user namespace.
    type: str
    default: ""
  service_files:
    description:
      - Files of the caller that Docker's service reads only when it starts. For a drop-in of its unit, the module also
        checks whether systemd has read it.
    type: list
    elements: path
    default: []
seealso:
  - module: mistralrs.stack.docker_daemon_config
"""

EXAMPLES = r"""
- name: Gather facts about Docker
  mistralrs.stack.docker_info:
    service_files:
      - /etc/systemd/system/docker.service.d/proxies.conf
  register: result

- name: Stop if it does not answer
  ansible.builtin.assert:
    that: result.docker_info.daemon.version | length > 0
    fail_msg: "Docker does not answer: {{ result.docker_info.last_words }}"

- name: Restart it if it has not read its settings
  ansible.builtin.systemd_service:
    name: docker.service
    state: restarted
    daemon_reload: true
  when: result.docker_info.unread | length > 0 or result.docker_info.program_replaced
"""

RETURN = r"""
docker_info:
  description: The facts.
  returned: success
  type: dict
  contains:
    daemon:
      description:
        - What C(docker info) reports. Its values are empty if Docker does not answer, except that the versions of the
          client's plugins may be known.
      type: dict
      contains:
        version:
          description: The daemon's version; empty if it does not answer.
          type: str
        compose_version:
          description: The version of the Compose plugin, as it reports it; empty if it is not installed.
          type: str
        buildx_version:
          description: The version of the buildx plugin, as it reports it; empty if it is not installed.
          type: str
        storage_driver:
          description: The storage driver, such as V(overlay2).
          type: str
        data_root:
          description: The folder with its data.
          type: str
        cgroup_driver:
          description: V(systemd) or V(cgroupfs).
          type: str
        containers_running:
          description: How many containers are running.
          type: int
        live_restore:
          description: Whether containers keep running while Docker restarts.
          type: bool
        swarm:
          description: The host's state in a swarm, such as V(inactive).
          type: str
        cdi_folders:
          description: The folders in which it looks for CDI specifications; empty if CDI is off or not supported.
          type: list
          elements: str
        security_options:
          description: Its security options, such as V(name=seccomp,profile=builtin) or V(name=rootless).
          type: list
          elements: str
    program:
      description: The daemon's program, or the unit that starts it; empty where Docker is not installed.
      type: str
    state:
      description: The state of its service, such as V(active).
      type: str
    enabled:
      description: Whether the service starts at boot, such as V(enabled).
      type: str
    last_words:
      description: The last line of its log or of its client's output that says why it does not run; may be empty.
      type: str
    options:
      description: The names of the options that dockerd is started with.
      type: list
      elements: str
    packages:
      description: Those of O(packages) that are installed.
      type: list
      elements: dict
      contains:
        name:
          description: Its name.
          type: str
        version:
          description: Its version.
          type: str
        selection:
          description: V(hold) if updates leave it alone, else V(install).
          type: str
    available_versions:
      description: The versions of O(package) in the package repositories, the newest first.
      type: list
      elements: str
    repository_file:
      description: The first of apt's sources that names O(repository); empty if none does.
      type: str
    data_root:
      description: The folder with Docker's data, or where it is to be.
      type: str
    has_data:
      description: Whether Docker keeps containers, images or volumes.
      type: bool
    free_kb:
      description: The free space there, in units of 1024 bytes.
      type: int
    file_system:
      description: The type of the file system there, such as V(ext4).
      type: str
    networks:
      description: The IPv4 networks that the host has a route to, without its default route and Docker's own bridges.
      type: list
      elements: dict
      contains:
        interface:
          description: The network interface.
          type: str
        network:
          description: The network, such as V(10.0.0.0/8).
          type: str
    userns_user:
      description: Whether O(userns_user) exists and has entries in C(/etc/subuid) and C(/etc/subgid).
      type: bool
    snap:
      description: Whether Docker is installed as a snap.
      type: bool
    rootless_users:
      description: The users who run a rootless Docker.
      type: list
      elements: str
    service_files:
      description: Those of O(service_files) that exist.
      type: list
      elements: str
    unread:
      description:
        - Those of O(service_files) that were changed or removed since the running Docker was started (the folder, if
          only that shows it). Empty if Docker is not running, since it reads them when it starts.
      type: list
      elements: str
    program_replaced:
      description: Whether the running daemon's program was replaced, by an update for instance.
      type: bool
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
    program: /usr/sbin/dockerd
    state: active
    enabled: enabled
    last_words: ""
    options: ["--containerd", "-H"]
    packages:
      - name: docker.io
        version: 26.1.5+dfsg1-9+b9
        selection: install
    available_versions: [26.1.5+dfsg1-9+b9]
    repository_file: ""
    data_root: /var/lib/docker
    has_data: true
    free_kb: 812345678
    file_system: ext4
    networks:
      - interface: eth0
        network: 192.0.2.0/24
    userns_user: false
    snap: false
    rootless_users: []
    service_files: []
    unread: []
    program_replaced: false
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._docker.facts import result
from ansible_collections.mistralrs.stack.plugins.module_utils._docker.probe import Request, gather
from ansible_collections.mistralrs.stack.plugins.module_utils._module import program_runner


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "data_root": {"type": "path", "default": "/var/lib/docker"},
            "former_data_root": {"type": "path", "default": "/var/lib/docker"},
            "packages": {"type": "list", "elements": "str", "default": []},
            "package": {"type": "str", "default": ""},
            "repository": {"type": "str", "default": ""},
            "userns_user": {"type": "str", "default": ""},
            "service_files": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    params: dict[str, Any] = module.params
    lists = {name: tuple(value) for name, value in params.items() if isinstance(value, list)}
    facts = gather(Request(**{**params, **lists}), program_runner(module), module.get_bin_path)
    module.exit_json(changed=False, docker_info=result(facts))


if __name__ == "__main__":
    main()
