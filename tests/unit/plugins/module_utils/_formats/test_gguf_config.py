# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of headers for the engine.

The numbers are those of the publishers' C(config.json) (https://huggingface.co/mistralai/: Mistral-7B-v0.1,
Mistral-7B-Instruct-v0.3, Mistral-Nemo-Instruct-2407, Mistral-Small-24B-Instruct-2501), the names of the keys those of
mistral.rs v0.9.2, C(build_mistral) in C(mistralrs-core/src/gguf/normal_config.rs). That the engine takes the result is
tested in C(tests/component/evaluation_server/test_mistral_config.py).
"""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_config, gguf_header, gguf_tokenizer

SEVEN = {
    "general.architecture": "llama",
    "general.name": "Mistral 7B Instruct v0.3",
    "llama.block_count": 32,
    "llama.context_length": 32768,
    "llama.embedding_length": 4096,
    "llama.feed_forward_length": 14336,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 1000000.0,
    "llama.vocab_size": 32768,
}
OUTPUT = {"token_embd.weight": ([4, 2], 0, 32), "output.weight": ([4, 2], 0, 32)}


def made(gguf: Any, tensors: Any = None, **changes: Any) -> dict[str, Any] | None:
    metadata = {**SEVEN, **{key.replace("__", "."): value for key, value in changes.items()}}
    metadata = {key: value for key, value in metadata.items() if value is not None}
    content = gguf.build(metadata, OUTPUT if tensors is None else tensors)
    return gguf_config.config([gguf_header.parse_header(content, len(content), "m")], content, "Model m")


def test_seven_b_v0_3(gguf: Any) -> None:
    assert made(gguf) == {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "hidden_act": "silu",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 32,
        "vocab_size": 32768,
        "head_dim": 128,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-05,
        "rope_theta": 1000000.0,
        "rope_parameters": None,
        "sliding_window": None,
        "tie_word_embeddings": False,
    }


def test_nemo_has_wider_heads(gguf: Any) -> None:
    config = made(
        gguf,
        general__name="Something",
        general__basename="Mistral-Nemo",
        llama__embedding_length=5120,
        llama__block_count=40,
        llama__vocab_size=131072,
        llama__context_length=1024000,
        **{"llama.attention.key_length": 128, "llama.attention.value_length": 128},
    )
    assert config is not None
    assert (config["head_dim"], config["vocab_size"], config["sliding_window"]) == (128, 131072, None)


def test_small_has_another_base(gguf: Any) -> None:
    config = made(gguf, general__name="Mistral Small 24B Instruct 2501", **{"llama.rope.freq_base": 100000000.0})
    assert config is not None
    assert (config["rope_theta"], config["sliding_window"]) == (100000000.0, None)


@pytest.mark.parametrize("base", [10000.0, None])
def test_only_v0_1_has_a_window(gguf: Any, base: float | None) -> None:
    config = made(gguf, general__name="mistralai_mistral-7b-v0.1", **{"llama.rope.freq_base": base})
    # "mistralai" is another word; a fine-tune of it that keeps the name has the window, whatever its version is.
    assert config is None
    config = made(gguf, general__name="Mistral-7B-OpenOrca v2", **{"llama.rope.freq_base": base})
    assert config is not None
    assert (config["rope_theta"], config["sliding_window"]) == (10000.0, 4096)


# mistralrs-core/src/gguf/normal_registry.rs@v0.9.2, llama_inventory_resolution_is_deterministic
@pytest.mark.parametrize(
    ("name", "basename", "needs"),
    [
        ("Mistral 7B Instruct v0.3", None, True),
        ("Mistral Small 24B Instruct 2501", None, True),
        (None, "Mistral-Nemo", True),
        ("Llama 3.1 8B Instruct", None, False),
        ("SmolLM2 1.7B Instruct", None, False),
        ("Mixtral 8x7B Instruct v0.1", None, False),
        ("Ministral 8B Instruct 2410", None, False),
        ("OpenHermes 2.5 Mistral 7B", "OpenHermes", False),
        ("Mistral 7B Instruct", "OpenHermes", False),
        # Of our own: case, signs before the word, a word that only begins so, a name that is there and empty.
        ("MISTRAL_7b", None, True),
        ("  [mistral] 7B", None, True),
        ("Mistral7B", None, False),
        ("Mistral", "", False),
        (None, None, False),
    ],
)
def test_whose_name_counts(gguf: Any, name: str | None, basename: str | None, needs: bool) -> None:
    assert (made(gguf, general__name=name, general__basename=basename) is not None) == needs


@pytest.mark.parametrize(
    ("changes", "tensors"),
    [
        ({"general.architecture": "mistral3"}, None),
        ({"llama.attention.sliding_window": 4096}, None),
        ({"llama.expert_count": 8}, None),
        ({}, {"blk.0.ffn_gate_exps.weight": ([4, 2], 0, 32)}),
    ],
    ids=["architecture", "window", "experts", "expert-tensors"],
)
def test_who_needs_none(gguf: Any, changes: dict[str, Any], tensors: Any) -> None:
    assert made(gguf, tensors, **changes) is None


def test_sizes_of_each_layer_and_of_the_vocabulary(gguf: Any) -> None:
    config = made(
        gguf,
        {"token_embd.weight": ([4, 2], 0, 32)},
        llama__vocab_size=None,
        **{"llama.attention.head_count_kv": [8, 8], "tokenizer.ggml.tokens": ["a", "b", "c"]},
    )
    assert config is not None
    assert (config["num_key_value_heads"], config["vocab_size"], config["tie_word_embeddings"]) == (8, 3, True)


def test_the_output_may_be_in_another_file(gguf: Any) -> None:
    contents = [gguf.build(SEVEN), gguf.build({"split.no": 1}, OUTPUT)]
    headers = [gguf_header.parse_header(content, len(content), "m") for content in contents]
    config = gguf_config.config(headers, contents[0], "Model m")
    assert config is not None
    assert config["tie_word_embeddings"] is False


def test_yarn(gguf: Any) -> None:
    scaling = {
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.factor": 4.0,
        "llama.rope.scaling.yarn_beta_fast": 32.0,
        "llama.rope.scaling.yarn_beta_slow": 1.0,
        "llama.rope.scaling.yarn_log_multiplier": 1.0,
        "llama.rope.scaling.original_context_length": 8192,
    }
    config = made(gguf, **scaling)
    assert config is not None
    assert config["rope_parameters"] == {
        "rope_theta": 1000000.0,
        "rope_type": "yarn",
        "factor": 4.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 8192,
        "llama_4_scaling_beta": None,
    }


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"llama.feed_forward_length": None}, "llama.feed_forward_length is no number"),
        ({"llama.feed_forward_length": [1, 2]}, "llama.feed_forward_length is no number"),
        ({"llama.block_count": "many"}, "llama.block_count is 'many'"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, "layer_norm_rms_epsilon is no number"),
        ({"llama.attention.head_count": 33}, "33 attention heads can't share 4096 values"),
        ({"llama.attention.head_count": 0}, "0 attention heads"),
        ({"llama.rope.scaling.type": "linear"}, "rope scaling of the type 'linear'"),
        ({"llama.vocab_size": None}, "llama.vocab_size is no number"),
        # Neither of them is JSON.
        ({"llama.rope.freq_base": float("nan")}, "llama.rope.freq_base is nan"),
        ({"llama.attention.layer_norm_rms_epsilon": float("inf")}, "layer_norm_rms_epsilon is inf"),
        ({"llama.attention.head_count_kv": [float("nan"), float("nan")]}, "head_count_kv is n"),
        ({"llama.attention.head_count_kv": [8.5, 8.5]}, "head_count_kv is 8.5"),
    ],
)
def test_what_can_not_be_told_is_refused(gguf: Any, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(StackError) as caught:
        made(gguf, **changes)
    assert caught.value.id == "model.config_unusable"
    assert why in str(caught.value)


def test_tokenizer_config(gguf: Any) -> None:
    """The keys that C(ChatTemplate) in C(mistralrs-core/src/pipeline/chat_template.rs) of v0.6.0 reads."""
    template = "{% for m in messages %}{{ m.content }}{% endfor %}" * 100
    content = gguf.sentencepiece(padding_token_id=2)
    header = gguf_header.parse_header(content, len(content), "m")
    vocabulary = gguf_tokenizer.read_vocabulary(header, content, "m")
    assert gguf_config.tokenizer_config(header, content, vocabulary) == {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "</s>",
    }
    # Longer than what a header keeps in memory.
    metadata = {"general.architecture": "llama", "tokenizer.chat_template": template, "x": "größer"}
    content = gguf.build(metadata)
    header = gguf_header.parse_header(content, len(content), "m")
    assert header.values["tokenizer.chat_template"] == ""
    assert gguf_config.tokenizer_config(header, content, vocabulary)["chat_template"] == template
    assert gguf_header.read_text(header, content, "x") == "größer"
    assert gguf_header.read_text(header, content, "y") == ""
    assert json.loads(gguf_config.as_text({"chat_template": template}))["chat_template"] == template


def test_a_token_that_is_none_is_left_out(gguf: Any) -> None:
    """An end that is not in the vocabulary makes v0.6.0 panic: "Unable to extract `…` EOS token."."""
    content = gguf.sentencepiece(eos_token_id=999_999, padding_token_id=999_999)
    header = gguf_header.parse_header(content, len(content), "m")
    found = gguf_config.tokenizer_config(header, content, gguf_tokenizer.read_vocabulary(header, content, "m"))
    assert not {"eos_token", "pad_token"} & set(found)


MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
# How the templates of Mistral v0.1, of v0.3, of Llama 2 and of others begin.
TEMPLATES = [
    "{{ bos_token }}{% for m in messages %}{{ '[INST] ' + m.content }}{% endfor %}\n",
    "{%- set ns = namespace() %}\n{%- set ns.index = 0 %}\n\n{{- bos_token }}\n{%- for m in messages %}\n"
    '    {%- if m["role"] == "user" %}\n        {{- "[INST] " + m.content }}\n    {%- endif %}\n{%- endfor %}\n',
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content }}{% endif %}{% endfor %}",
    "<s>{% for m in messages %}\n  {% if true %}\n{{ m.content }} \n  {% endif %}\n{% endfor %}\n\n",
    "  {% for m in messages %}{{ m.content }}{% endfor %}{{ bos_token }}\n",
    "\n{% for m in messages %}{{ m.content }}{% endfor %}{# bos_token #}",
]


def rendered(template: str) -> str:
    """As the engine does: mistralrs-core/src/pipeline/chat_template.rs@v0.6.0."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    text: str = environment.from_string(template).render(messages=MESSAGES, bos_token="<s>", eos_token="</s>")
    return text


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_start_of_text_is_there_once(gguf: Any, template: str) -> None:
    """The tokenizer writes it; the real 0.8.1 made one token less of each chat with it."""
    vocabulary = gguf.sentencepiece()
    read = gguf_tokenizer.read_vocabulary(gguf_header.parse_header(vocabulary, len(vocabulary), "m"), vocabulary, "m")
    content = gguf.build({"general.architecture": "llama", "tokenizer.chat_template": template})
    header = gguf_header.parse_header(content, len(content), "m")
    made = gguf_config.tokenizer_config(header, content, read)["chat_template"]
    assert rendered(made) == rendered(template).removeprefix("<s>")
    # A tokenizer that does not write it leaves it to the template.
    unmade = gguf_config.tokenizer_config(header, content, read._replace(add_bos=False))["chat_template"]
    assert unmade == template
