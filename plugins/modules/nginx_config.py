#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_config
short_description: Change files of Nginx's configuration as one, tested before they replace anything
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Writes several files below C(/etc/nginx) together. Before one of them is put in place, C(nginx -t) tests the whole
    configuration as it will be, in a private copy of that folder. A configuration that Nginx refuses never
    gets to its place, and what was there stays.
  - Files that are not named are left alone, but they are part of the test.
  - Nginx is neither reloaded nor restarted.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
    details:
      - The test is made in check mode too, unless Nginx is not installed yet.
  diff_mode:
    support: full
    details:
      - What the files of O(secrets) contain, and all that only their owner may read, is never shown.
  idempotent:
    support: full
options:
  root:
    description:
      - The folder of the configuration, in which C(nginx.conf) lies.
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
          - What the file contains. Required with O(files[].state=present).
        type: str
      mode:
        description:
          - The file's permissions, as an octal number in quotes.
        type: str
        default: "0644"
      state:
        description:
          - Whether there is such a file.
        type: str
        default: present
        choices:
          - present
          - absent
  secrets:
    description:
      - The content of files that nobody shall see in logs and differences, by their paths below O(root).
      - Only their owner may read these files.
    type: dict
    default: {}
  remove_stock_site:
    description:
      - Take away the link C(sites-enabled/default), by which the distribution's Nginx shows a welcome page on port 80,
        if it still leads to the file that the package brought. One that was changed is left alone.
    type: bool
    default: false
  program:
    description:
      - Nginx's program, by name or path.
      - Empty leaves the test out, which is possible in check mode only.
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
  description: Whether Nginx tested the configuration; not if nothing changes, or in check mode before it is installed.
  returned: success
  type: bool
  sample: true
error_id:
  description: Identifies what went wrong.
  returned: failure
  type: str
  sample: gateway.configuration_rejected
"""

import os
import re
import shutil
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._staged_tree import (
    NOT_WRITTEN,
    Change,
    Wanted,
    apply,
    changes,
    checked_path,
    is_stock,
    stage_copy,
)

MISSING = Fault(
    "gateway.nginx_missing",
    "There is no program {program} on this host to test the configuration with.",
    "Install Nginx first.",
)
REJECTED = Fault(
    "gateway.configuration_rejected",
    "Nginx refuses the new configuration: {problem}.",
    "The old one is still in place and in use; correct the setting that this line comes from.",
)
WRONG_MODE = Fault(
    "gateway.wrong_mode",
    "The permissions of {path} are {mode!r}, but must be an octal number.",
    "Give them as four digits in quotes, such as '0644'.",
)


def test(module: AnsibleModule, program: str, root: str, todo: list[Change]) -> None:
    """Let Nginx look at the configuration as it will be."""
    stage = tempfile.mkdtemp(prefix="nginx-", dir=module.tmpdir)
    try:
        stage_copy(root, stage, todo)
        rc, stdout, stderr = module.run_command([program, "-t", "-q", "-c", os.path.join(stage, "nginx.conf")])
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    if rc != 0:
        lines = [line for line in (stderr or stdout).splitlines() if line.strip()]
        serious = [line for line in lines if "[emerg]" in line or "[crit]" in line or "[alert]" in line] or lines
        line = serious[0] if serious else f"it exits with {rc} and no word"
        problem = re.sub(r"^(nginx: |[\d/]+ [\d:]+ )?\[\w+\] (\d+#\d+: )?", "", line)
        raise StackError(REJECTED, problem=problem.replace(stage, root).rstrip("."))


def stock_site(module: AnsibleModule, root: str) -> list[Wanted]:
    """The welcome page's link, if it is as the package made it."""
    link = os.path.join(root, "sites-enabled", "default")
    site = os.path.join(root, "sites-available", "default")
    query = module.get_bin_path("dpkg-query")
    if not query or not os.path.islink(link) or os.path.realpath(link) != os.path.realpath(site):
        return []
    _rc, conffiles, _stderr = module.run_command([query, "-W", "-f", "${Conffiles}\n", "nginx-common"])
    return [Wanted("sites-enabled/default", None, 0o644, False)] if is_stock(site, conffiles) else []


def octal(path: str, mode: str) -> int:
    if not re.match(r"(0o)?0*[0-7]{1,4}\Z", mode):
        raise StackError(WRONG_MODE, path=path, mode=mode)
    return int(mode, 8)


def reason(error: OSError) -> str:
    """What the system said; a copy of a folder says it of each file that failed, of which one is enough."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return ": ".join(str(part) for part in (error.args[0][0][0], error.args[0][0][-1]))
    return error.strerror or str(error)


def wanted_files(parameters: dict[str, Any]) -> list[Wanted]:
    files = []
    for entry in parameters["files"]:
        content = entry["content"].encode("utf-8") if entry["state"] == "present" else None
        files.append(Wanted(checked_path(entry["path"]), content, octal(entry["path"], entry["mode"]), False))
    for path, text in parameters["secrets"].items():
        files.append(Wanted(checked_path(path), str(text).encode("utf-8"), 0o600, True))
    return files


def difference(root: str, change: Change) -> dict[str, str]:
    path = os.path.join(root, change.wanted.path)
    # A file that only its owner may read is as secret when it goes as when it comes.
    private = [mode for mode in (change.mode_before, change.wanted.mode) if mode is not None and not mode & 0o077]
    hidden = change.wanted.secret or bool(private)

    def shown(content: bytes | None) -> str:
        if content is None:
            return ""
        return "(secret)\n" if hidden else content.decode("utf-8", "replace")

    before, after = shown(change.before), shown(change.wanted.content)
    if before == after:
        before, after = f"{before}(before)\n", f"{after}(after)\n"
    return {"before_header": path, "after_header": path, "before": before, "after": after}


def run(module: AnsibleModule) -> dict[str, Any]:
    root = os.path.normpath(module.params["root"])
    wanted = wanted_files(module.params)
    if module.params["remove_stock_site"]:
        wanted += stock_site(module, root)
    todo = changes(root, wanted)
    result: dict[str, Any] = {
        "changed": bool(todo),
        "changed_files": [os.path.join(root, change.wanted.path) for change in todo],
        "tested": False,
    }
    if module._diff:
        result["diff"] = [difference(root, change) for change in todo]
    if not todo:
        return result

    name = module.params["program"]
    program = module.get_bin_path(name, opt_dirs=["/usr/sbin", "/usr/local/sbin"]) if name else None
    if program:
        test(module, program, root, todo)
        result["tested"] = True
    elif not module.check_mode:
        raise StackError(MISSING, program=name or "nginx")
    if not module.check_mode:
        apply(root, todo)
    return result


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
                    "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
                },
                "required_if": [("state", "present", ("content",))],
            },
            # By themselves, since Ansible's own log masks secrets within a list only if they have one line.
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "remove_stock_site": {"type": "bool", "default": False},
            "program": {"type": "str", "default": "nginx"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except StackError as error:
        module.fail_json(msg=str(error), error_id=error.id)
    except OSError as problem:
        # Only what comes before the files are put in place; that part says itself what went wrong.
        fault = StackError(NOT_WRITTEN, root=module.params["root"], problem=reason(problem))
        module.fail_json(msg=str(fault), error_id=fault.id)


if __name__ == "__main__":
    main()
