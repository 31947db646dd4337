# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the right C(tokenizer.json) from a GGUF whose tokenizer the engine gets wrong.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

In a SentencePiece BPE vocabulary a piece's score is its place in the order of merges. The engine takes the scores
for Unigram probabilities, so that words fall apart. The file made here says the same vocabulary as BPE in the
format of Hugging Face's C(tokenizers): every split of a piece into two pieces is a merge, best score first.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from json import encoder
from typing import IO, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_header import (
    Header,
    read_numbers,
    read_strings,
)

TOKENIZER_UNUSABLE = Fault(
    "model.tokenizer_unusable",
    "The vocabulary in {name} can't be used: {why}.",
    "Get another conversion of this model.",
)

AFFECTED = ("llama", "replit", "gemma")

# Letters of several scripts, a digit and a sign in bytes: a wrong tokenizer makes another number of tokens of it.
PROMPT = "Hello, how are you today? Größe 東京 Москва 7 😀"

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6
# Gemma's 262,144 pieces are 2 MB; the limits keep the walk over all splits of hostile ones short.
_MAX_PIECES = 2_000_000
_MAX_BYTES = 16 << 20
_MAX_PIECE = 512

# The C implementation where there is one: escapes, and keeps what is not ASCII.
_quote = encoder.encode_basestring


class Vocabulary(NamedTuple):
    """The tokenizer as the GGUF's metadata says it."""

    pieces: list[str]
    scores: list[float]
    types: list[int]
    bos: int | None
    eos: int | None
    unknown: int | None
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool


def is_affected(header: Header) -> bool:
    """Whether the engine would make a wrong tokenizer from this GGUF."""
    return header.values.get("tokenizer.ggml.model") in AFFECTED


def read_vocabulary(header: Header, data: mmap.mmap | bytes, name: str) -> Vocabulary:
    """Read the vocabulary out of the GGUF."""
    arrays = header.arrays
    tokens = arrays.get("tokenizer.ggml.tokens")
    scores = arrays.get("tokenizer.ggml.scores")
    types = arrays.get("tokenizer.ggml.token_type")
    if tokens is None or scores is None or not tokens.length:
        raise StackError(TOKENIZER_UNUSABLE, name=name, why="it has no pieces or no scores")
    if tokens.length > _MAX_PIECES:
        raise StackError(TOKENIZER_UNUSABLE, name=name, why=f"it claims {tokens.length} pieces")
    pieces = read_strings(data, tokens)
    score_list = read_numbers(data, scores, _MAX_PIECES)
    type_list = [int(number) for number in read_numbers(data, types, _MAX_PIECES)] if types else [_NORMAL] * len(pieces)
    if not len(pieces) == len(score_list) == len(type_list):
        raise StackError(TOKENIZER_UNUSABLE, name=name, why="pieces, scores and types differ in number")
    if max(map(len, pieces)) > _MAX_PIECE or sum(map(len, pieces)) > _MAX_BYTES:
        raise StackError(TOKENIZER_UNUSABLE, name=name, why="its pieces are longer than any real ones")

    def token(key: str) -> int | None:
        number = header.values.get(f"tokenizer.ggml.{key}_token_id")
        return number if isinstance(number, int) and 0 <= number < len(pieces) else None

    def flag(key: str, default: bool) -> bool:
        return bool(header.values.get(f"tokenizer.ggml.{key}", default))

    unknown = token("unknown")
    if unknown is None and _UNKNOWN in type_list:
        unknown = type_list.index(_UNKNOWN)
    return Vocabulary(
        pieces=pieces,
        scores=score_list,
        types=type_list,
        bos=token("bos"),
        eos=token("eos"),
        unknown=unknown,
        add_bos=flag("add_bos_token", True),
        add_eos=flag("add_eos_token", False),
        add_space_prefix=flag("add_space_prefix", True),
    )


def _joined(items: Iterable[str]) -> Iterator[str]:
    separator = ""
    for item in items:
        yield separator + item
        separator = ",\n"


def merges(vocabulary: Vocabulary) -> Iterator[tuple[int, int]]:
    """The merges in their order: SentencePiece joins the pair whose result has the best score first."""
    pieces, scores, types = vocabulary.pieces, vocabulary.scores, vocabulary.types
    ids = {piece: number for number, piece in enumerate(pieces) if types[number] == _NORMAL}
    get = ids.get
    # sorted() is stable: equal scores stay in the order of ids.
    for number in sorted(ids.values(), key=lambda index: -scores[index]):
        piece = pieces[number]
        found = []
        for cut in range(1, len(piece)):
            left = get(piece[:cut])
            if left is not None:
                right = get(piece[cut:])
                if right is not None:
                    found.append((left, right))
        if len(found) > 1:
            found.sort()
        yield from found


