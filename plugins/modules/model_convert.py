#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: model_convert
short_description: Convert SafeTensors of a store to UQFF with the engine's own command
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Converts a directory of SafeTensors in a model store to UQFF, which the engine loads without quantizing it first.
  - The engine's command C(quantize) does the conversion, in a container with the same image, user, memory limit and
    GPUs as the engine's container, without network and capabilities, and with a read-only root.
  - The container continues when the connection or the controller is lost. The next run finds it by its name.
  - The result is a directory beside the store. M(mistralrs.stack.model) takes it into the store.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  path:
    description: The store, an absolute path.
    type: path
    default: /var/lib/mistral/models
  source:
    description: The name of the directory in the store.
    type: str
    required: true
  name:
    description: The name of the result, as for a model of M(mistralrs.stack.model).
    type: str
    required: true
  quantization:
    description: A type that the engine quantizes to, such as V(q4k) or V(q8_0). It becomes a part of the result's name.
    type: str
    required: true
  engine:
    description: The name of the engine's container. It need not be running.
    type: str
    default: mistral-engine
  docker:
    description: Docker's client, by name or path.
    type: str
    default: docker
  state:
    description:
      - V(started) starts the conversion after some checks, unless the store has its result or it is already running.
      - V(finished) waits until the conversion has ended, and fails if the engine failed. What a failed conversion
        leaves behind is removed. It does nothing in check mode.
      - V(absent) removes the container, even if it is running, and the result beside the store.
    type: str
    choices: [started, finished, absent]
    default: started
seealso:
  - module: mistralrs.stack.model
"""

EXAMPLES = r"""
- name: Convert a model of the store
  module_defaults:
    mistralrs.stack.model_convert:
      source: qwen3-4b
      name: qwen3:4b-uqff
      quantization: q4k
  block:
    - name: Start the conversion
      mistralrs.stack.model_convert:
      register: conversion

    - name: Wait for the conversion, whatever happens to the connection
      ansible.builtin.command:
        argv: [docker, wait, "{{ conversion.container }}"]
      async: 86400
      poll: 10
      changed_when: false
      when: conversion.converting

    - name: Check how the conversion ended
      mistralrs.stack.model_convert:
        state: finished
      when: conversion.converting

    - name: Publish the result in the store
      mistralrs.stack.model:
        name: qwen3:4b-uqff
        quantization: q4k
        source: file://{{ conversion.result }}
      when: conversion.converting

    - name: Remove the container and the first copy of the result
      mistralrs.stack.model_convert:
        state: absent
      when: conversion.converting
"""

RETURN = r"""
converting:
  description:
    - Whether there is a conversion to wait for. It is V(false) when the store has the result, and in check mode.
  returned: success, with O(state=started)
  type: bool
command:
  description: The command that starts the container; empty when the store has the result.
  returned: success, with O(state=started)
  type: list
  elements: str
container:
  description: The name of the container.
  returned: success
  type: str
  sample: mistral-convert-qwen3-4b-uqff-q4k
target:
  description: The name of the result in the store.
  returned: success
  type: str
  sample: qwen3-4b-uqff-q4k
result:
  description: The directory beside the store that the engine writes to.
  returned: success
  type: str
  sample: /var/lib/mistral/convert/qwen3-4b.qwen3-4b-uqff-q4k
error_id:
  description: The id of the error, see C(docs/errors.md).
  returned: failure
  type: str
  sample: models.convert_source
"""

import functools
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model.conversion_container import ConversionContainer
from ansible_collections.mistralrs.stack.plugins.module_utils._model.conversion_plan import (
    Conversion,
    check_names,
    command,
    is_converted,
    usable_engine,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import model_id, store_file_name
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module

NOT_ACCESSIBLE = Fault(
    "models.conversion_not_accessible",
    "The files of the conversion can't be read or changed: {path}: {problem}.",
    "Check that its folder and its disk can be written to, and run again.",
)


def _started(module: AnsibleModule, container: ConversionContainer) -> dict[str, Any]:
    """Have the conversion run, unless its result is in the store."""
    conversion, engine_name = container.conversion, module.params["engine"]
    check_names(conversion)
    found = container.observe(engine_name)
    if is_converted(conversion, found):
        return {"changed": False, "converting": False, "command": []}
    engine = usable_engine(conversion, found, engine_name)
    starts = found.purpose is None
    if starts and not module.check_mode:
        container.start(engine)
    return {
        # In check mode it tells whether the store would change, which it also does when an earlier run has started it.
        "changed": starts or module.check_mode,
        "converting": not module.check_mode,
        "command": command(conversion, engine, module.params["docker"]),
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    target = model_id(store_file_name(params["name"], params["quantization"]))
    conversion = Conversion(params["path"], params["source"], target, params["quantization"].lower())
    run_command = functools.partial(module.run_command, handle_exceptions=False)
    container = ConversionContainer(conversion, run_command, params["docker"])
    result: dict[str, Any] = {"changed": False}
    if params["state"] == "started":
        result = _started(module, container)
    else:
        check_names(conversion)
        if params["state"] == "absent":
            result = {"changed": container.exists()}
            if result["changed"] and not module.check_mode:
                container.remove()
        elif not module.check_mode:
            container.wait()
    return {**result, "container": conversion.container, "target": conversion.target, "result": conversion.result}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/var/lib/mistral/models"},
            "source": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "quantization": {"type": "str", "required": True},
            "engine": {"type": "str", "default": "mistral-engine"},
            "docker": {"type": "str", "default": "docker"},
            "state": {"type": "str", "choices": ["started", "finished", "absent"], "default": "started"},
        },
        supports_check_mode=True,
    )
    run_module(module, run, lambda path, reason: StackError(NOT_ACCESSIBLE, path=path, problem=reason))


if __name__ == "__main__":
    main()
