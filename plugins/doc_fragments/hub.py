# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """How hubs and registries are reached, and what a model has to fit."""

    DOCUMENTATION = r"""
options:
  endpoint:
    description:
      - The Hugging Face hub or a mirror of it.
    type: str
    default: https://huggingface.co
  token:
    description:
      - The token for gated and private repositories of the hub. It is sent to O(endpoint) only.
      - If it is empty, the one in O(token_file) is used, or else E(HF_TOKEN) of the host's environment.
    type: str
    default: ""
  token_file:
    description:
      - A file on the host that holds the token.
    type: path
    default: ""
  ollama_models:
    description:
      - The directories of local Ollama stores. Models that they hold are taken over without a download.
    type: list
    elements: path
    default: [/usr/share/ollama/.ollama/models, /var/lib/ollama/.ollama/models, /root/.ollama/models]
  mirror_url:
    description:
      - The address of the fleet's mirror for sources V(mirror://...), such as V(https://mirror.example.org/models).
      - Any file server will do that serves the directory of a store of this collection, including C(.store/*.json).
    type: str
    default: ""
  ca_path:
    description:
      - A file on the host with the certificate authorities to trust, in PEM format.
      - If empty, the authorities that the host trusts.
    type: path
    default: ""
  ca_certificates:
    description:
      - The text of further certificates to trust, in PEM format.
    type: str
    default: ""
  timeout:
    description:
      - The seconds after which a connection is given up if the server sends nothing.
    type: int
    default: 60
  retries:
    description:
      - How many times in a row a download is retried without receiving a single new byte.
    type: int
    default: 5
  use_proxy:
    description:
      - Whether the proxies of the host's environment are used.
    type: bool
    default: true
"""

    FIT = r"""
options:
  fit:
    description:
      - The memory and the engine version that the models must fit. A model that does not is refused before it is
        downloaded.
    type: dict
    suboptions:
      gpu_memory:
        description: The memory of each GPU, in MiB.
        type: list
        elements: int
        default: []
      context_length:
        description:
          - The tokens of context to reserve memory for; V(0) means the context length that the model was made for, but
            at most 4096.
        type: int
        default: 0
      batch_size:
        description: The number of concurrent sequences to reserve memory for.
        type: int
        default: 1
      engine_version:
        description: The mistral.rs version that must load them, such as V(0.9.5) or V(0.9.2+7); not checked if empty.
        type: str
        default: ""
"""
