#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_config
short_description: Change several files of Nginx's configuration at once, test them first, and load them
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Writes several files below C(/etc/nginx) together. Before any of them is put in place, C(nginx -t) tests the whole
    configuration as it will be, in a private copy of that folder. A configuration that Nginx refuses is never put in
    place, and the previous files stay.
  - Files that are not named are left alone, but they are part of the test. The test runs every time, so that a
    configuration with which Nginx could not start again is found before the next restart.
  - With O(service), the running Nginx is made to load the files and asked whether it has. Files that were written but
    never loaded, for instance because a run was killed, are loaded by the next run. If Nginx keeps its old
    configuration, the files are put back.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
    details:
      - The test also runs in check mode, unless Nginx is not installed yet.
  diff_mode:
    support: full
    details:
      - The contents of the files of O(secrets), and of all files that only their owner may read, are never shown.
  idempotent:
    support: full
options:
  root:
    description:
      - The folder of the configuration, which contains C(nginx.conf).
    type: path
    default: /etc/nginx
  files:
    description:
      - The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description:
          - The file's path below O(root).
        type: str
        required: true
      content:
        description:
          - The contents of the file. Required with O(files[].state=present).
        type: str
      mode:
        description:
          - The file's permissions, as an octal number in quotes.
        type: str
        default: "0644"
      state:
        description:
          - Whether the file is to exist. With V(as_is) it must already exist; it gets its O(files[].mode), and its
            contents stay.
        type: str
        default: present
        choices:
          - present
          - absent
          - as_is
  secrets:
    description:
      - Files whose contents must not appear in logs and differences, a dictionary of their paths below O(root) and
        their contents.
      - Only their owner may read these files.
    type: dict
    default: {}
  remove_stock_site:
    description:
      - Remove the link C(sites-enabled/default), with which the distribution's Nginx serves a welcome page on port 80,
        if it still points to the file of the package. A changed one is left alone.
    type: bool
    default: false
  worker_connections:
    version_added: 0.2.0
    description:
      - How many connections each worker has to be able to have at the same time, those to the servers behind included.
      - Raises C(worker_connections) and C(worker_rlimit_nofile) in C(nginx.conf) where they are lower. All else in that
        file stays. If not given, it is left alone.
    type: int
  trial:
    version_added: 0.2.0
    description:
      - A file below O(root), a whole configuration that listens nowhere, with a pid and an error log of its own below
        O(root). Before changed files are put in place, Nginx is started with it for a moment, to see if it can load
        the programs (Lua) that are part of the configuration. C(nginx -t) does not look at these.
    type: str
  service:
    version_added: 0.2.0
    description:
      - The systemd unit that runs this configuration. It is started or reloaded if it does not run these files, and
        restarted if its program or one of its modules was replaced.
      - If not given, no service is touched.
    type: str
  loaded_file:
    version_added: 0.2.0
    description:
      - A file below O(root) that the module writes after all others. The configuration must include it in the server
        that answers O(loaded_url). Its only location returns an identifier of the files that Nginx has loaded.
      - Required with O(service).
    type: str
  loaded_url:
    version_added: 0.2.0
    description:
      - The URL of that location, without TLS.
    type: str
  error_log:
    version_added: 0.2.0
    description:
      - The log in which Nginx says why it did not load a configuration.
    type: path
    default: /var/log/nginx/error.log
  program:
    description:
      - Nginx's program, by name or path.
      - If empty, the test is skipped, which is possible only in check mode.
    type: str
    default: nginx
"""

EXAMPLES = r"""
- name: Redirect to HTTPS
  mistralrs.stack.nginx_config:
    files:
      - path: conf.d/redirect.conf
        content: |
          server {
              listen 80;
              return 301 https://$host$request_uri;
          }
    remove_stock_site: true
  notify: Reload Nginx
"""

RETURN = r"""
changed_files:
  description: The files that were written or removed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [/etc/nginx/conf.d/redirect.conf]
tested:
  description: Whether Nginx tested the configuration; V(false) in check mode if Nginx is not installed yet.
  returned: success
  type: bool
  sample: true
loaded:
  description: Whether the running Nginx had already loaded exactly these files; absent without O(service).
  returned: success
  type: bool
  sample: false
service_action:
  description: What was done to the service, or would be in check mode. Empty if nothing.
  returned: success
  type: str
  sample: reload
error_id:
  description: Identifies what went wrong.
  returned: failure
  type: str
  sample: gateway.configuration_rejected
