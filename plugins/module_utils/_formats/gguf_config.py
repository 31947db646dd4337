# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the C(config.json) and C(tokenizer_config.json) that the engine wants beside some GGUFs, from their headers.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

C(config.json): what C(build_mistral) in C(mistralrs-core/src/gguf/normal_config.rs) of v0.9.2 makes of a header that
says its window; only the window is added. The engine reads it by C(Config) in C(mistralrs-core/src/models/mistral.rs).

C(tokenizer_config.json): what C(ChatTemplate) in C(mistralrs-core/src/pipeline/chat_template.rs) of v0.6.0 to v0.9.0
reads. These versions take a tokenizer only out of a directory, and with it the chat template and the special tokens:
v0.6.0 panics if the file is missing. v0.9.1 and later take at most the special tokens from it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_header import (
    Data,
    Header,
    read_numbers,
    read_text,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_summary import needs_config
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_tokenizer import Vocabulary

CONFIG_UNUSABLE = Fault(
    "model.config_unusable",
    "The header of {name} can't be used: {why}.",
    "Get another conversion of this model.",
)

# Mistral 7B v0.1 and what was made of it are the only ones with a window, and the only ones with this base of their
# rotary embedding (https://huggingface.co/mistralai/Mistral-7B-v0.1, config.json: rope_theta 10000.0, sliding_window
# 4096). v0.2, v0.3, Nemo and Small have 1000000.0 or more and null. Names do not tell: most fine-tunes of v0.1 have
# versions of their own.
_FIRST_THETA = 10000.0
_FIRST_WINDOW = 4096
_MAX_LAYERS = 4_096
_ROPE = "rope.scaling"


def _shown(value: Any) -> str:
    return "no number" if value is None else repr(value)[:60]


class _Reader:
    """The header's values of one architecture."""

    def __init__(self, header: Header, data: Data, name: str) -> None:
        self._header, self._data, self._name = header, data, name
        self._prefix = f"{header.values.get('general.architecture')}."

    def fail(self, why: str) -> StackError:
        return StackError(CONFIG_UNUSABLE, name=self._name, why=why)

    def value(self, key: str) -> Any:
        return self._header.values.get(self._prefix + key)

    def whole(self, key: str, default: int | None = None) -> int:
        """A number, or the one number that all layers have."""
        found = self.value(key)
        per_layer = self._header.arrays.get(self._prefix + key)
        if per_layer is not None:
            numbers = set(read_numbers(self._data, per_layer, _MAX_LAYERS)) - {0}
            found = numbers.pop() if len(numbers) == 1 else None
        if found is None and default is not None and per_layer is None:
            return default
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise self.fail(f"{self._prefix}{key} is {_shown(found)}")
        return found

    def real(self, key: str, default: float | None = None) -> float:
        found = self.value(key)
        if found is None and default is not None:
            return default
        if not isinstance(found, float) or not math.isfinite(found):
            raise self.fail(f"{self._prefix}{key} is {_shown(found)}")
        # F32 of the file: 1e-05 is not to become 9.999999747378752e-06.
        return float(f"{found:.7g}")


def _rope_parameters(read: _Reader, theta: float) -> dict[str, Any] | None:
    kind = read.value(f"{_ROPE}.type")
    if kind in (None, "none"):
        return None
    if kind != "yarn":
        raise read.fail(f"the engine has no rope scaling of the type {kind!r} for Mistral's models")
    return {
        "rope_theta": theta,
        "rope_type": "yarn",
        "factor": read.real(f"{_ROPE}.factor"),
        "beta_fast": read.real(f"{_ROPE}.yarn_beta_fast"),
        "beta_slow": read.real(f"{_ROPE}.yarn_beta_slow"),
        "mscale": 1.0,
        "mscale_all_dim": read.real(f"{_ROPE}.yarn_log_multiplier"),
        "original_max_position_embeddings": read.whole(f"{_ROPE}.original_context_length"),
        "llama_4_scaling_beta": read.real("attention.temperature_scale", 0.0) or None,
    }


def config(headers: Sequence[Header], data: Data, name: str) -> dict[str, Any] | None:
    """The C(config.json) for a GGUF by the headers of its files; None if it needs none. C(data) is the first one's."""
    header = headers[0]
    if not needs_config(header):
        return None
    read = _Reader(header, data, name)
    hidden, heads = read.whole("embedding_length"), read.whole("attention.head_count")
    if read.value("attention.key_length") is None and (not heads or hidden % heads):
        raise read.fail(f"{heads} attention heads can't share {hidden} values")
    theta = read.real("rope.freq_base", _FIRST_THETA)
    vocabulary = header.arrays.get("tokenizer.ggml.tokens")
    names = frozenset().union(*(each.tensors.names for each in headers))
    return {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": read.whole("feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": read.whole("attention.head_count_kv", heads),
        "num_hidden_layers": read.whole("block_count"),
        "vocab_size": read.whole("vocab_size", vocabulary.length if vocabulary else None),
        "head_dim": read.whole("attention.key_length", hidden // max(heads, 1)),
        "max_position_embeddings": read.whole("context_length"),
        "rms_norm_eps": read.real("attention.layer_norm_rms_epsilon"),
        "rope_theta": theta,
        "rope_parameters": _rope_parameters(read, theta),
        "sliding_window": _FIRST_WINDOW if theta == _FIRST_THETA else None,
        "tie_word_embeddings": "output.weight" not in names,
    }


def _without_second_start(template: str, start: str) -> str:
    """The template without the start of text at its beginning, which the tokenizer puts there, too.

    Engines up to 0.8.23 tokenize what a template makes like any text, so that models see the start twice; 0.9.0 looks
    first whether it is there (C(process) in C(mistralrs-core/src/pipeline/processing.rs) of v0.8.0 and v0.9.0). The
    engine trims the line end behind a block, and white space in front of one, from which the empty expression keeps it.
    """
    if "bos_token" not in template and start not in template:
        return template
    # The one line end that it takes off the end of a template.
    body = template[:-1] if template.endswith("\n") else template
    return (
        f"{{% set __text %}}\n{body}{{{{ '' }}}}{{% endset %}}"
        f"{{{{ __text[{len(start)}:] if __text[:{len(start)}] == bos_token else __text }}}}"
    )


def tokenizer_config(header: Header, data: Data, vocabulary: Vocabulary) -> dict[str, Any]:
    """The C(tokenizer_config.json) for a GGUF whose C(tokenizer.json) is made, too."""
    found: dict[str, Any] = {"add_bos_token": vocabulary.add_bos, "add_eos_token": vocabulary.add_eos}
    padding = header.values.get("tokenizer.ggml.padding_token_id")
    numbers = {
        "bos_token": vocabulary.bos,
        "eos_token": vocabulary.eos,
        "unk_token": vocabulary.unknown,
        "pad_token": padding if isinstance(padding, int) and 0 <= padding < len(vocabulary.pieces) else None,
    }
    found.update({key: vocabulary.pieces[number] for key, number in numbers.items() if number is not None})
    template = read_text(header, data, "tokenizer.chat_template")
    if template and vocabulary.add_bos and vocabulary.bos is not None:
        template = _without_second_start(template, vocabulary.pieces[vocabulary.bos])
    return {**found, "chat_template": template} if template else found


def as_text(content: dict[str, Any]) -> str:
    """What is written into the file."""
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
