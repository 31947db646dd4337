"""The real wheel refuses a GGUF that calls itself Mistral, and takes it with the config.json that the store makes."""

from __future__ import annotations

import importlib.util
import json
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_config, gguf_header

ROOT = Path(__file__).resolve().parents[3]
RECORDED = ROOT / "tests" / "recordings" / "mistralrs-0.9.2+7" / "starts" / "named-mistral.json"
HIDDEN, HEADS, KEY_VALUE_HEADS, FORWARD, LAYERS = 64, 4, 2, 96, 2
ASK = """
import sys
from mistralrs import CompletionRequest, Runner, Which

runner = Runner(which=Which.GGUF(quantized_model_id=sys.argv[1], quantized_filename="m.gguf"), paged_attn=False)
answer = runner.send_completion_request(
    CompletionRequest(model="default", prompt="hello hello", max_tokens=4, temperature=0.0)
)
print("ANSWER", answer.usage.prompt_tokens, answer.usage.completion_tokens)
"""


def writer() -> Any:
    """The small writer of GGUF files of the unit tests."""
    spec = importlib.util.spec_from_file_location("gguf_writer", ROOT / "tests" / "fakes" / "gguf_writer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(head_dim: int, **names: str) -> bytes:
    """A model of random weights (F32) with the tensors of the architecture llama."""
    gguf = writer()
    pieces = gguf.PIECES
    metadata = {
        "general.architecture": "llama",
        **{f"general.{key}": value for key, value in names.items()},
        "llama.block_count": LAYERS,
        "llama.context_length": 256,
        "llama.embedding_length": HIDDEN,
        "llama.feed_forward_length": FORWARD,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KEY_VALUE_HEADS,
        "llama.attention.key_length": head_dim,
        "llama.attention.value_length": head_dim,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": head_dim,
        "llama.rope.freq_base": 1000000.0,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [piece for piece, _score, _kind in pieces],
        "tokenizer.ggml.scores": [score for _piece, score, _kind in pieces],
        "tokenizer.ggml.token_type": [kind for _piece, _score, kind in pieces],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    query, key_value = HEADS * head_dim, KEY_VALUE_HEADS * head_dim
    shapes = {"token_embd": [HIDDEN, len(pieces)], "output_norm": [HIDDEN], "output": [HIDDEN, len(pieces)]}
    for layer in range(LAYERS):
        block = {
            "attn_norm": [HIDDEN],
            "ffn_norm": [HIDDEN],
            "attn_q": [HIDDEN, query],
            "attn_k": [HIDDEN, key_value],
            "attn_v": [HIDDEN, key_value],
            "attn_output": [query, HIDDEN],
            "ffn_gate": [HIDDEN, FORWARD],
            "ffn_up": [HIDDEN, FORWARD],
            "ffn_down": [FORWARD, HIDDEN],
        }
        shapes.update({f"blk.{layer}.{name}": shape for name, shape in block.items()})
    dice = random.Random(7)
    tensors, data = {}, b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        numbers = [1.0] * count if len(shape) == 1 else [dice.uniform(-0.1, 0.1) for _index in range(count)]
        tensors[f"{name}.weight"] = (shape, 0, 4 * count)
        data += struct.pack(f"<{count}f", *numbers)
    built: bytes = gguf.build(metadata, tensors, data=data)
    return built


def start(folder: Path) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-c", ASK, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "PATH": "/usr/bin:/bin", "HOME": str(folder)},
    )
    return ended.returncode, ended.stdout + ended.stderr


# The second one has wider heads than its width says, as Mistral Nemo has: the loader of Llama models can't read it.
@pytest.mark.parametrize(
    ("head_dim", "names"),
    [(16, {"name": "Mistral 7B Instruct v0.3"}), (24, {"basename": "Mistral-Nemo", "name": "Something"})],
    ids=["7b", "nemo"],
)
def test_what_is_named_mistral_needs_the_made_file(tmp_path: Path, head_dim: int, names: dict[str, str]) -> None:
    content = build(head_dim, **names)
    (tmp_path / "m.gguf").write_bytes(content)
    code, said = start(tmp_path)
    recorded = json.loads(RECORDED.read_text())["log"][-1].removeprefix("Error: ")
    assert code != 0
    assert recorded in said
    header = gguf_header.parse_header(content, len(content), "m")
    made = gguf_config.config([header], content, "m")
    assert made is not None
    (tmp_path / "config.json").write_text(gguf_config.as_text(made))
    code, said = start(tmp_path)
    assert code == 0, said
    assert "ANSWER" in said


def test_another_name_needs_none(tmp_path: Path) -> None:
    content = build(16, name="Ministral 8B", basename="Ministral")
    (tmp_path / "m.gguf").write_bytes(content)
    assert gguf_config.config([gguf_header.parse_header(content, len(content), "m")], content, "m") is None
    code, said = start(tmp_path)
    assert code == 0, said
    assert "ANSWER" in said
