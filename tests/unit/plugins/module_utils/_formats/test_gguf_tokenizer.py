# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_header
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_tokenizer as subject

SCRIPTS = {
    "latin": (0xC0, 0x24F),
    "greek": (0x370, 0x3FF),
    "cyrillic": (0x400, 0x4FF),
    "hebrew": (0x5D0, 0x5EA),
    "arabic": (0x620, 0x64A),
    "devanagari": (0x900, 0x97F),
    "thai": (0xE01, 0xE5B),
    "georgian": (0x10A0, 0x10FF),
    "hangul": (0xAC00, 0xD7A3),
    "kana": (0x3040, 0x30FF),
    "han": (0x4E00, 0x9FFF),
    "emoji": (0x1F300, 0x1F6FF),
    "rare": (0x10000, 0x1FFFF),
}
ROOT = Path(__file__).resolve().parents[5]


def read(data: bytes) -> subject.Vocabulary:
    return subject.read_vocabulary(gguf_header.parse_header(data, len(data), "model"), data, "model")


def written(vocabulary: subject.Vocabulary) -> str:
    file = io.StringIO()
    subject.write_tokenizer(vocabulary, file)
    return file.getvalue()


def test_merges_in_the_order_of_scores(gguf: Any) -> None:
    vocabulary = read(gguf.sentencepiece())
    names = [(vocabulary.pieces[left], vocabulary.pieces[right]) for left, right in subject.merges(vocabulary)]
    assert names == [("h", "e"), ("l", "o"), ("l", "lo"), ("▁", "he"), ("▁he", "llo")]


def test_the_file(gguf: Any) -> None:
    document = json.loads(written(read(gguf.sentencepiece())))
    assert document["model"]["type"] == "BPE"
    assert document["model"]["byte_fallback"] is True
    assert document["model"]["unk_token"] == "<unk>"
    assert document["model"]["vocab"]["<0x0A>"] == 13
    assert len(document["model"]["vocab"]) == len(gguf.pieces)
    assert [token["id"] for token in document["added_tokens"]] == [0, 1, 2]
    assert document["post_processor"]["single"][0] == {"SpecialToken": {"id": "<s>", "type_id": 0}}


def test_settings_of_the_vocabulary(gguf: Any) -> None:
    plain = json.loads(written(read(gguf.sentencepiece(add_bos_token=False, add_space_prefix=False))))
    assert plain["post_processor"] is None
    assert plain["pre_tokenizer"] is None
    ends = json.loads(written(read(gguf.sentencepiece(add_eos_token=True))))["post_processor"]
    assert [next(iter(part)) for part in ends["single"]] == ["SpecialToken", "Sequence", "SpecialToken"]
    assert set(ends["special_tokens"]) == {"<s>", "</s>"}


@pytest.mark.parametrize("model", ["llama", "replit", "gemma", "gpt2", "bert"])
def test_only_some_are_affected(gguf: Any, model: str) -> None:
    data = gguf.sentencepiece(model=model)
    header = gguf_header.parse_header(data, len(data), "m")
    assert subject.is_affected(header) == (model in ("llama", "replit", "gemma"))


