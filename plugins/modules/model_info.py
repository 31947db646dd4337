#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: model_info
short_description: List the models of a store, or describe one that is not in it
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Without O(source), lists the models in a model store as of their last verification. No model is read.
  - With O(source), describes what a source offers. Only the headers of GGUF and SafeTensors files are fetched from the
    network.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
  - mistralrs.stack.hub
  - mistralrs.stack.hub.fit
attributes:
  check_mode:
    support: full
    details: Nothing is changed.
  diff_mode:
    support: none
    details: Nothing is changed.
  idempotent:
    support: full
options:
  path:
    description: The store, an absolute path.
    type: path
    default: /var/lib/mistral/models
  source:
    description: A source, as for the module M(mistralrs.stack.model).
    type: str
    default: ""
  revision:
    description: The branch, tag or commit of a hub's repository, or the tag in a registry.
    type: str
    default: ""
  quantization:
    description: The quantization to describe, if the source is a repository. If empty, all of them.
    type: str
    default: ""
seealso:
  - module: mistralrs.stack.model
  - module: mistralrs.stack.model_search
"""

EXAMPLES = r"""
- name: List the models of the store
  mistralrs.stack.model_info:
  register: store

- name: Find out which quantizations of a model fit the GPUs
  mistralrs.stack.model_info:
    source: hf://Qwen/Qwen2.5-Coder-32B-Instruct-GGUF
    fit:
      gpu_memory: [24576]
      context_length: 16384
  register: offered
"""

RETURN = r"""
models:
  description: The models of the store, by file name.
  type: list
  elements: dict
  returned: without O(source)
  contains:
    name:
      description: The name that it was fetched under.
      type: str
    quantization:
      description: The quantization's label.
      type: str
    file:
      description: The name in the store.
      type: str
    directory:
      description: Whether it is a directory of several files.
      type: bool
    size:
      description: The size in bytes.
      type: int
    sha256:
      description: The content's SHA-256.
      type: str
    present:
      description: Whether it exists with the verified size and time.
      type: bool
    verified_at:
      description: When it was last verified, in seconds since 1970 (Unix time).
      type: int
    source:
      description: Where it came from.
      type: str
    revision:
      description: The commit or digest that it came from.
      type: str
    sealed:
      description: The digest by which the kernel checks it; empty if it is not sealed.
      type: str
    gguf:
      description: The summary of its header.
      type: dict
others:
  description: The names of files and directories in the store that it has no record of.
  type: list
  elements: str
  returned: without O(source)
free:
  description: The free space on the store's disk, in bytes.
  type: int
  returned: without O(source)
remote:
  description: What the source offers.
  type: dict
  returned: with O(source)
  contains:
    revision:
      description: The commit or digest that O(revision) points to now.
      type: str
    files:
      description: The files, each with C(name), C(size) in bytes and C(sha256) where the source says it.
      type: list
      elements: dict
    size:
      description: The size of all files in bytes.
      type: int
    gguf:
      description: The summary of the header.
      type: dict
    quantizations:
      description:
        - The GGUF quantizations that a repository offers, the smallest first, each with C(label), C(files), C(size) in
          bytes, C(loadable) (whether mistral.rs can load it), C(needs) (an estimate of the GPU memory in bytes) and
          C(fits).
        - Empty with O(quantization), and for sources that are not repositories.
      type: list
      elements: dict
error_id:
  description: The id of the error, see C(docs/errors.md).
  type: str
  returned: failure
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote, Source, parse_source
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.url import redact
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module
from ansible_collections.mistralrs.stack.plugins.module_utils._store import access_options
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.contents import listing
from ansible_collections.mistralrs.stack.plugins.module_utils._store.selection import inspect_remote, offers


def _file(remote: Remote) -> dict[str, Any]:
    return {"name": remote.name, "size": remote.size, "sha256": remote.sha256}


def _remote(source: Source, quantization: str, access: Access) -> dict[str, Any]:
    """What a source has."""
    name = source.repository or source.shown
    is_repository = source.kind == "hf" and not source.path and not quantization
    offered, summary = offers(source, name, access) if is_repository else ([], {})
    if offered:
        files = [_file(remote) for offer in offered for remote in offer.files]
        revision = offered[0].files[0].commit
    else:
        resolved, summary = inspect_remote(source, name, quantization, access)
        files, revision = [_file(remote) for remote in resolved.files], resolved.revision
    return {
        "revision": revision,
        "files": files,
        "size": sum(file["size"] or 0 for file in files),
        "gguf": summary,
        "quantizations": [
            {
                "label": offer.label.lower(),
                "files": [remote.name for remote in offer.files],
                "size": offer.size,
                "loadable": offer.loadable,
                "needs": offer.needs,
                "fits": offer.fits,
            }
            for offer in offered
        ],
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    given = params["source"]
    params["source"] = redact(given)
    if params["source"] == given:
        module.no_log_values.discard(given)
    if not given:
        return {"changed": False, **listing(params["path"])}
    source = parse_source("of 'source'", given, params["revision"])
    remote = _remote(source, params["quantization"], access_options.access(module))
    return {"changed": False, "remote": remote}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/var/lib/mistral/models"},
            "source": {"type": "str", "default": "", "no_log": True},
            "revision": {"type": "str", "default": ""},
            "quantization": {"type": "str", "default": ""},
            **access_options.FIT_OPTIONS,
            **access_options.ACCESS_OPTIONS,
        },
        supports_check_mode=True,
    )
    run_module(module, run)


if __name__ == "__main__":
    main()
