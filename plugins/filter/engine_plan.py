# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: engine_plan
short_description: Turn the operator's C(config.yml) into the command line and configuration of a version of mistral.rs
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Takes the settings of C(config.yml) (the variable C(mistral_server_config) of the role
    P(mistralrs.stack.mistral_server#role)) and returns the command line, environment and configuration file of that
    version of the engine, and what the gateway must do because the engine can't.
  - Every key takes effect or is refused. The errors of all keys are reported at once, one line each, with an id such as
    V(config.unknown_key), V(config.wrong_type), V(config.out_of_range), V(config.contradiction) or
    V(config.key_unsupported).
  - The result depends only on the arguments and is plain data.
extends_documentation_fragment:
  - mistralrs.stack.engine_choice
positional: _input, version, gpus, models
options:
  _input:
    description:
      - The settings, in the sections V(models), V(server), V(inference) and V(gpu); all sections and keys are optional.
      - V(models.path) is the directory of the models in the container (V(/models)); V(models.quantization) chooses the
        default model among several quantizations; V(models.context_length) is the maximum number of tokens, prompt and
        answer together, that the engine plans its memory for; the gateway lets no request ask for a longer answer.
        V(models.context_lengths) says it for single models, by any of their names. V(models.dtype) is the type that
        the engine computes with, V(f16), V(bf16) or V(f32), instead of the one that it chooses.
      - V(server.host) and V(server.port) are the address and port of the engine on the host (V(127.0.0.1), V(11434));
        V(server.num_threads) is the number of threads for computing on the CPU, V(auto) that of the physical cores.
      - V(inference.temperature), V(inference.top_p) and V(inference.max_tokens) (V(2048)) are the values that the
        gateway adds to requests without them. Newer engines can do that for the first two, but none for all three, so
        the gateway always does it. V(inference.batch_size) is the number of requests that the engine works on at the
        same time, V(inference.prefix_cache) how many prompts it keeps the beginnings of (V(0) keeps none).
      - V(gpu.memory_fraction) (V(0.9)) is the share of the GPU's memory that the engine reserves; V(gpu.allow_growth)
        lets it allocate memory as needed instead (slower); V(gpu.devices) lists the indexes or UUIDs of the GPUs to
        use; V(gpu.tensor_parallel) can only be V(1) with GGUF models; V(gpu.device_layers) says how many layers of
        the one model go to which of these GPUs, such as V(0:16) and V(1:16).
      - V(gpu.cache_mb) is the memory of all KV caches in MiB instead of what the fraction leaves for them;
        V(gpu.cache_type) is V(f8e4m3) for keys and values of one byte, so that twice the tokens fit. On a host without
        a GPU all keys of V(gpu) are refused.
      - If several models share the GPUs, the memory of that share that their weights leave free is divided equally
        among their KV caches. The filter computes it from C(size) and C(gguf) of the models and C(memory) of the GPUs.
        The models are refused if it is too little for one context of each (V(config.no_room_for_models)) or if these
        sizes are not known. The same applies to one model that is larger than the first of several GPUs.
    type: dict
    required: true
  version:
    description:
      - The engine's version, such as V(0.9.5) or V(v0.6.0). The filter knows 0.6.0, 0.7.x, 0.8.x and 0.9.x.
      - V(0.9.2+7) is the seventh commit after a release.
    type: str
    required: true
  gpus:
    description:
      - The host's GPUs, each with C(index), C(uuid) and C(memory) in bytes, as P(mistralrs.stack.gpu_devices#filter)
        lists them.
      - An empty list means that the engine runs on the CPU.
    type: list
    elements: dict
    required: true
  models:
    description:
      - The models to serve, as the role P(mistralrs.stack.mistral_models#role) reports them.
      - Entries of C(mistral_models) will also do, to check a configuration before the models are in the store.
      - C(tokenizer) is the path of the C(tokenizer.json) that was made for a model whose own tokenizer the engine reads
        wrongly. Engines before 0.9.1 read it only together with C(tokenizer_config), the path of a
        C(tokenizer_config.json) with the chat template and the special tokens; without one, such a model is refused
        (V(config.tokenizer_config_missing)). C(config) is the path of a C(config.json), which engines from 0.9.1 on
        read.
    type: list
    elements: dict
    required: true
  default_model:
    description: The model that answers when a client names none, by any of its names. If empty, the first one.
    type: str
    default: ""
  host:
    description: The value of C(mistral_server_host); it must not contradict V(server.host).
    type: str
  port:
    description: The value of C(mistral_server_port); it must not contradict V(server.port).
    type: int
  model_path:
    description: The value of C(mistral_server_model_path); it must not contradict V(models.path).
    type: str
  extra_environment:
    description: Further variables of the engine's environment. What the plan sets itself is refused.
    type: dict
  extra_toml:
    description:
      - Further keys of the configuration file, in its sections; those below C(models) are for each of the models. What
        the plan sets itself is refused, and so are all of them for version 0.6.0, which has no such file.
    type: dict
  cores:
    description: How many physical cores the host has, for V(server.num_threads=auto).
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Show what the engine would be started with
  ansible.builtin.debug:
    msg: "{{ config | mistralrs.stack.engine_plan('0.9.5', [], models) }}"
  vars:
    config:
      models:
        context_length: 8192
      inference:
        temperature: 0.7
        max_tokens: 2048
    models:
      - name: qwen2.5-coder:32b
        quantization: q5_k_m

- name: Show what is wrong with a configuration
  ansible.builtin.debug:
    msg: "{{ (config | mistralrs.stack.engine_plan('0.9.5', [], models, fail=false)).errors }}"
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    version:
      description: The engine's version.
      type: str
    argv:
      description: The engine's command line, without the program's name.
      type: list
      elements: str
    environment:
      description: The engine's environment variables.
      type: dict
    toml:
      description: The engine's configuration file, as TOML; empty for version 0.6.0, which has none.
      type: str
    configuration:
      description: The same as data.
      type: dict
    working_directory:
      description:
        - The directory in the container in which the engine is started. Each model has a directory of its own below it.
      type: str
    default_model:
      description: The id of the default model.
      type: str
    links:
      description: The links that make up the tree of models; keys are paths below the working directory.
      type: dict
    metrics:
      description: Whether this version offers metrics at C(/metrics).
      type: bool
    chat:
      description:
        - Whether the default model is known to have a chat template, its own or a given one, and so answers chats.
        - V(false) also if that is not known yet because the model is not in the store. A model without a template
          refuses chats, although nothing is wrong with the server.
      type: bool
    settings:
      description: The settings, including the defaults in effect. Given to this filter, they result in the same plan.
      type: dict
    gateway:
      description: What the gateway must do.
      type: dict
      contains:
        version:
          description: The engine's version, from which the gateway knows what it must do for it.
          type: str
        defaults:
          description: Values of C(temperature), C(top_p) and C(max_tokens) for requests without them.
          type: dict
        models:
          description:
            - For each model, its C(id) and the names (C(aliases)) that clients may use for it.
            - As far as they are known, also C(digest) (SHA-256), C(size) in bytes, C(quantization), C(family) (the
              architecture), C(parameters), such as V(134.52M), and C(embedding_length).
          type: list
          elements: dict
        default_model:
          description: The id of the default model.
          type: str
        context_length:
          description: What V(models.context_length) is; null means no limit.
          type: int
        max_tokens:
          description: The maximum number of tokens that a request may ask for; null means no limit.
          type: int
        max_concurrent_requests:
          description:
            - How many requests the engine may be given at the same time; V(0) means any number.
            - V(1) for versions up to 0.8.23 on the CPU, which mix up the answers to concurrent requests.
          type: int
    fit:
      description:
        - For each model's id, what of it would fit the GPUs, as C(sentence) and as C(table), the lines of a table of
          its quantizations.
        - Estimated from C(size) and C(gguf) of the models; a model is left out where these are not known.
      type: dict
    warnings:
      description: What the operator should know, one sentence each.
      type: list
      elements: str
    errors:
      description: What is wrong, one line each; empty when the plan is complete.
      type: list
      elements: str
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def _filter(
    config: Any, version: Any, gpus: Any, models: Any, fail: bool = True, default_model: Any = "", **variables: Any
) -> dict[str, Any]:
    from ansible_collections.mistralrs.stack.plugins.module_utils._engine.plan import engine_plan

    if not isinstance(config, dict):
        raise AnsibleFilterError(f"engine_plan needs the settings as a dictionary, not as {type(config).__name__}")
    try:
        plan = engine_plan(config, str(version), gpus or [], models or [], str(default_model or ""), **variables)
    except StackError as error:
        if fail:
            raise AnsibleFilterError(str(error)) from error
        return {"errors": [str(one) for one in error.errors]}
    return {**plan, "errors": []}


class FilterModule:
    """The filter engine_plan."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"engine_plan": _filter}
