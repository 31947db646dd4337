#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: image_build
short_description: Build an engine image as a job that continues without the controller
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Builds an image from a Dockerfile with BuildKit, unless one with the same inputs already exists.
  - The build is a unit of the host's systemd. It continues when the connection or the controller is lost, and the next
    run attaches to it. A build that was killed is started again and reuses what BuildKit and cargo have kept.
  - Before the build begins, Docker, the git repository with its tag, the addresses in O(reach) and the base images are
    checked; problems with them are reported before anything is changed.
  - The bases are resolved to digests once; these are kept in C(images/bases.json) below O(path).
  - If buildx has C(docker build --check), it then checks the Dockerfile; its warnings are shown.
  - After the build, the image is started without privileges, network or a writable root, its libraries are checked, its
    engine must answer with O(proof_model) if one is given, and a bill of materials (CycloneDX) is written to C(images/)
    below O(path). Only then does the image get its name.
  - The whole log is kept in C(builds/) below O(path), with those of the previous four attempts.
  - While it runs, the phase, the crates compiled and the time are shown on the controller, unless the environment
    variable E(MISTRALRS_STACK_PROGRESS) is C(never). Ctrl-C on the controller ends the build.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  reference:
    description: The name and tag that the image gets.
    type: str
    required: true
  inputs:
    description:
      - The hash of everything that the image is made of, in at least 16 hexadecimal digits.
      - It becomes the label C(io.mistralrs.stack.inputs).
    type: str
    required: true
  context:
    description:
      - The files of the build's context, a dictionary of names and texts, among them C(Dockerfile). Scripts become
        executable.
    type: dict
    default: {}
  labels:
    description: Labels of the image.
    type: dict
    default: {}
  bases:
    description: The base images. Each becomes a build argument with the name of its key, and the digest as its value.
    type: dict
    default: {}
  arguments:
    description: Further build arguments.
    type: dict
    default: {}
  secrets:
    description: Secrets of the build, a dictionary of ids and texts. They are kept in memory (C(/run)) while it runs.
    type: dict
    default: {}
  environment:
    description:
      - The proxies of the build (V(HTTP_PROXY), V(HTTPS_PROXY), V(NO_PROXY)). They do not stay in any layer.
    type: dict
    default: {}
  git:
    description:
      - The repository to check before the build, with C(url), C(tag) and C(commit).
      - A user and password come from the secret C(git-credentials).
    type: dict
    default: {}
  reach:
    description: Addresses that must answer before the build, a dictionary of descriptions and addresses.
    type: dict
    default: {}
  authorities:
    description: Certificates of authorities to trust besides the host's own, as PEM text.
    type: str
    default: ""
  platform:
    description: The platform of the image, V(linux/amd64) for example. Empty means the host's own.
    type: str
    default: ""
  jobs:
    description:
      - How many compilers run at once, as the build arguments C(JOBS) and C(THREADS).
      - V(0) means one for each core, but not more than fit into the memory (5 GiB for each, or 2 GiB if the image is
        not for CUDA).
    type: int
    default: 0
  program:
    description: The program in the image, whose libraries are checked.
    type: str
    default: mistralrs
  version:
    description: The version that the program must report; empty if any will do.
    type: str
    default: ""
  gpu:
    description: Whether the smoke test starts the image with the host's GPUs.
    type: bool
    default: false
  gpu_access:
    description: How a container gets the GPUs.
    type: str
    default: cdi
    choices:
      cdi: With C(--device nvidia.com/gpu=all).
      runtime: With C(--runtime nvidia), the legacy runtime, where Docker is too old for CDI.
  proof_model:
    description:
      - The path on the host of a GGUF file. Before the image gets its name, its engine must load this file and answer.
      - A C(tokenizer.json) beside it is used. If empty, this test is skipped.
    type: str
    default: ""
  notice:
    description: A text that is shown on the controller when a build begins, but not if the image already exists.
    type: str
    default: ""
  scan_fail_on:
    description:
      - The lowest severity of vulnerabilities for which the image is refused. If empty, none is refused.
      - The image is scanned if C(trivy) or C(grype) is installed on the host.
    type: str
    choices: ["", low, medium, high, critical]
    default: ""
  keep:
    description:
      - How many images of C(mistralrs-stack/engine) to keep, including this one. V(0) keeps all.
      - Images that a container or a generation uses are never removed.
    type: int
    default: 0
  minimum_free_mb:
    description: The free space in MiB that the file system of Docker's directory must have before a build begins.
    type: int
    default: 0
  path:
    description: The directory for logs, records and bills of materials.
    type: path
    default: /var/lib/mistral
  host:
    description: The host's name for messages.
    type: str
    default: the host
  job:
    description: How to deal with the build. Used by this module's action.
    type: str
    default: wait
    choices:
      wait: Wait until it has ended.
      start: Start it, or attach to the running one, and return at once.
      poll: Report its state.
      cancel: Stop it.