@pytest.mark.parametrize(
    "settings",
    [
        {"scores": [1.0]},
        {"token_type": [1]},
        {"scores": ["a"]},
        {"tokens": ["a"]},
        {"tokens": "a"},
        {"tokens": ["x" * 600] * 269},
    ],
)
def test_unusable_vocabularies_are_refused(gguf: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(StackError) as caught:
        read(gguf.sentencepiece(**settings))
    assert caught.value.id == "model.tokenizer_unusable"


def test_a_large_vocabulary_is_quick(gguf: Any) -> None:
    generator = random.Random(1)
    words = {"".join(generator.choice("abcdefgh") for _index in range(generator.randint(2, 9))) for _n in range(32_000)}
    pieces = gguf.pieces[:259] + [(letter, 0.0, 1) for letter in "abcdefgh"]
    pieces += [(word, float(-number), 1) for number, word in enumerate(sorted(words))]
    vocabulary = read(gguf.sentencepiece(pieces))
    start = time.process_time()
    written(vocabulary)
    assert time.process_time() - start < 1.5


# From here on the reference implementations have the last word.


def lines(count: int) -> Iterator[str]:
    """Lines in many scripts, with spaces, control characters, repetitions and code."""
    generator = random.Random(20261123)
    words = (ROOT / "LICENSE").read_text().split(" ")
    ranges = list(SCRIPTS.values())
    fragments = [
        "a",
        "b",
        "aa",
        " ",
        "  ",
        "\n",
        "\t",
        "ab",
        "    ",
        "-",
        "--",
        "=",
        "▁",
        ".",
        "0",
        "<",
        ">",
        "</",
        "\r",
    ]
    for number in range(count):
        kind = number % 5
        if kind == 0:
            yield " ".join(generator.choice(words) for _index in range(generator.randint(1, 30)))
        elif kind == 1:
            first, last = ranges[number // 5 % len(ranges)]
            letters = [chr(generator.randint(first, last)) for _index in range(generator.randint(1, 60))]
            yield "".join(" " if generator.random() < 0.2 else letter for letter in letters)
        elif kind == 2:
            yield "".join(generator.choice(fragments) for _index in range(generator.randint(1, 40)))
        elif kind == 3:
            parts = [generator.choice([(32, 126), generator.choice(ranges)]) for _index in range(40)]
            yield "".join(chr(generator.randint(*part)) for part in parts)
        else:
            yield generator.choice("ab =-_.*#~0\n\té我あ") * generator.randint(1, 70) + generator.choice(words)


def varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, position


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer."""
    position = 0
    while position < len(data):
        key, position = varint(data, position)
        content: Any
        if key & 7 == 0:
            content, position = varint(data, position)
        else:
            length, position = (4, position) if key & 7 == 5 else varint(data, position)
            content = data[position : position + length]
            position += length
        yield key >> 3, content


def encoded(number: int) -> bytes:
    data = b""
    while number > 127:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


def field(number: int, content: int | bytes) -> bytes:
    if isinstance(content, int):
        return encoded(number << 3) + encoded(content)
    return encoded(number << 3 | 2) + encoded(len(content)) + content


def pieces_of(model: bytes) -> list[tuple[str, float, int]]:
    """The pieces of a SentencePiece model file."""
    pieces = []
    for number, content in fields(model):
        if number == 1:
            piece = {2: bytes(4), 3: 1, **dict(fields(content))}
            pieces.append((piece[1].decode(), struct.unpack("<f", piece[2])[0], piece[3]))
    return pieces


def sentencepiece_model(pieces: list[tuple[str, float, int]], space_prefix: bool) -> bytes:
    """A SentencePiece BPE model file with these pieces."""
    model = b"".join(
        field(1, field(1, text.encode()) + encoded(2 << 3 | 5) + struct.pack("<f", score) + field(3, kind))
        for text, score, kind in pieces
    )
    model += field(2, field(3, 2) + field(35, 1) + field(40, 0) + field(41, 1) + field(42, 2) + field(43, 0))
    return model + field(3, field(1, b"identity") + field(3, int(space_prefix)) + field(4, 0) + field(5, 1))


def assert_same(reference: Any, tokenizer: Any, special: list[str], count: int) -> None:
    compared = 0
    for line in lines(count):
        if not any(text in line for text in special):
            assert tokenizer.encode(line, add_special_tokens=False).ids == reference.encode(line), repr(line)
            compared += 1
    assert compared > 0.9 * count


MODELS = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
    "v7": "mistral_instruct_tokenizer_241114.model.v7",
}


def mistral(version: str, gguf: Any) -> tuple[bytes, list[tuple[str, float, int]], Any]:
    common = pytest.importorskip("mistral_common")
    tokenizers = pytest.importorskip("tokenizers")
    model = (Path(common.__file__).parent / "data" / MODELS[version]).read_bytes()
    pieces = pieces_of(model)
    return model, pieces, tokenizers.Tokenizer.from_str(written(read(gguf.sentencepiece(pieces))))


@pytest.mark.parametrize("version", MODELS)
def test_tokens_are_counted_as_sentencepiece_does(version: str, gguf: Any) -> None:
    _model, pieces, tokenizer = mistral(version, gguf)
    vocabulary = read(gguf.sentencepiece(pieces))
    for text in (subject.PROMPT, "Hello", "x", "  two", *list(lines(60))):
        if "  " not in text and "\n" not in text:
            assert subject.count_tokens(vocabulary, text) == len(tokenizer.encode(text).ids), text


@pytest.mark.parametrize("version", MODELS)
def test_mistral_exactly_as_sentencepiece(version: str, gguf: Any) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    model, pieces, tokenizer = mistral(version, gguf)
    special = [text for text, _score, kind in pieces if kind in (2, 3, 4)]
    assert_same(sentencepiece.SentencePieceProcessor(model_proto=model), tokenizer, special, 10_000)


@pytest.mark.parametrize(
    ("version", "user", "assistant"),
    [
        ("v1", "[INST] {} [/INST]", " {}</s>"),
        ("v1", " [INST] {} [/INST]", " {}</s>"),
        ("v2", "[INST] {}[/INST]", " {}</s>"),
        ("v3", "[INST] {}[/INST]", " {}</s>"),
    ],
)
def test_chat_exactly_as_mistral_common(version: str, user: str, assistant: str, gguf: Any) -> None:
    """The templates that GGUFs of these models contain give the publisher's own token ids."""
    _model, _pieces, tokenizer = mistral(version, gguf)
    messages = pytest.importorskip("mistral_common.protocol.instruct.messages")
    request = pytest.importorskip("mistral_common.protocol.instruct.request")
    reference = pytest.importorskip("mistral_common.tokens.tokenizers.mistral")
    turns = ["Hello there, how are you?", "Fine, thanks.", "  Tell me\nabout Paris. ", "It is big: 北京 😀.", "Ok"]
    text = "<s>" + "".join((assistant if index % 2 else user).format(turn) for index, turn in enumerate(turns))
    kinds = [messages.UserMessage, messages.AssistantMessage]
    conversation = [kinds[index % 2](content=turn) for index, turn in enumerate(turns)]
    expected = getattr(reference.MistralTokenizer, version)().encode_chat_completion(
        request.ChatCompletionRequest(messages=conversation)
    )
    assert tokenizer.encode(text, add_special_tokens=False).ids == expected.tokens


@pytest.mark.parametrize("space_prefix", [True, False])
def test_user_defined_runs_of_spaces_as_in_gemma(space_prefix: bool, gguf: Any) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    tokenizers = pytest.importorskip("tokenizers")
    runs = [] if space_prefix else [("▁" * length, -1000.0, 4) for length in range(2, 32)]
    runs += [] if space_prefix else [("\n" * length, -1000.0, 4) for length in range(1, 9)]
    learned = ["▁a", "ab", "▁ab", "aa", "▁-", "--", "e▁", "▁▁x", "th", "the", "▁th", "▁the", "in", "ing", "▁t", "▁i"]
    letters = [chr(number) for number in range(33, 127)] + ["▁"]
    pieces = gguf.pieces[:259] + runs
    pieces += [(text, float(-number), 1) for number, text in enumerate(learned + letters)]
    reference = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model(pieces, space_prefix))
    # GGUFs hold user-defined pieces with real spaces.
    stored = [(text.replace("▁", " ") if kind == 4 else text, score, kind) for text, score, kind in pieces]
    vocabulary = read(gguf.sentencepiece(stored, add_space_prefix=space_prefix))
    tokenizer = tokenizers.Tokenizer.from_str(written(vocabulary))
    assert_same(reference, tokenizer, ["<unk>", "<s>", "</s>"], 5_000)
    for line in ("a  b", " the   thing", "x" + " " * 40 + "y", "\n\nthe\n a"):
        assert tokenizer.decode(tokenizer.encode(line).ids) == line
