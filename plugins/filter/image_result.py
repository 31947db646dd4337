# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: image_result
short_description: Describe an engine image from what Docker reports about it
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Reads the labels that every engine image of this collection has, no matter where it comes from.
positional: _input, reference
options:
  _input:
    description: The output of C(docker image inspect) for one image, as text or as data.
    type: raw
    required: true
  reference:
    description: The name under which the image is used.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show which version of the engine an image has
  ansible.builtin.debug:
    msg: "{{ (my_inspect.stdout | mistralrs.stack.image_result('mistralrs-stack/engine:mine')).engine_version }}"
"""

RETURN = r"""
_value:
  description: What the image is.
  type: dict
  contains:
    reference:
      description: The name under which it is used.
      type: str
    digest:
      description: The digest in the registry that it came from, or the image's own id.
      type: str
    engine_version:
      description: The version of mistral.rs.
      type: str
    source:
      description: Where it comes from, V(build), V(pull), V(load) or V(evaluation).
      type: str
    evaluation:
      description: Whether it is the evaluation engine.
      type: bool
    command_generation:
      description: The version that introduced its command line.
      type: str
    cuda_version:
      description: The version of CUDA; empty without CUDA.
      type: str
    compute_capabilities:
      description: The compute capabilities that it is for.
      type: list
      elements: str
    labels:
      description: All labels.
      type: dict
"""

import json
from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError


def _filter(inspected: Any, reference: str) -> dict[str, Any]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.result import image_result

    try:
        found = json.loads(inspected) if isinstance(inspected, str) else inspected
    except ValueError as error:
        raise AnsibleFilterError(f"image_result: the input is not JSON ({error}).") from error
    image = found[0] if isinstance(found, list) and found else found
    if not isinstance(image, Mapping):
        raise AnsibleFilterError("image_result: the input has to be what 'docker image inspect' prints for one image.")
    return image_result(image, reference)


class FilterModule:
    """The filter image_result."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"image_result": _filter}
