# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: image_plan
short_description: Plan an engine image from the role's variables
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Chooses commit, CUDA, bases, features and toolchain for an engine image, or reports everything that is wrong.
  - The result contains the secrets of the build, so it must not be shown.
positional: _input, source
options:
  _input:
    description:
      - The variables of the role P(mistralrs.stack.mistral_image#role), without the prefix C(mistral_image_).
      - Also C(version), C(architecture), C(driver) and C(driver_cuda).
    type: dict
    required: true
  source:
    description: Where the image comes from.
    type: str
    required: true
    choices: [build, pull, load, evaluation]
"""

EXAMPLES = r"""
- name: Show which CUDA an image is built with
  ansible.builtin.debug:
    msg: "{{ (my_settings | mistralrs.stack.image_plan('build')).cuda_version }}"
"""

RETURN = r"""
_value:
  description:
    - The plan, or only C(errors) if something is wrong.
  type: dict
  contains:
    errors:
      description: What is wrong, one line each.
      type: list
      elements: str
    warnings:
      description: What the operator should know.
      type: list
      elements: str
    engine_version:
      description: The version of mistral.rs, such as V(0.9.2); V(0.9.2+7) is the seventh commit after that release.
      type: str
    reported_version:
      description: The version that the program reports with C(--version).
      type: str
    quick_way:
      description: A sentence that offers upstream's image instead of a long build; empty if there is no such image.
      type: str
    tag:
      description: The beginning of the image's tag.
      type: str
    cuda_version:
      description: The version of CUDA.
      type: str
    compute_capabilities:
      description: The compute capability that the image is for, such as V(89).
      type: list
      elements: str
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def _filter(settings: Any, source: str) -> dict[str, Any]:
    from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.plan import image_errors, image_plan

    if not isinstance(settings, Mapping) or source not in ("build", "pull", "load", "evaluation"):
        raise AnsibleFilterError(
            "image_plan: give a dictionary of settings, and build, pull, load or evaluation as the source."
        )
    try:
        return image_plan(source, settings)
    except StackError as error:
        return {"errors": image_errors(error), "warnings": []}


class FilterModule:
    """The filter image_plan."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"image_plan": _filter}
