#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_daemon_config
short_description: Merge settings into Docker's daemon.json
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Sets and removes single settings in Docker's configuration file and leaves everything else in it as it is, including
    the order of the keys.
  - A file that is not valid is never overwritten; the message names line and column.
  - The new file is checked by C(dockerd --validate) where Docker is installed and has that option, written beside the
    old one, flushed to the disk and put in its place in one step.
  - Docker itself is neither reloaded nor restarted; RV(restart_required) says which of the two is needed, also for a
    change that an earlier run wrote but did not put into effect before it ended.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description:
      - The configuration file.
      - If it is a symbolic link, the file that the link points to is changed and the link stays.
      - A missing file is created with mode V(0644), and a missing directory with mode V(0755). An existing file keeps
        its mode and owner.
    type: path
    default: /etc/docker/daemon.json
  settings:
    description:
      - The settings to merge in. Dictionaries are merged at every depth, other values replace what is there.
    type: dict
    default: {}
  secret_settings:
    description:
      - More settings to merge in, which hold a password, such as V(proxies). They appear in no log and no difference,
        and the file becomes readable only by its owner.
    type: dict
    default: {}
  lists:
    description:
      - What to do with a list that the file already has.
    type: str
    default: replace
    choices:
      replace: The list from O(settings) takes its place.
      append: Elements from O(settings) that are missing are added at its end.
  absent:
    description:
      - Keys to remove, before O(settings) are merged. A dot goes one level deeper, as in V(log-opts.max-size); write
        V(\\.) for a dot that belongs to a key.
    type: list
    elements: str
    default: []
  backup:
    description:
      - Keep a copy of the old file, with a time stamp in its name.
    type: bool
    default: false
  validate:
    description:
      - The Docker daemon's program, by name or path, which checks the new settings before they are put in place.
      - The check is skipped if the program is not installed or is older than version 23, or if this is empty.
    type: str
    default: dockerd
  service:
    description:
      - Docker's service. A file that is newer than its start has not been read by it.
    type: str
    default: docker.service
    version_added: 0.2.0
  reload_record:
    description:
      - A file that records a reload of Docker's settings. A caller that reloads Docker writes the service's
        C(InvocationID) and the SHA-256 of the configuration file into it, so that the reload counts like a start.
    type: path
    default: /run/mistral-docker-settings
    version_added: 0.2.0
"""

EXAMPLES = r"""
- name: Keep containers running while Docker restarts, and rotate their logs
  mistralrs.stack.docker_daemon_config:
    settings:
      live-restore: true
      log-driver: json-file
      log-opts:
        max-size: 50m
        max-file: "3"

- name: Add a registry mirror to the existing ones, and remove the debug setting
  mistralrs.stack.docker_daemon_config:
    settings:
      registry-mirrors:
        - https://mirror.example.org
    lists: append
    absent:
      - debug
    backup: true
"""

RETURN = r"""
path:
  description: The configuration file, with links resolved.
  returned: success
  type: str
  sample: /etc/docker/daemon.json
settings:
  description: All settings in the file, including those that this task did not set. Passwords in URLs are not shown.
  returned: success
  type: dict
  sample:
    live-restore: true
settings_before:
  description: The settings that were in the file. Passwords in URLs are not shown.
  returned: success
  type: dict
  sample: {}
  version_added: 0.2.0
changed_keys:
  description: The top-level keys that were added, changed or removed.
  returned: success
  type: list
  elements: str
  sample: [live-restore]
restart_required:
  description:
    - Whether Docker must be restarted, because of the change or because it has not read the file. If V(false) and
      something changed, a reload is enough.
  returned: success
  type: bool
  sample: false
in_effect:
  description:
    - Whether the running Docker has read the file as it was before this task. V(true) if Docker is not running, since
      it reads the file when it starts.
  returned: success
  type: bool
  sample: true
  version_added: 0.2.0
backup_file:
  description: The copy of the old file.
  returned: changed and O(backup=true)
  type: str
  sample: /etc/docker/daemon.json.4242.2026-01-31@12:00:00~
error_id:
  description: Identifies what went wrong.
  returned: failure
  type: str
  sample: docker.daemon_json_invalid
"""

import hashlib
import json
import os
import re
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._docker.daemon_json import (
    INVALID,
    REFUSED,
    Plan,
    masked,
    merge,
    plan,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.atomic import stage, sync_directory
from ansible_collections.mistralrs.stack.plugins.module_utils._host import service_state
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module

NOT_WRITTEN = Fault(
    "docker.daemon_json_not_written",
    "Docker's settings in {path} could not be written: {problem}.",
    "Check the file system it lies on: its space, and whether it is mounted read-only.",
)


def read(path: str) -> str:
    """The text of the file; a missing one is empty."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise StackError(INVALID, path=path, problem=f"byte {error.start} is not UTF-8") from error
    except OSError as error:
        raise StackError(INVALID, path=path, problem=f"it cannot be read ({error.strerror})") from error