"""

EXAMPLES = r"""
- name: Build an image
  mistralrs.stack.image_build:
    reference: mistralrs-stack/engine:mine-1
    inputs: "{{ my_dockerfile | ansible.builtin.hash('sha256') }}"
    context:
      Dockerfile: "{{ my_dockerfile }}"
    bases:
      DEVEL_IMAGE: nvidia/cuda:12.8.1-devel-ubuntu22.04
"""

RETURN = r"""
image:
  description: The output of C(docker image inspect) for the image; empty in check mode if it would be built.
  returned: success, unless a build is still running
  type: dict
pruned:
  description: The old images that were removed, or would be in check mode.
  returned: success
  type: list
  elements: str
proof:
  description: The results of the smoke test; with O(proof_model) also C(completion).
  returned: when it was built
  type: dict
job:
  description: The C(state) and the C(progress) of the build.
  returned: O(job=start) and O(job=poll)
  type: dict
log:
  description: The build's log on the host.
  returned: always
  type: str
  sample: /var/lib/mistral/builds/0123456789abcdef/log
log_tail:
  description: The last lines of the build's log.
  returned: when the build failed
  type: list
  elements: str
error_id:
  description: Identifies what went wrong.
  returned: failure
  type: str
  sample: image.build_out_of_memory
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._image import preflight, prune
from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_options import BuildOptions
from ansible_collections.mistralrs.stack.plugins.module_utils._image.builder import CANCELLED, Builder
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module

INPUTS_INVALID = Fault(
    "image.inputs_invalid",
    "The option 'inputs' of the module 'image_build' is {inputs!r}, which is not a hash.",
    "Give 16 hexadecimal digits or more.",
)
_POLL_SECONDS = 2


