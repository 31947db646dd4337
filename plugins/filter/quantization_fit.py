# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: quantization_fit
short_description: Estimate which quantizations of a model fit the GPUs
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Estimates for each quantization how large a model is and how much GPU memory it needs for weights, KV cache and
    reserve.
  - Sizes follow from the number of parameters and the bits per parameter that llama.cpp measured; actual files differ
    by a few percent. The module M(mistralrs.stack.model_info) reports what a repository really offers.
positional: _input
options:
  _input:
    description:
      - The summary of the model's header, as in RV(mistralrs.stack.model#module:model.gguf), with at least
        C(parameters).
      - Without C(kv_bytes_per_token), the estimate does not include the KV cache.
    type: dict
    required: true
  gpu_memory:
    description: The memory of each GPU, in MiB.
    type: list
    elements: int
    default: []
  context_length:
    description:
      - The tokens of context to reserve memory for; V(0) means the context length that the model was made for, but at
        most 4096.
    type: int
    default: 0
  batch_size:
    description: The number of concurrent sequences to reserve memory for.
    type: int
    default: 1
seealso:
  - module: mistralrs.stack.model_info
"""

EXAMPLES = r"""
- name: Show how much memory a model of 32 billion parameters needs
  ansible.builtin.debug:
    msg: >-
      {{ {'parameters': 32800000000, 'kv_bytes_per_token': 262144}
         | mistralrs.stack.quantization_fit(gpu_memory=[24576], context_length=8192) }}
"""

RETURN = r"""
_value:
  description: One entry for each quantization that mistral.rs can load, the smallest first.
  type: list
  elements: dict
  contains:
    label:
      description: The quantization.
      type: str
    size:
      description: The size of the weights in bytes.
      type: int
    needs:
      description: The estimated GPU memory in bytes.
      type: int
    fits:
      description: Whether the GPUs have that much memory; null without O(gpu_memory).
      type: bool
"""

from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible.errors import AnsibleFilterError


def _filter(
    model: Any, gpu_memory: Sequence[int] = (), context_length: int = 0, batch_size: int = 1
) -> list[dict[str, Any]]:
    from ansible_collections.mistralrs.stack.plugins.module_utils._model import fitting

    parameters = model.get("parameters") if isinstance(model, Mapping) else None
    if not isinstance(parameters, int) or isinstance(parameters, bool) or parameters <= 0:
        raise AnsibleFilterError(
            "quantization_fit: the input has to be a dictionary with 'parameters', a number above 0; "
            "use the 'gguf' of the module model or model_info."
        )
    if isinstance(gpu_memory, (str, Mapping)) or not all(isinstance(size, int) and size > 0 for size in gpu_memory):
        raise AnsibleFilterError("quantization_fit: 'gpu_memory' has to be a list of whole numbers, each in MiB.")
    gpus = [size << 20 for size in gpu_memory]
    found = []
    for label in fitting.BITS_PER_WEIGHT:
        size = fitting.weights(parameters, label) or 0
        candidate = fitting.Candidate(label, size, dict(model))
        needs = fitting.estimate(candidate, gpus, int(context_length), int(batch_size)).total
        found.append(
            {"label": label.lower(), "size": size, "needs": needs, "fits": needs <= sum(gpus) if gpus else None}
        )
    return sorted(found, key=lambda entry: int(str(entry["size"])))


class FilterModule:
    """The filter quantization_fit."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"quantization_fit": _filter}