def count_tokens(vocabulary: Vocabulary, text: str) -> int:
    """How many tokens SentencePiece makes of a short text without special tokens or runs of spaces.

    It joins the neighbours whose result has the best score until none can be joined (bpe_model.cc); what is in no piece
    is spelled in bytes. The time is quadratic in the text's length.
    """
    ids = {piece: number for number, piece in enumerate(vocabulary.pieces) if vocabulary.types[number] == _NORMAL}
    symbols = list(("\u2581" if vocabulary.add_space_prefix else "") + text.replace(" ", "\u2581"))
    while True:
        best, place = None, -1
        for index in range(len(symbols) - 1):
            number = ids.get(symbols[index] + symbols[index + 1])
            if number is not None and (best is None or vocabulary.scores[number] > best):
                best, place = vocabulary.scores[number], index
        if best is None:
            break
        symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
    has_bytes = vocabulary.types.count(_BYTE) == 256
    count = sum(1 if symbol in ids or not has_bytes else len(symbol.encode()) for symbol in symbols)
    ends = (vocabulary.add_bos and vocabulary.bos is not None, vocabulary.add_eos and vocabulary.eos is not None)
    return count + sum(ends)


def _added_tokens(vocabulary: Vocabulary) -> Iterator[str]:
    """Pieces that are found in the text as they are, before anything is merged."""
    for number, kind in enumerate(vocabulary.types):
        if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED) and vocabulary.pieces[number]:
            # User-defined pieces, such as Gemma's runs of spaces, match the text after its spaces became U+2581.
            flags = (
                '"normalized":true,"special":false' if kind == _USER_DEFINED else '"normalized":false,"special":true'
            )
            content = _quote(vocabulary.pieces[number])
            yield f'{{"id":{number},"content":{content},"single_word":false,"lstrip":false,"rstrip":false,{flags}}}'


def _spaces(vocabulary: Vocabulary) -> tuple[str, str]:
    """The pre-tokenizer and the decoder."""
    steps = '{"type":"Replace","pattern":{"String":"\u2581"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}'
    if not vocabulary.add_space_prefix:
        return "null", f'{{"type":"Sequence","decoders":[{steps}]}}'
    # SentencePiece puts one space in front of every text, even of one that starts with a space: that is the first
    # Metaspace (the normalizer has turned the text's own spaces into U+2581 before). Text behind a special token is
    # a text of its own, but chat templates already write that space in many models: the second one adds it where
    # it is missing.
    pre_tokenizer = (
        '{"type":"Sequence","pretokenizers":['
        '{"type":"Metaspace","replacement":" ","prepend_scheme":"first","split":false},'
        '{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"always","split":false}]}'
    )
    steps += ',{"type":"Strip","content":" ","start":1,"stop":0}'
    return pre_tokenizer, f'{{"type":"Sequence","decoders":[{steps}]}}'


def _post_processor(vocabulary: Vocabulary) -> str:
    before = vocabulary.bos if vocabulary.add_bos else None
    after = vocabulary.eos if vocabulary.add_eos else None
    if before is None and after is None:
        return "null"

    def special(number: int | None, type_id: int) -> list[str]:
        if number is None:
            return []
        return [f'{{"SpecialToken":{{"id":{_quote(vocabulary.pieces[number])},"type_id":{type_id}}}}}']

    def template(letters: str) -> str:
        parts = []
        for type_id, letter in enumerate(letters):
            parts += special(before, type_id)
            parts.append(f'{{"Sequence":{{"id":"{letter}","type_id":{type_id}}}}}')
            parts += special(after, type_id)
        return "[" + ",".join(parts) + "]"

    tokens = []
    for number in sorted({number for number in (before, after) if number is not None}):
        text = _quote(vocabulary.pieces[number])
        tokens.append(f'{text}:{{"id":{text},"ids":[{number}],"tokens":[{text}]}}')
    return (
        f'{{"type":"TemplateProcessing","single":{template("A")},"pair":{template("AB")},'
        f'"special_tokens":{{{",".join(tokens)}}}}}'
    )


def write_tokenizer(vocabulary: Vocabulary, file: IO[str]) -> None:
    """Write the C(tokenizer.json) piece by piece, so that the whole text is never in memory."""
    pieces = vocabulary.pieces
    quoted = [_quote(piece) for piece in pieces]
    pre_tokenizer, decoder = _spaces(vocabulary)
    unknown = "null" if vocabulary.unknown is None else quoted[vocabulary.unknown]
    byte_fallback = "true" if vocabulary.types.count(_BYTE) == 256 else "false"
    file.write('{"version":"1.0","truncation":null,"padding":null,"added_tokens":[\n')
    file.writelines(_joined(_added_tokens(vocabulary)))
    file.write(
        '],\n"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"\u2581"},\n'
        f'"pre_tokenizer":{pre_tokenizer},\n"post_processor":{_post_processor(vocabulary)},\n"decoder":{decoder},\n'
        f'"model":{{"type":"BPE","dropout":null,"unk_token":{unknown},"continuing_subword_prefix":null,'
        f'"end_of_word_suffix":null,"fuse_unk":true,"byte_fallback":{byte_fallback},"ignore_merges":false,\n"vocab":{{\n'
    )
    file.writelines(_joined(f"{text}:{number}" for number, text in enumerate(quoted)))
    file.write('},\n"merges":[\n')
    file.writelines(_joined(f"[{quoted[left]},{quoted[right]}]" for left, right in merges(vocabulary)))
    file.write("]}}\n")
