#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: model
short_description: Fetch, verify and remove GGUF models in a model store
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Fetches a GGUF model into a flat directory, the store. The role P(mistralrs.stack.mistral_models#role) uses it.
  - A file under its final name is always complete and verified. It is fetched to C(.store/incoming/), hashed while it
    arrives, checked (size, sha256, structure of the GGUF file), synced to the disk and renamed.
    When anything goes wrong, the old file stays as it was.
  - A run that changes nothing does not read the model. What was verified is remembered in C(.store/) with the file's
    size, modification time and inode.
  - Two runs at the same time never write the same model. The second one waits and then reports the result of the first.
  - mistral.rs tokenizes models wrongly whose GGUF has a SentencePiece vocabulary (Llama 2, Mistral 7B, Gemma).
    For these a C(tokenizer.json) is made from the GGUF and put beside it.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
    details:
      - A server is asked for size and type only. A V(file://) source that would be fetched is read and checked.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description:
      - The store, an absolute path.
      - It is made if it is not there.
    type: path
    default: /var/lib/mistral/models
  name:
    description:
      - The model's name, such as V(qwen2.5-coder:32b).
      - A name that ends in V(.gguf) is the name of the file in the store.
    type: str
    required: true
  quantization:
    description:
      - The quantization's label, such as V(q5_k_m). It becomes a part of the file's name.
    type: str
    default: ""
  source:
    description:
      - Where the model comes from, V(file:///path/on/the/host/model.gguf) or V(https://host/path/model.gguf).
      - Plain V(http://) is accepted from the host itself, or together with O(sha256).
      - Required with O(state=present).
      - Without O(sha256), a different address, and a source file that was replaced, make the model be fetched again.
    type: str
    default: ""
  revision:
    description:
      - The revision of the source. None of the sources of this release has revisions, so that it is refused.
    type: str
    default: ""
  sha256:
    description:
      - The content's SHA-256, 64 hexadecimal digits.
      - A stored file with another one is fetched again.
    type: str
    default: ""
  chat_template:
    description:
      - The text of a chat template, in Jinja, which is put beside the model and used instead of the one that
        the model contains.
    type: str
    default: ""
  state:
    description:
      - V(present) has the model in the store.
      - V(verified) reads the stored file again and fails if it is not what it was, or not what O(sha256) says.
        It fetches nothing.
      - V(absent) removes the model and everything that was made for it.
    type: str
    choices:
      - present
      - verified
      - absent
    default: present
  ca_path:
    description:
      - A file on the host with the certificate authorities to trust, in PEM format.
      - The default is what the host trusts.
    type: path
    default: ""
  ca_certificates:
    description:
      - The text of further certificates to trust, in PEM format.
    type: str
    default: ""
  timeout:
    description:
      - How many seconds a server may send nothing before the fetch fails.
    type: int
    default: 60
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
  returned: success
  contains:
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
      description: All names by which clients may ask for the model.
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
      description: The content's SHA-256. In check mode, before the model was fetched, what O(sha256) says.
      type: str
    size:
      description: The file's size in bytes.
      type: int
    tokenizer:
      description: The path of the C(tokenizer.json) that was made for the model; empty if it needs none.
      type: str
    chat_template:
      description: The path of the installed chat template; empty if there is none.
      type: str
    embedded_chat_template:
      description: Whether the GGUF itself contains a chat template.
      type: bool
    gguf:
      description:
        - What the model's header says.
        - Empty in check mode, before the model was downloaded.
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
        shards:
          description: The number of files that the model is split into.
          type: int
    verified_by:
      description:
        - How it is known that the file is right.
        - V(hash), it was read in this run. V(sidecar), it was read in an earlier run and has not been touched since.
          V(none), it has not been fetched yet (check mode).
      type: str
    source:
      description: The source without secrets.
      type: str
    changed:
      description: Whether this run changed anything, or in check mode would.
      type: bool
error_id:
  description: The id of the error, see C(docs/errors.md).
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils import _fetch, _model_store
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model_names import store_file_name


def run(module: AnsibleModule) -> _model_store.Outcome:
    params = module.params
    given = params["source"]
    # The arguments are returned: without what may be secret in them.
    params["source"] = _fetch.redact(given)
    if params["source"] == given:
        module.no_log_values.discard(given)
    name = params["name"]
    wanted = _model_store.Wanted(
        store=params["path"],
        name=name,
        quantization=params["quantization"],
        file=store_file_name(name, params["quantization"]),
        sha256=_fetch.parse_sha256(name, params["sha256"]),
        chat_template=params["chat_template"],
    )
    _model_store.check_store(wanted)
    if params["state"] == "absent":
        return _model_store.absent(wanted, module.check_mode)
    if params["state"] == "verified":
        return _model_store.verified(wanted)
    source = _fetch.parse_source(name, given, params["revision"], wanted.sha256)
    settings = _fetch.Settings(params["ca_path"], params["ca_certificates"], params["timeout"])
    return _model_store.present(wanted, source, settings, module.check_mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/var/lib/mistral/models"},
            "name": {"type": "str", "required": True},
            "quantization": {"type": "str", "default": ""},
            "source": {"type": "str", "default": "", "no_log": True},
            "revision": {"type": "str", "default": ""},
            "sha256": {"type": "str", "default": ""},
            "chat_template": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["present", "verified", "absent"], "default": "present"},
            "ca_path": {"type": "path", "default": ""},
            "ca_certificates": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        outcome = run(module)
    except StackError as error:
        module.fail_json(msg=str(error), error_id=error.id)
    header = outcome.facts["path"]
    diff = {"before": outcome.before, "after": outcome.after, "before_header": header, "after_header": header}
    module.exit_json(changed=outcome.changed, diff=diff, model={**outcome.facts, "changed": outcome.changed})


if __name__ == "__main__":
    main()