def _texts(values: dict[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()}


def builder_of(module: AnsibleModule) -> Builder:
    """The build that the module's options describe."""
    params = module.params
    if len(params["inputs"]) < 16 or set(params["inputs"]) - set("0123456789abcdef"):
        raise StackError(INPUTS_INVALID, inputs=params["inputs"])
    dicts = ("context", "labels", "bases", "arguments", "secrets", "environment", "git", "reach")
    values: dict[str, Any] = {
        name: _texts(params[name]) if name in dicts else params[name] for name in BuildOptions._fields
    }
    return Builder(BuildOptions(**values), module.run_command, module.warn)


def _begin(module: AnsibleModule, builder: Builder) -> None:
    """Have an attempt that runs or has succeeded."""
    bases = None
    state = builder.job.state().name
    if state not in ("running", "succeeded"):
        bases = preflight.check(builder.options, builder.run, builder.warn)
    with builder.job.lock():
        state = builder.job.state().name
        if state == "running" or (state == "succeeded" and builder.is_built()):
            return
        if state == "interrupted":
            module.warn(
                f"The build of {builder.options.reference} was killed from outside; it starts again and reuses "
                "what was kept."
            )
        if bases is None:
            bases = preflight.check(builder.options, builder.run, builder.warn)
        builder.start(bases)


def _done(
    module: AnsibleModule,
    builder: Builder,
    image: dict[str, Any],
    changed: bool,
    proof: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The result when the image is there (in check mode: would be there)."""
    pruned = (prune.prunable if module.check_mode else prune.prune)(builder.options, builder.run)
    before = "" if changed else builder.options.reference + "\n"
    return {
        "changed": changed or bool(pruned),
        "image": image,
        "pruned": pruned,
        "log": builder.options.log,
        **({"proof": proof} if proof is not None else {}),
        "diff": {
            "before": before + "".join(f"{name}\n" for name in pruned),
            "after": builder.options.reference + "\n",
            "before_header": "images",
            "after_header": "images",
        },
    }


def look(module: AnsibleModule, builder: Builder) -> dict[str, Any] | None:
    """The result if the build has ended; None while it runs. A failure of the build is raised."""
    state = builder.job.state()
    if state.name == "running":
        return None
    with builder.job.lock():
        state = builder.job.state()
        image = builder.present()
        if image:
            # Somebody else who waited for it has finished it.
            return _done(module, builder, image, changed=True)
        if state.name == "none":
            raise StackError(CANCELLED, reference=builder.options.reference)
        if state.name != "succeeded":
            raise builder.failure(state)
        proof = builder.finish(state.seconds)["proof"]
    return _done(module, builder, builder.present(), changed=True, proof=proof)


def _job(module: AnsibleModule, builder: Builder) -> dict[str, Any]:
    """Do what the option C(job) says; the module's result."""
    job = module.params["job"]
    if job == "cancel":
        return {"changed": builder.cancel(), "log": builder.options.log, "pruned": []}
    if job != "poll":
        image = builder.present()
        if image or module.check_mode:
            return _done(module, builder, image, changed=not image)
        _begin(module, builder)
    while True:
        result = look(module, builder)
        if result is not None:
            return result
        if job != "wait":
            status = {"state": "running", "progress": builder.progress()}
            return {"changed": False, "job": status, "log": builder.options.log, "pruned": []}
        time.sleep(_POLL_SECONDS)


def run(module: AnsibleModule) -> dict[str, Any]:
    """The module's result; a failure comes with the build's log."""
    builder = builder_of(module)
    try:
        return _job(module, builder)
    except (StackError, OSError) as error:
        failure = error if isinstance(error, StackError) else builder.unwritable(error.strerror or str(error))
        failure.details = {"log": builder.options.log, "log_tail": builder.tail()}
        raise failure from None


def main() -> None:
    empty: dict[str, Any] = {"type": "dict", "default": {}}
    module = AnsibleModule(
        argument_spec={
            "reference": {"type": "str", "required": True},
            "inputs": {"type": "str", "required": True},
            "context": empty,
            "labels": empty,
            "bases": empty,
            "arguments": empty,
            "secrets": {**empty, "no_log": True},
            "environment": {**empty, "no_log": True},
            "git": {**empty, "no_log": False},
            "reach": empty,
            "authorities": {"type": "str", "default": ""},
            "platform": {"type": "str", "default": ""},
            "jobs": {"type": "int", "default": 0},
            "program": {"type": "str", "default": "mistralrs"},
            "version": {"type": "str", "default": ""},
            "gpu": {"type": "bool", "default": False},
            "gpu_access": {"type": "str", "choices": ["cdi", "runtime"], "default": "cdi"},
            "proof_model": {"type": "str", "default": ""},
            "notice": {"type": "str", "default": ""},
            "scan_fail_on": {"type": "str", "choices": ["", "low", "medium", "high", "critical"], "default": ""},
            "keep": {"type": "int", "default": 0},
            "minimum_free_mb": {"type": "int", "default": 0},
            "path": {"type": "path", "default": "/var/lib/mistral"},
            "host": {"type": "str", "default": "the host"},
            "job": {"type": "str", "choices": ["wait", "start", "poll", "cancel"], "default": "wait"},
        },
        supports_check_mode=True,
    )
    run_module(module, run)


if __name__ == "__main__":
    main()
