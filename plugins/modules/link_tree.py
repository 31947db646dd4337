#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: link_tree
short_description: Ensure that a directory holds exactly the given symbolic links
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Creates, retargets and removes symbolic links and the directories that hold them, so that the directory holds
    exactly the given links.
  - Each link is replaced in one step, so readers see the old or the new target.
  - Nothing but links and empty directories is ever removed. Anything else in the directory is an error.
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
    description: The directory. It is created if it does not exist.
    type: path
    required: true
  links:
    description:
      - The links. Keys are paths below O(path), values are the absolute paths that the links point to.
      - The targets need not exist.
    type: dict
    required: true
  files:
    description:
      - More files that are read together with the targets. They count only for RV(identity).
    type: list
    elements: path
    default: []
    version_added: 0.2.0
"""

EXAMPLES = r"""
- name: Link each model into a directory of its own
  mistralrs.stack.link_tree:
    path: /var/lib/mistral/serve
    links:
      mistral-7b-q4_k_m/mistral-7b-q4_k_m.gguf: /var/lib/mistral/models/mistral-7b-q4_k_m.gguf
      mistral-7b-q4_k_m/tokenizer.json: /var/lib/mistral/models/mistral-7b-q4_k_m.tokenizer.json
"""

RETURN = r"""
linked:
  description: The links that were created or retargeted.
  type: list
  elements: str
  returned: success
unlinked:
  description: The links that were removed.
  type: list
  elements: str
  returned: success
identity:
  description:
    - A digest of the path, size, time of change and inode of the targets and O(files), including the files in
      directories.
    - It changes whenever one of them is written or replaced, even with the same content, so a program that was started
      with another identity has not read the present files.
  type: str
  returned: success
  version_added: 0.2.0
error_id:
  description: The id of the error, see C(docs/errors.md).
  type: str
  returned: failure
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files import link_tree
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module

NOT_WRITTEN = Fault(
    "links.not_written",
    "The links in {root} could not be changed: {path}: {problem}.",
    "Check that the folder above it exists and that the disk has space and can be written to.",
)


def run(module: AnsibleModule) -> dict[str, Any]:
    root = module.params["path"]
    wanted = {str(name): str(target) for name, target in module.params["links"].items()}
    link_tree.check_names(root, wanted)
    tree = link_tree.read(root)
    steps = link_tree.plan(root, tree, wanted)
    changed = bool(steps) or not os.path.isdir(root)
    if changed and not module.check_mode:
        link_tree.apply(root, steps)
    identity = link_tree.identity([*wanted.values(), *module.params["files"]])
    diff = {
        "before_header": root,
        "after_header": root,
        "before": link_tree.shown(root, tree.links),
        "after": link_tree.shown(root, wanted),
    }
    linked = [name for name, target in steps.link]
    return {"changed": changed, "diff": diff, "linked": linked, "unlinked": steps.unlink, "identity": identity}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "links": {"type": "dict", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    root = module.params["path"] = module.params["path"].rstrip("/") or "/"
    run_module(module, run, lambda path, reason: StackError(NOT_WRITTEN, root=root, path=path or root, problem=reason))


if __name__ == "__main__":
    main()
