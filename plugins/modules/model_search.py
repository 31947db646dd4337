#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: model_search
short_description: Search a Hugging Face hub for models
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Finds repositories with GGUF files, the most downloaded first, and lists the quantizations that they have.
  - With O(fit), it also lists which of them fit the GPUs. This fetches the header of one file of each repository.
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
  query:
    description: Words of the repository's name.
    type: str
    required: true
  task:
    description: What the model does, as a task of the hub, such as V(text-generation). If empty, any task.
    type: str
    default: ""
  size:
    description: The size as it appears in names, such as V(7b) or V(30b-a3b). If empty, any size.
    type: str
    default: ""
  quantization:
    description: A quantization that the repository must have, such as V(q5_k_m). If empty, any quantization.
    type: str
    default: ""
  limit:
    description: The maximum number of repositories to return.
    type: int
    default: 10
seealso:
  - module: mistralrs.stack.model_info
"""

EXAMPLES = r"""
- name: Find a coder for two GPUs of 24 GB
  mistralrs.stack.model_search:
    query: qwen coder
    quantization: q5_k_m
    fit:
      gpu_memory: [24576, 24576]
  register: found
"""

RETURN = r"""
models:
  description: The repositories that were found.
  type: list
  elements: dict
  returned: success
  contains:
    repository:
      description: The repository's name.
      type: str
    source:
      description: The source to give to the module M(mistralrs.stack.model).
      type: str
    task:
      description: What the model does.
      type: str
    license:
      description: The licence that the repository names.
      type: str
    gated:
      description: Whether its licence must be accepted first.
      type: bool
    downloads:
      description: The number of downloads in the last month.
      type: int
    quantizations:
      description: The quantizations that it has.
      type: list
      elements: str
    fitting:
      description: Those that fit the GPUs, the best first; only with O(fit).
      type: list
      elements: str
error_id:
  description: The id of the error, see C(docs/errors.md).
  type: str
  returned: failure
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import http_client, huggingface
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import parse_source
from ansible_collections.mistralrs.stack.plugins.module_utils._model import quantization_names
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module
from ansible_collections.mistralrs.stack.plugins.module_utils._store import access_options
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.selection import offers

# Of what the hub finds by words some is dropped by the other conditions.
_MARGIN = 5


def _is_wanted(found: dict[str, Any], params: dict[str, Any]) -> bool:
    size = re.escape(params["size"])
    return (
        (not params["task"] or found["task"] == params["task"])
        and (not size or bool(re.search(rf"(?:^|[-_/.]){size}(?=[-_.]|$)", found["repository"], re.IGNORECASE)))
        and (not params["quantization"] or params["quantization"].lower() in found["quantizations"])
    )


def _described(entry: dict[str, Any]) -> dict[str, Any]:
    """What a search's answer says of a repository."""
    repository = str(entry.get("id") or entry.get("modelId") or "")
    siblings = entry.get("siblings") or []
    files = [str(each.get("rfilename", "")) for each in siblings if isinstance(each, dict)]
    labels = {quantization_names.label_of(paths[0]).lower() for paths in quantization_names.models(files).values()}
    tags = [str(tag) for tag in entry.get("tags") or []]
    return {
        "repository": repository,
        "source": f"hf://{repository}",
        "task": str(entry.get("pipeline_tag") or ""),
        "license": next((tag.partition(":")[2] for tag in tags if tag.startswith("license:")), ""),
        "gated": bool(entry.get("gated")),
        "downloads": int(entry.get("downloads") or 0),
        "quantizations": sorted(labels - {""}),
    }


def _fitting(found: dict[str, Any], access: Access) -> list[str]:
    """The quantizations of a repository that fit, the best first; none if it can't be looked into."""
    try:
        source = parse_source(found["repository"], found["source"])
        offered, _summary = offers(source, found["repository"], access)
    except StackError:
        # Gated, for example: what was found is told all the same.
        return []
    return [offer.label.lower() for offer in reversed(offered) if offer.fits and offer.loadable]


def search(params: dict[str, Any], access: Access) -> list[dict[str, Any]]:
    """What is found, the most downloaded first."""
    client = http_client.Client(params["query"], access.http)
    entries = huggingface.search(client, access.hub, params["query"], params["limit"] * _MARGIN)
    found = [each for each in map(_described, entries) if _is_wanted(each, params)][: params["limit"]]
    if access.fit.gpu_memory:
        for each in found:
            each["fitting"] = _fitting(each, access)
    return found


def run(module: AnsibleModule) -> dict[str, Any]:
    return {"changed": False, "models": search(module.params, access_options.access(module))}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "query": {"type": "str", "required": True},
            "task": {"type": "str", "default": ""},
            "size": {"type": "str", "default": ""},
            "quantization": {"type": "str", "default": ""},
            "limit": {"type": "int", "default": 10},
            **access_options.FIT_OPTIONS,
            **access_options.ACCESS_OPTIONS,
        },
        supports_check_mode=True,
    )
    run_module(module, run)


if __name__ == "__main__":
    main()
