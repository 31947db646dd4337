#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: model
short_description: Fetch, verify and remove models in a model store
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Manages LLM models in a flat directory, the store. The role P(mistralrs.stack.mistral_models#role) uses it.
  - A model under its final name is always complete and verified. It is fetched to C(.store/incoming/), hashed while it
    arrives, checked (size, sha256, structure of the GGUF or SafeTensors files), synced to the disk and renamed.
    If anything goes wrong, the old one stays as it was.
  - An interrupted download resumes where it stopped, also in another run, if the source still has the same content.
  - A download runs as a job of its own on the host, so that it continues when the connection or the controller is lost.
    A second run with the same options attaches to it. The controller shows its progress. The same applies when much of
    the store has to be read, with O(state=verified) or because files were put there by hand.
  - A job is a transient unit of systemd, C(mistral-model-ID.service), which C(systemctl status) and the journal show.
    For users without root, and on hosts without systemd, it is a process.
  - A run that changes nothing does not read the models. What was verified is remembered in C(.store/) with the file's
    size, modification time and inode.
  - Two runs at the same time never write the same model. The second one waits and then reports the result of the first.
  - mistral.rs wrongly tokenizes models whose GGUF has a SentencePiece vocabulary (Llama 2, Mistral 7B, Gemma).
    For these, a C(tokenizer.json) is made from the GGUF and put beside it, and for versions up to 0.9.0, which read it
    only from a directory, a C(tokenizer_config.json) with the chat template and the special tokens.
  - From 0.9.1 on mistral.rs refuses GGUF files that call themselves Mistral, because they do not say whether their
    attention has a window. For these, a C(config.json) is made.
  - The next run adds such files to the store of an earlier release, without fetching or hashing the models again.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
  - mistralrs.stack.hub
  - mistralrs.stack.hub.fit
attributes:
  check_mode:
    support: full
    details:
      - A source is asked only for the list of its files, and for their headers if O(fit) is given.
        A V(file://) source that would be fetched is read and checked.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description:
      - The store, an absolute path.
      - It is created if it does not exist.
      - It is refused if anyone other than root and the user who runs the module owns it or may write to it.
    type: path
    default: /var/lib/mistral/models
  name:
    description:
      - The model's name, such as V(qwen2.5-coder:32b).
      - A name that ends in V(.gguf) is the name of the file in the store.
    type: str
    default: ""
  quantization:
    description:
      - The quantization's label, such as V(q5_k_m). It becomes a part of the file's name.
      - V(auto) chooses the best one that the source offers and that fits the GPUs of O(fit).
    type: str
    default: ""
  source:
    description:
      - Where the model comes from. Required with O(state=present).
      - V(hf://org/repository/file.gguf@revision) is a file of a Hugging Face hub, V(hf://org/repository@revision) is
        the file of the wanted O(quantization), or the whole repository if it holds SafeTensors.
      - V(ollama://library/name:tag) is a model of Ollama's registry, or of the local Ollama if that has it.
      - V(oci://registry/repository:tag) is a model artifact in a container registry.
      - V(mirror://name.gguf) is a model of the fleet's own store, which O(mirror_url) serves; without the extension, it
        is a model of several files.
      - V(https://host/path/model.gguf) and V(file:///path/on/the/host/model.gguf) are single files.
      - Plain V(http://) is accepted only from the host itself, or together with O(sha256).
      - Without O(sha256), a different source or a replaced source file triggers a new download.
    type: str
    default: ""
  revision:
    description:
      - The branch, tag or commit of a hub's repository, or the tag in a registry, if O(source) does not name it.
    type: str
    default: ""
  sha256:
    description:
      - The content's SHA-256, 64 hexadecimal digits.
      - For a model of several files, it is the SHA-256 of the output of C(sha256sum) for them, sorted by name.
      - A stored model with a different one is fetched again.
    type: str
    default: ""
  chat_template:
    description:
      - The text of a chat template, in Jinja, which is put beside the model and used instead of the one that
        the model contains.
    type: str
    default: ""
  models:
    description:
      - Several models at once. All of them are checked before the first one is fetched, and the free disk space must
        be enough for all of them together.
      - Use it instead of O(name), O(quantization), O(source), O(revision), O(sha256) and O(chat_template).
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
        required: true
      quantization:
        description: See O(quantization).
        type: str
        default: ""
      source:
        description: See O(source).
        type: str
        default: ""
      revision:
        description: See O(revision).
        type: str
        default: ""
      sha256:
        description: See O(sha256).
        type: str
        default: ""
      chat_template:
        description: See O(chat_template).
        type: str
        default: ""
  state:
    description:
      - V(present) ensures that the models are in the store.
      - V(verified) reads the stored models again, on all cores, and fails if one has changed or does not match
        O(sha256). It fetches nothing, but records what is damaged, so that the next run with V(present) replaces it.
      - V(absent) removes the models and everything that was made for them.
    type: str
    choices:
      - present
      - verified
      - absent
    default: present
  prune:
    description:
      - Whether to remove the models that the store fetched and that this task does not name, and their partial
        downloads.
      - RV(prunable) lists what it would remove. Files that the store does not know are never touched.
    type: bool
    default: false
  seal:
    description:
      - Whether to have the kernel refuse altered bytes of the models from now on (fs-verity). If the file system does
        not support that, a warning says so.
    type: bool
    default: false
  connections:
    description:
      - How many connections the download of a large file uses at the same time, if the server supports range requests.
      - More than one helps where each connection is throttled, or where the latency is high.
    type: int
    default: 1
  rate_limit:
    description:
      - The limit of a download's bandwidth, in bytes per second; V(0) means no limit.
    type: int
    default: 0
  offline:
    description:
      - Whether to forbid network access. It is an error if a model would have to be fetched from the network.
    type: bool
    default: false
  job:
    description:
      - V(wait) returns when everything is done.
      - V(start) starts the job, or looks at it if it is running, and returns at once. RV(job) reports its progress.
      - V(cancel) stops the job that was started with the same options. The partial download is kept.
      - The action plugin of the same name uses V(start) to show the progress.
    type: str
    choices:
      - wait
      - start
      - cancel
    default: wait
"""

EXAMPLES = r"""
- name: Take a model that was copied to the host
  mistralrs.stack.model:
    name: gemma-3-270m
    quantization: q4_k_m
    source: file:///srv/models/gemma-3-270m-q4_k_m.gguf
    sha256: a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818

- name: Download a model
  mistralrs.stack.model:
    name: mistral:7b-instruct-v0.2
    quantization: q4_k_m
    source: >-
      https://huggingface.co/TheBloke/Mistral-7B-Instruct-v0.2-GGUF/resolve/main/mistral-7b-instruct-v0.2.Q4_K_M.gguf
    sha256: 3e0039fd0273fcbebb49228943b17831aadd55cbcbf56f0af00499be2040ccf9

- name: Fetch two models from a hub, each in the best quantization for two GPUs of 24 GB, and remove all others
  mistralrs.stack.model:
    models:
      - name: qwen2.5-coder:32b
        quantization: auto
        source: hf://Qwen/Qwen2.5-Coder-32B-Instruct-GGUF
      - name: mistral-nemo
        quantization: auto
        source: hf://bartowski/Mistral-Nemo-Instruct-2407-GGUF
    fit:
      gpu_memory: [24576, 24576]
      context_length: 16384
    prune: true

- name: Read a stored model again and fail if it is damaged
  mistralrs.stack.model:
    name: gemma-3-270m
    quantization: q4_k_m
    state: verified
"""

RETURN = r"""
model:
  description:
    - The model in the store.
    - With O(state=absent) only C(name), C(file), C(path) and C(changed).
  type: dict
  returned: success, when O(models) is not used
  contains: &model
    name:
      description: The value of O(name).
      type: str
    quantization:
      description: The value of O(quantization).
      type: str
    id:
      description: The engine's id of the model.
      type: str
      sample: gemma-3-270m-q4_k_m
    aliases:
      description: All names that clients may use for the model.
      type: list
      elements: str
    file:
      description: The model's file name in the store.
      type: str
      sample: gemma-3-270m-q4_k_m.gguf
    path:
      description: The model's full path.
      type: str
    sha256:
      description: The content's SHA-256. In check mode, before the model is fetched, the value of O(sha256).
      type: str
    size:
      description: The file's size in bytes.
      type: int
    directory:
      description: Whether the model is a directory of several files.
      type: bool
    files:
      description: The names of the files in the directory; empty if the model is one file.
      type: list
      elements: str
    tokenizer:
      description: The path of the C(tokenizer.json) that was made for the model; empty if it needs none.
      type: str
    tokenizer_config:
      description: The path of the C(tokenizer_config.json) that was made for the model; empty if it needs none.
      type: str
    config:
      description: The path of the C(config.json) that was made for the model; empty if it needs none.
      type: str
    prompt_tokens:
      description:
        - Into how many tokens the model's own vocabulary splits the prompt of M(mistralrs.stack.server_ready).
        - V(0) if that is not known.
      type: int
    chat_template:
      description: The path of the installed chat template; empty if there is none.
      type: str
    embedded_chat_template:
      description: Whether the GGUF itself contains a chat template.
      type: bool
    gguf:
      description:
        - The summary of the model's header.
        - Empty in check mode, before the model is downloaded.
      type: dict
      contains:
        version:
          description: The version of the GGUF format.
          type: int
        architecture:
          description: The architecture, such as V(llama).
          type: str
        name:
          description: The name that the publisher gave it.
          type: str
        quantization:
          description: The quantization, such as V(Q4_K_M).
          type: str
        tensor_types:
          description: The types of the tensors, such as V(Q4_K).
          type: list
          elements: str
        parameters:
          description: The number of parameters.
          type: int
        tensors:
          description: The number of tensors.
          type: int
        context_length:
          description: The longest context that the model was made for, in tokens.
          type: int
        block_count:
          description: The number of layers.
          type: int
        embedding_length:
          description: The width of the model.
          type: int
        head_count:
          description: The number of attention heads.
          type: int
        head_count_kv:
          description: The number of key and value heads; V(0) if it differs between layers.
          type: int
        kv_bytes_per_token:
          description: The bytes of F16 keys and values for each token of context.
          type: int
        vocabulary:
          description: The number of pieces in the vocabulary.
          type: int
        tokenizer:
          description: The kind of vocabulary, such as V(llama) or V(gpt2).
          type: str
        chat_template:
          description: Whether there is a chat template in it.
          type: bool
        needs_config:
          description: Whether mistral.rs 0.9.1 and newer load it only with a C(config.json) beside it.
          type: bool
        shards:
          description: The number of files that the model is split into.
          type: int
    verified_by:
      description:
        - How the file was verified.
        - V(hash) means that it was read in this run, V(sidecar) that it was read in an earlier run and has not been
          touched since, V(none) that it has not been fetched yet (check mode).
      type: str
    sealed:
      description: The digest by which the kernel checks the model; empty if it is not sealed.
      type: str
    source:
      description: The source, without secrets.
      type: str
    revision:
      description: The commit of the hub's repository or the digest of the registry's manifest; empty if there is none.
      type: str
    changed:
      description: Whether this run changed anything, or in check mode would.
      type: bool
models:
  description: The same for each model of O(models), in their order.
  type: list
  elements: dict
  returned: success, with O(models)
  contains: *model
prunable:
  description:
    - The models in the store that this task does not name, with C(file) and C(size) in bytes. With O(prune) they are
      removed.
  type: list
  elements: dict
  returned: success, with O(state=present)
job:
  description:
    - C(id) is the job's name. C(state) is V(running), V(finished), V(cancelled) or V(none).
    - C(progress) has the model's C(name), the bytes C(done), the C(total) if it is known, the C(rate) in bytes per
      second, the seconds left (C(eta)) and what is being done (C(phase)). If another run holds the lock of the same
      model, C(waiting_for) says which process it is and since when.
  type: dict
  returned: with O(job=start) and O(job=cancel)
error_id:
  description: The id of the error, see C(docs/errors.md).
  type: str
  returned: failure
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import (
    parse_sha256,
    parse_source,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.url import redact
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs import modes
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.function_job import FunctionJob
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job_id import job_id
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.launch import launcher_for
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import check_distinct, store_file_name
from ansible_collections.mistralrs.stack.plugins.module_utils._module import program_runner
from ansible_collections.mistralrs.stack.plugins.module_utils._store import access_options
from ansible_collections.mistralrs.stack.plugins.module_utils._store.contents import absent
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import AUTO, Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import check_store
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import chosen
from ansible_collections.mistralrs.stack.plugins.module_utils._store.work import (
    PresentWork,
    Request,
    VerifyWork,
    result_of,
)

NAME_MISSING = Fault(
    "model.name_missing",
    "The module 'model' was given neither 'name' nor 'models'.",
    "Give one of them.",
)
MODEL_OPTIONS: dict[str, dict[str, Any]] = {
    "quantization": {"type": "str", "default": ""},
    "source": {"type": "str", "default": "", "no_log": True},
    "revision": {"type": "str", "default": ""},
    "sha256": {"type": "str", "default": ""},
    "chat_template": {"type": "str", "default": ""},
}


def _asked(module: AnsibleModule) -> list[dict[str, str]]:
    """The models as the user gave them. The arguments are returned: without what may be secret in them."""
    params = module.params
    single = {key: params[key] for key in ("name", *MODEL_OPTIONS)}
    given = [dict(model) for model in params["models"]] if params["models"] is not None else [single]
    if params["models"] is None and not params["name"]:
        raise StackError(NAME_MISSING)
    for place in [params, *(params["models"] or [])]:
        source = place["source"]
        place["source"] = redact(source)
        if place["source"] == source:
            module.no_log_values.discard(source)
    return given


def _wanted(module: AnsibleModule, model: dict[str, str]) -> Wanted:
    name, quantization = model["name"], model["quantization"]
    wanted = Wanted(
        store=module.params["path"],
        name=name,
        quantization=quantization.lower() if quantization.lower() == AUTO else quantization,
        file=store_file_name(name, quantization),
        sha256=parse_sha256(name, model["sha256"]),
        chat_template=model["chat_template"],
    )
    check_store(wanted)
    return wanted


def _present(module: AnsibleModule, given: list[dict[str, str]], wanted: list[Wanted]) -> dict[str, Any]:
    """Have the models in the store; the module's result."""
    sources = [
        parse_source(model["name"], model["source"], model["revision"], each.sha256)
        for model, each in zip(given, wanted)
    ]
    work = PresentWork(_request(module, wanted), sources, access_options.access(module))
    if module.check_mode:
        work.plan()
        return work.predict()
    return _as_job(module, given, "Download", work)


def _verified(module: AnsibleModule, given: list[dict[str, str]], wanted: list[Wanted]) -> dict[str, Any]:
    """Hash the models again; the module's result."""
    work = VerifyWork(_request(module, wanted))
    # A job writes into the store how far it is; one that can only be read is verified all the same.
    is_plain = module.check_mode or not os.access(module.params["path"], os.W_OK)
    return work.verify() if is_plain else _as_job(module, given, "Verification", work)


def _request(module: AnsibleModule, wanted: list[Wanted]) -> Request:
    params = module.params
    return Request(params["path"], wanted, params["prune"], params["seal"], module.check_mode)


def _as_job(
    module: AnsibleModule, given: list[dict[str, str]], noun: str, work: PresentWork | VerifyWork
) -> dict[str, Any]:
    """Do what takes long in a job; the module's result."""
    params = module.params
    # As they were given: addresses may differ in nothing but what is not shown of them.
    number = job_id({**params, "models": given})
    folder = os.path.join(params["path"], ".store", "jobs", number)
    description = f"{noun} of {', '.join(model['name'] for model in given)} in {params['path']}"
    launcher = launcher_for(f"mistral-model-{number}", description, folder, program_runner(module))
    job = FunctionJob(folder, launcher)
    status = modes.run(job, params["job"], work.work, work.quick)
    if params["job"] == "cancel" or status.state == "running":
        return {"changed": False, "job": status.as_returned()}
    if "error" in status.result:
        error = status.result["error"]
        module.fail_json(msg=str(error["msg"]), error_id=str(error["id"]), job=status.as_returned())
    result = status.result.get("ok")
    if not isinstance(result, dict):
        raise job.lost()
    return {**result, "job": status.as_returned()} if params["job"] == "start" else result


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do what the module is asked to; its result."""
    given = _asked(module)
    wanted = [_wanted(module, model) for model in given]
    check_distinct((each.name, each.file) for each in wanted)
    state = module.params["state"]
    if state == "present":
        return _present(module, given, wanted)
    wanted = [found for each in wanted for found in ((chosen(each) if each.quantization == AUTO else []) or [each])]
    if state == "verified":
        return _verified(module, given, wanted)
    return result_of(module.params["path"], [absent(each, module.check_mode) for each in wanted])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/var/lib/mistral/models"},
            "name": {"type": "str", "default": ""},
            **MODEL_OPTIONS,
            "models": {
                "type": "list",
                "elements": "dict",
                "options": {"name": {"type": "str", "required": True}, **MODEL_OPTIONS},
            },
            "state": {"type": "str", "choices": ["present", "verified", "absent"], "default": "present"},
            "prune": {"type": "bool", "default": False},
            "seal": {"type": "bool", "default": False},
            **access_options.FIT_OPTIONS,
            **access_options.ACCESS_OPTIONS,
            "connections": {"type": "int", "default": 1},
            "rate_limit": {"type": "int", "default": 0},
            "offline": {"type": "bool", "default": False},
            "job": {"type": "str", "choices": ["wait", "start", "cancel"], "default": "wait"},
        },
        supports_check_mode=True,
    )
    single = module.params["models"] is None
    try:
        result = run(module)
    except StackError as error:
        module.fail_json(msg=str(error), error_id=error.id)
    # They may come from the job, which is another process.
    for warning in result.pop("warnings", []):
        module.warn(warning)
    if single and "models" in result:
        result["model"] = result.pop("models")[0]
        result["diff"] = result["diff"][0] if len(result["diff"]) == 1 else result["diff"]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