"""

import fcntl
import os
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.staged_tree import (
    NOT_WRITTEN,
    Change,
    Wanted,
    apply,
    changes,
    identity,
    sweep,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module
from ansible_collections.mistralrs.stack.plugins.module_utils._nginx import configuration
from ansible_collections.mistralrs.stack.plugins.module_utils._nginx.main_file import with_room
from ansible_collections.mistralrs.stack.plugins.module_utils._nginx.service import Running, look, take_up

MISSING = Fault(
    "gateway.nginx_missing",
    "There is no program {program} on this host to test the configuration with.",
    "Install Nginx first.",
)

MAIN_FILE = "nginx.conf"


def loaded_file(module: AnsibleModule, name: str) -> list[Wanted]:
    """The file in which Nginx finds what it says to be running, if it is asked for."""
    parameters = module.params
    if not parameters["service"]:
        return []
    return [configuration.loaded_file(parameters["loaded_file"], parameters["loaded_url"], name)]


def act(module: AnsibleModule, root: str, todo: list[Change], paths: list[str], running: Running | None) -> str:
    """Put the files in place and have them loaded; the verb that did it. All is undone if Nginx goes on without."""
    applied = apply(root, todo)
    name = identity(root, paths)
    try:
        applied.done += apply(root, changes(root, loaded_file(module, name))).done
        if running is None:
            return ""
        parameters = module.params
        return take_up(
            parameters["service"], parameters["loaded_url"], name, running, parameters["error_log"], module.run_command
        )
    except StackError:
        applied.undo()
        if running and running.active:
            # A restart that failed has ended the old one; it starts again with the old files.
            module.run_command(["systemctl", "start", parameters["service"]])
        raise
    finally:
        applied.keep()


def change(module: AnsibleModule, root: str, files: list[Wanted]) -> dict[str, Any]:
    """Have the files tested, put in place and loaded, unless all that is so; the module's result."""
    wanted, paths = list(files), [one.path for one in files]
    if module.params["remove_stock_site"]:
        wanted += configuration.stock_site(root, module.get_bin_path("dpkg-query"), module.run_command)
        paths.append(configuration.STOCK_SITE)
    todo = changes(root, wanted)
    result: dict[str, Any] = {
        "changed": bool(todo),
        "changed_files": [os.path.join(root, each.wanted.path) for each in todo],
        "tested": False,
        "service_action": "",
    }
    if module._diff:
        result["diff"] = [configuration.difference(root, each) for each in todo]

    name = module.params["program"]
    program = module.get_bin_path(name, opt_dirs=["/usr/sbin", "/usr/local/sbin"]) if name else None
    if not program:
        if not module.check_mode:
            raise StackError(MISSING, program=name or "nginx")
        return result

    current = identity(root, paths)
    marks = loaded_file(module, current)
    stale = changes(root, marks)
    configuration.check(module.run_command, program, root, todo, stale, module.tmpdir, module.params["trial"] or "")
    result["tested"] = True

    running = None
    if module.params["service"]:
        running = look(module.params["service"], module.params["loaded_url"], module.run_command)
        result["loaded"] = running.loaded == current and not (todo or stale or running.outdated)
        result["changed"] = not result["loaded"]
    if module.check_mode or not result["changed"]:
        return result
    result["service_action"] = act(module, root, todo, paths, running)
    return result


def run(module: AnsibleModule) -> dict[str, Any]:
    """The module's result. One run at a time, which begins with what a killed one left beside the files."""
    root = os.path.normpath(module.params["root"])
    if module.check_mode or not os.path.isdir(root):
        return change(module, root, wanted_files(module, root))
    folder = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        files = wanted_files(module, root)
        own = [module.params["loaded_file"]] if module.params["service"] else []
        sweep(root, [*(one.path for one in files), *own, configuration.STOCK_SITE])
        return change(module, root, files)
    finally:
        os.close(folder)


def wanted_files(module: AnsibleModule, root: str) -> list[Wanted]:
    files = configuration.wanted_files(root, module.params["files"], module.params["secrets"])
    return files + main_file(root, module.params["worker_connections"])


def main_file(root: str, connections: int | None) -> list[Wanted]:
    """nginx.conf with room for the connections; not on a host that Nginx is yet to be installed on."""
    path = os.path.join(root, MAIN_FILE)
    if not connections or not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    content = with_room(text, connections, path).encode("utf-8", "surrogateescape")
    return [Wanted(MAIN_FILE, content, stat.S_IMODE(os.stat(path).st_mode), False)]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/etc/nginx"},
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "str", "required": True},
                    "content": {"type": "str"},
                    "mode": {"type": "str", "default": "0644"},
                    "state": {"type": "str", "default": "present", "choices": ["present", "absent", "as_is"]},
                },
                "required_if": [("state", "present", ("content",))],
            },
            # By themselves, since Ansible's own log masks secrets within a list only if they have one line.
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "remove_stock_site": {"type": "bool", "default": False},
            "worker_connections": {"type": "int"},
            "trial": {"type": "str"},
            "service": {"type": "str"},
            "loaded_file": {"type": "str"},
            "loaded_url": {"type": "str"},
            "error_log": {"type": "path", "default": "/var/log/nginx/error.log"},
            "program": {"type": "str", "default": "nginx"},
        },
        required_by={"service": ("loaded_file", "loaded_url")},
        supports_check_mode=True,
    )
    # Only what comes before the files are put in place; that part says itself what went wrong.
    root = module.params["root"]
    run_module(module, run, lambda path, reason: StackError(NOT_WRITTEN, root=root, problem=reason))


if __name__ == "__main__":
    main()
