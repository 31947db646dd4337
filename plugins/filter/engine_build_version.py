# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: engine_build_version
short_description: Tell what one version of mistral.rs is built from and with
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Takes a version of mistral.rs and returns its commit, the names of its package and program, the Rust toolchain, the
    CUDA versions and features that it is built with, and what is known to be wrong with it.
  - A version whose commit isn't known here is refused (V(image.version_unknown)), unless O(commit) is given; then it is
    treated like the nearest older one, with a warning.
extends_documentation_fragment:
  - mistralrs.stack.engine_choice
positional: _input, commit
options:
  _input:
    description: The version, with or without C(v) before it. Empty means the newest whose commit is known.
    type: str
    required: true
  commit:
    description: The git commit to build (8 to 40 hexadecimal digits), if not the one that is known.
    type: str
    default: ""
seealso:
  - plugin: mistralrs.stack.cuda_choice
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what the seed's version is built with
  ansible.builtin.debug:
    msg: "{{ 'v0.6.0' | mistralrs.stack.engine_build_version }}"

- name: Show what a commit is built with
  ansible.builtin.debug:
    msg: "{{ '0.9.3' | mistralrs.stack.engine_build_version(commit='0123456789abcdef0123456789abcdef01234567') }}"
"""

RETURN = r"""
_value:
  description: The version's properties.
  type: dict
  contains:
    version:
      description: The version without C(v). V(0.9.2+7) is the seventh commit after the release V(0.9.2).
      type: str
    tag:
      description: The git tag; empty if none points to the commit.
      type: str
    reported_version:
      description: What the program calls itself with C(--version).
      type: str
    commit:
      description: The git commit, or its first digits; what is checked out must begin with them.
      type: str
    package:
      description: The Cargo package to build.
      type: str
    binary:
      description: The program's name.
      type: str
    rust_version:
      description: The Rust toolchain to build with.
      type: str
    rust_minimum:
      description: The oldest Rust toolchain that the engine allows.
      type: str
    cuda_versions:
      description: The CUDA versions that it builds with, such as V(12.8), the oldest first.
      type: list
      elements: str
    compute_minimum:
      description: The lowest compute capability that it builds for.
      type: str
    features:
      description: The Cargo features of a CUDA build.
      type: list
      elements: str
    known_features:
      description: All Cargo features that the package has.
      type: list
      elements: str
    default_features:
      description: Whether the Cargo package's default features are wanted; if not, C(--no-default-features) is.
      type: bool
    threads_variable:
      description: The environment variable that limits how many CUDA compilers run at once.
      type: str
    defects:
      description: What is known to be wrong with this version, one sentence each.
      type: list
      elements: str
    command_generation:
      description: A version with the same command line, which P(mistralrs.stack.engine_plan#filter) knows.
      type: str
    warnings:
      description: What the operator should know, one sentence each.
      type: list
      elements: str
    errors:
      description: What is wrong, one line each; empty when all is well.
      type: list
      elements: str
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions import (
    DEFAULT_VERSION,
    as_data,
    engine_version,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def _filter(version: Any, commit: Any = "", fail: bool = True) -> dict[str, Any]:
    try:
        found = engine_version(str(version or DEFAULT_VERSION), str(commit or ""))
    except StackError as error:
        if fail:
            raise AnsibleFilterError(str(error)) from error
        return {"errors": [str(error)]}
    return {**as_data(found), "errors": []}


class FilterModule:
    """The filter engine_build_version."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"engine_build_version": _filter}
