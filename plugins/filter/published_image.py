# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: published_image
short_description: Choose among the CUDA images that mistral.rs publishes, for a driver and GPUs
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Returns the reference of the image in C(ghcr.io/ericlbuehler/mistral.rs) that the driver runs and that was compiled
    for the GPUs, by the rules of upstream's documentation.
  - Where there is none, the error V(image.no_published_image) says why, and what to do instead.
  - The result depends on the arguments only; the registry isn't asked.
extends_documentation_fragment:
  - mistralrs.stack.engine_choice
  - mistralrs.stack.engine_choice.gpus
positional: _input, compute_capabilities, engine_version
options:
  _input:
    description:
      - The version of the NVIDIA driver. With a list, of several hosts, the oldest counts.
      - Empty means that no driver is known; then the image with the oldest CUDA is taken, with a warning.
    type: raw
    required: true
  commit:
    description:
      - The value of C(mistral_image_commit).
      - It only makes a version acceptable whose commit isn't known; of which commit an image is, isn't looked up.
    type: str
    default: ""
  compute_capability:
    description: The value of C(mistral_image_compute_capability), which image to take if the GPUs differ.
    type: str
    default: ""
seealso:
  - plugin: mistralrs.stack.cuda_choice
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what an L4 with driver 580 gets
  ansible.builtin.debug:
    msg: "{{ ('580.95.05' | mistralrs.stack.published_image(['8.9'], '0.9.2')).reference }}"
"""

RETURN = r"""
_value:
  description: The image.
  type: dict
  contains:
    reference:
      description: The image's reference, without a digest.
      type: str
    cuda_version:
      description: The CUDA of the image, two numbers.
      type: str
    capabilities:
      description: The compute capability of the image, always one, such as V(89).
      type: list
      elements: str
    warnings:
      description: What the operator should know, one sentence each.
      type: list
      elements: str
    errors:
      description: What is wrong, one line each; empty when there is an image.
      type: list
      elements: str
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.module_utils._cuda_choice import (
    NEWEST_PUBLISHED,
    ChoiceError,
    as_data,
    oldest,
    published_tag,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions import engine_version
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def _filter(
    driver: Any,
    compute_capabilities: Any,
    engine: Any,
    architecture: str = "x86_64",
    commit: Any = "",
    driver_cuda: Any = "",
    compute_capability: Any = "",
    fail: bool = True,
) -> dict[str, Any]:
    try:
        image = published_tag(
            oldest(driver),
            [str(one) for one in compute_capabilities or []],
            engine_version(str(engine or NEWEST_PUBLISHED), str(commit or "")),
            str(architecture),
            driver_cuda=oldest(driver_cuda),
            compute_capability=str(compute_capability or ""),
        )
    except StackError as error:
        if fail:
            raise AnsibleFilterError(str(error)) from error
        errors = error.errors if isinstance(error, ChoiceError) else [error]
        return {"errors": [str(one) for one in errors]}
    return {**as_data(image), "errors": []}


class FilterModule:
    """The filter published_image."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"published_image": _filter}