def is_in_effect(module: AnsibleModule, path: str) -> bool:
    """Whether the running Docker has read the file; a change that was only written is made up for by the next run."""
    systemctl = module.get_bin_path("systemctl")
    if systemctl is None or not os.path.exists(path):
        return True
    _status, shown, _err = module.run_command([systemctl, *service_state.SHOW, module.params["service"]])
    service = service_state.parse(shown)
    if not service.runs:
        return True
    try:
        with open(module.params["reload_record"], encoding="utf-8") as file:
            record = file.read()
    except OSError:
        record = ""
    with open(path, "rb") as content:
        digest = hashlib.sha256(content.read()).hexdigest()
    # One whose start is not known may have read anything, unless a reload was recorded.
    if not service.since and record.split() != [service.run, digest]:
        return False
    return not service_state.unread(service, [path], record, digest)


def check_with_docker(module: AnsibleModule, path: str, text: str) -> None:
    """Let dockerd itself look at the settings, where it is installed and can."""
    program = module.get_bin_path(module.params["validate"]) if module.params["validate"] else None
    if program is None:
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=module.tmpdir, suffix=".json") as file:
        file.write(text)
        file.flush()
        status, out, err = module.run_command([program, "--validate", "--config-file", file.name])
        if status == 0 or "unknown flag" in err + out:
            return
        words = (err.strip() or out.strip() or f"exit code {status}").splitlines()[-1].replace(file.name, path)
    raise StackError(REFUSED, path=path, problem=words.rstrip("."))


def write(module: AnsibleModule, path: str, text: str, mode: int) -> None:
    """Put the text in place of the file in one step; it is on the disk when this returns. A new file gets C(mode)."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    is_new = not os.path.exists(path)
    staged = stage(path, text.encode(), 0o600)
    module.add_cleanup_file(staged)
    # Keeps mode, owner and SELinux context of a file that is replaced.
    module.atomic_move(staged, path)
    if is_new:
        os.chmod(path, mode)
    sync_directory(folder)


def is_open(path: str) -> bool:
    """Whether others than its owner may read the file."""
    try:
        return bool(os.stat(path).st_mode & 0o077)
    except FileNotFoundError:
        return False


def apply(module: AnsibleModule, path: str, wanted: Plan) -> dict[str, object]:
    is_secret = bool(module.params["secret_settings"])
    is_to_close = is_secret and is_open(path)
    in_effect = is_in_effect(module, path)
    result: dict[str, object] = {
        "changed": wanted.changed or is_to_close,
        "path": path,
        "settings": masked(wanted.settings),
        "settings_before": masked(wanted.settings_before),
        "changed_keys": wanted.changed_keys,
        "restart_required": wanted.restart_required or not in_effect,
        "in_effect": in_effect,
    }
    if module._diff:
        result["diff"] = {
            "before": masked(wanted.before),
            "after": masked(wanted.after),
            "before_header": path,
            "after_header": path,
        }
    if wanted.changed:
        check_with_docker(module, path, wanted.after)
    if not module.check_mode:
        # Before the new text is there, and before the old one is copied.
        if is_to_close:
            os.chmod(path, 0o600)
        if wanted.changed:
            if module.params["backup"] and os.path.exists(path):
                result["backup_file"] = module.backup_local(path)
            write(module, path, wanted.after, 0o600 if is_secret else 0o644)
    return result


def run(module: AnsibleModule) -> dict[str, object]:
    params = module.params
    path = os.path.realpath(params["path"])
    settings = merge(params["settings"], params["secret_settings"])
    wanted = plan(read(path), path, settings, params["absent"], params["lists"] == "append")
    # What Ansible says of the module's options shows no password either.
    secrets = re.findall(r"://[^/\s:@\"]*:([^\s@\"]+)@", json.dumps(params["settings"]))
    module.no_log_values.update(secrets)
    return apply(module, path, wanted)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/docker/daemon.json"},
            "settings": {"type": "dict", "default": {}},
            "secret_settings": {"type": "dict", "default": {}, "no_log": True},
            "lists": {"type": "str", "default": "replace", "choices": ["replace", "append"]},
            "absent": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "backup": {"type": "bool", "default": False},
            "validate": {"type": "str", "default": "dockerd"},
            "service": {"type": "str", "default": "docker.service"},
            "reload_record": {"type": "path", "default": "/run/mistral-docker-settings"},
        },
        supports_check_mode=True,
    )
    path = os.path.realpath(module.params["path"])
    run_module(module, run, lambda _path, reason: StackError(NOT_WRITTEN, path=path, problem=reason))


if __name__ == "__main__":
    main()
