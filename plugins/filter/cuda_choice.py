# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: cuda_choice
short_description: Choose the CUDA that the engine is built with, for a driver and GPUs
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Returns the newest CUDA that this version of mistral.rs builds with, that compiles for the GPUs and that the driver
    runs, with the references of its base images. What is set by hand (O(wanted)) is checked against the same.
  - What is wrong is said for all conflicts at once, one line each, with an id such as V(image.cuda_driver_too_old),
    V(image.cuda_engine_unsupported), V(image.gpu_too_old_for_engine), V(image.gpu_too_old_for_cuda),
    V(image.gpu_too_new_for_cuda) or V(image.capabilities_differ).
  - The result depends on the arguments only and is plain data; whether the base image still exists is not looked up.
extends_documentation_fragment:
  - mistralrs.stack.engine_choice
  - mistralrs.stack.engine_choice.gpus
positional: _input, compute_capabilities, engine_version
options:
  _input:
    description:
      - The version of the NVIDIA driver, such as V(580.95.05). With a list, of several hosts, the oldest counts.
      - Empty means that no driver is known; then the GPUs alone decide, with a warning.
    type: raw
    required: true
  wanted:
    description: The value of C(mistral_image_cuda_version), V(12.2.0) or V(12.8) for example. Empty is the newest.
    type: str
    default: ""
  distribution:
    description: The family of base images.
    type: str
    choices: [ubuntu22.04, ubuntu24.04, ubuntu26.04, ubi8, ubi9]
    default: ubuntu22.04
  commit:
    description: The value of C(mistral_image_commit).
    type: str
    default: ""
  compute_capability:
    description:
      - The value of C(mistral_image_compute_capability), what to build for if the GPUs differ.
      - GPUs of 8.x run code for an older 8.x; others need an image of their own.
    type: str
    default: ""
  features:
    description:
      - The Cargo features that the engine is built with.
      - V(cudnn) takes base images with cuDNN 9, V(flash-attn) needs compute capability 8.0.
    type: list
    elements: str
    default: []
seealso:
  - plugin: mistralrs.stack.engine_build_version
    plugin_type: filter
  - plugin: mistralrs.stack.published_image
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what an L4 with driver 550 gets
  ansible.builtin.debug:
    msg: "{{ '550.163.01' | mistralrs.stack.cuda_choice(['8.9'], '0.9.2') }}"

- name: Show what is wrong with CUDA 13 there
  ansible.builtin.debug:
    msg: "{{ ('550.163.01' | mistralrs.stack.cuda_choice(['8.9'], '0.9.2', wanted='13.0.2', fail=false)).errors }}"
"""

RETURN = r"""
_value:
  description: The choice.
  type: dict
  contains:
    cuda_version:
      description: The version of CUDA, three numbers.
      type: str
    devel:
      description: The reference of the image to build in, without a digest.
      type: str
    runtime:
      description: The reference of the image to run in, without a digest.
      type: str
    capabilities:
      description: The compute capability to build for (C(CUDA_COMPUTE_CAP)), always one, such as V(89).
      type: list
      elements: str
    driver_minimum:
      description: The oldest driver that runs everything that this CUDA compiles.
      type: str
    warnings:
      description: What the operator should know, one sentence each.
      type: list
      elements: str
    errors:
      description: What is wrong, one line each; empty when the choice is made.
      type: list
      elements: str
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.module_utils._cuda_choice import (
    ChoiceError,
    as_data,
    cuda_choice,
    oldest,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions import DEFAULT_VERSION, engine_version
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def _filter(
    driver: Any,
    compute_capabilities: Any,
    engine: Any,
    wanted: Any = "",
    distribution: str = "ubuntu22.04",
    architecture: str = "x86_64",
    commit: Any = "",
    driver_cuda: Any = "",
    compute_capability: Any = "",
    features: Any = (),
    fail: bool = True,
) -> dict[str, Any]:
    try:
        choice = cuda_choice(
            oldest(driver),
            [str(one) for one in compute_capabilities or []],
            engine_version(str(engine or DEFAULT_VERSION), str(commit or "")),
            str(wanted or ""),
            str(distribution),
            str(architecture),
            driver_cuda=oldest(driver_cuda),
            compute_capability=str(compute_capability or ""),
            features=[str(one) for one in features or []],
        )
    except StackError as error:
        if fail:
            raise AnsibleFilterError(str(error)) from error
        errors = error.errors if isinstance(error, ChoiceError) else [error]
        return {"errors": [str(one) for one in errors]}
    return {**as_data(choice), "errors": []}


class FilterModule:
    """The filter cuda_choice."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"cuda_choice": _filter}
