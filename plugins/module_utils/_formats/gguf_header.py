# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounded reader of GGUF headers (versions 2 and 3, little endian).

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Arrays are skipped, not read: a vocabulary of 150,000 pieces costs a walk over its lengths. Every count comes
from the file and is not trusted: work and memory are limited by budgets, never by what the file claims.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Union

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError, plain

NOT_GGUF = Fault(
    "model.not_gguf", "{name} is not a GGUF file: {hint}.", "Correct 'source'; it must be the model file itself."
)
GGUF_VERSION = Fault(
    "model.gguf_version",
    "{name} is a GGUF of version {version}; the engine reads versions 2 and 3.",
    "Get a newer conversion of this model.",
)
GGUF_BIG_ENDIAN = Fault(
    "model.gguf_big_endian",
    "{name} is a big-endian GGUF, which the engine can't read.",
    "Get the little-endian conversion of this model.",
)
GGUF_TRUNCATED = Fault(
    "model.gguf_truncated",
    "{name} is cut short: {what} ends at byte {end}, the file has {size} bytes.",
    "Copy or download the file again.",
)
NO_MODEL = Fault(
    "model.no_model",
    "{name} is {what}, which no engine serves by itself.",
    "Give the model that it belongs to as 'source'.",
)
SHARDS_INCOMPLETE = Fault(
    "model.shards_incomplete",
    "{name}: {got} of its files are there, its header says {want}.",
    "Use a source that has all of them: a repository, or a directory of this host with all of its files.",
)
SHARDS_MIXED = Fault(
    "model.shards_mixed",
    "{name}: its files are not those of one model in their order: {what}.",
    "Use a source whose files were split from one model and have kept their names.",
)
GGUF_MALFORMED = Fault(
    "model.gguf_malformed",
    "The header of {name} is damaged or hostile: {what}.",
    "Get the file again from a source that you trust, and give its sha256.",
)

Scalar = Union[int, float, bool, str]
Data = Union[mmap.mmap, bytes, bytearray]

# Far above anything published, low enough that a hostile header is refused within about two seconds.
_MAX_KEYS = 16_384
_MAX_KEY_BYTES = 1_024
_MAX_TENSORS = 262_144
_MAX_ELEMENTS = 8_000_000
_MAX_HEADER_BYTES = 1 << 30
_MAX_STRING_KEPT = 1_024
_MAX_TEXT_BYTES = 1 << 20
_MAX_DEPTH = 4
_MAX_LAYERS = 4_096
# There are about forty; new ones come with versions of the format's own library.
_MAX_TYPES = 64
_MAX_SHOWN = 200
# Bytes of a remote file that are asked for at first, and at most.
_FIRST_WINDOW = 1 << 20
_LARGEST_STEP = 8 << 20
_LAST_WINDOW = 32 << 20

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
STRING = 8
ARRAY = 9

# Tensor types: name, elements in a block, bytes of a block (ggml.h).
_TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
# The value of general.file_type, which names the mixture of tensor types (llama.h).
_FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}


class Array(NamedTuple):
    """Where an array of the header lies; its elements are read only on demand."""

    element_type: int
    length: int
    offset: int


class Tensors(NamedTuple):
    """What the tensor table says as a whole."""

    length: int
    parameters: int
    bytes_by_type: dict[str, int]
    last_name: str
    last_end: int
    names: frozenset[str]


class Header(NamedTuple):
    """The metadata of a GGUF file. Strings too long to be kept are present with the value '', and lie in C(texts)."""

    version: int
    values: dict[str, Scalar]
    arrays: dict[str, Array]
    tensors: Tensors
    texts: dict[str, tuple[int, int]]


class _Malformed(Exception):
    pass


class _Cursor:
    """A position in the header and what is left of the budget."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.position = 4
        self.elements = _MAX_ELEMENTS

    def u32(self) -> int:
        (value,) = _U32.unpack_from(self.data, self.position)
        self.position += 4
        return int(value)

    def u64(self) -> int:
        (value,) = _U64.unpack_from(self.data, self.position)
        self.position += 8
        return int(value)

    def skip(self, count: int) -> None:
        self.position += count
        if self.position > len(self.data):
            raise struct.error
        if self.position > _MAX_HEADER_BYTES:
            raise _Malformed("it is larger than any real header")

    def text(self, limit: int, keep: bool = True) -> str:
        """A string; one that is longer than the limit is skipped if it need not be kept."""
        length = self.u64()
        start = self.position
        self.skip(length)
        if length > limit:
            if keep:
                raise _Malformed("a name in it is too long")
            return ""
        return self.data[start : self.position].decode("utf-8", "replace")

    def array(self, depth: int = 1) -> Array:
        element_type = self.u32()
        count = self.u64()
        start = self.position
        if element_type in _SCALARS:
            self.skip(_SCALARS[element_type].size * count)
        elif element_type in (STRING, ARRAY):
            self.elements -= count
            if self.elements < 0:
                raise _Malformed("its arrays have too many elements")
            if element_type == STRING:
                self._skip_strings(count)
            elif depth >= _MAX_DEPTH:
                raise _Malformed("its arrays are nested too deeply")
            else:
                for _index in range(count):
                    self.array(depth + 1)
        else:
            raise _Malformed(f"it has a value of the unknown type {element_type}")
        return Array(element_type, count, start)

    def _skip_strings(self, count: int) -> None:
        data = self.data
        position = self.position
        unpack = _U64.unpack_from
        for _index in range(count):
            position += 8 + unpack(data, position)[0]
        self.position = position
        self.skip(0)


def _describe_start(data: Data) -> str:
    start = bytes(data[:512]).lstrip().lower()
    if not start:
        return "it is empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "it is a web page, such as a login or an error page"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file that it points to"
    if start.startswith((b"{", b"[")):
        return "it is JSON text, such as an error message"
    if start.startswith((b"ggml", b"tjgg", b"fmgg", b"algg")):
        return "it is in the old GGML format"
    return f"it starts with the bytes {bytes(data[:4]).hex(' ')}"


def _read_tensors(cursor: _Cursor, count: int, alignment: int) -> Tensors:
    parameters = 0
    bytes_by_type: dict[str, int] = {}
    ends: list[tuple[int, str]] = [(0, "the header")]
    names = set()
    for _index in range(count):
        name = cursor.text(_MAX_KEY_BYTES)
        names.add(name)
        dimensions = cursor.u32()
        if dimensions > 8:
            raise _Malformed(f"the tensor {name[:64]!r} has {dimensions} dimensions")
        elements = 1
        for _dimension in range(dimensions):
            elements *= cursor.u64()
        type_id = cursor.u32()
        offset = cursor.u64()
        label, block, block_bytes = _TENSOR_TYPES.get(type_id, (f"type {type_id}", 1, 0))
        size = -(-elements // block) * block_bytes
        parameters += elements
        bytes_by_type[label] = bytes_by_type.get(label, 0) + size
        if len(bytes_by_type) > _MAX_TYPES:
            raise _Malformed(f"its tensors are of more than {_MAX_TYPES} types")
        if parameters >= 1 << 63:
            raise _Malformed(f"the tensor {name[:64]!r} is larger than any file")
        if offset + size >= ends[-1][0]:
            ends[-1] = (offset + size, f"the tensor {name[:64]!r}")
    end, last = ends[-1]
    data_start = -(-cursor.position // alignment) * alignment if count else cursor.position
    return Tensors(count, parameters, bytes_by_type, last, data_start + end, frozenset(names))


class _Short(Exception):
    """The bytes end before the header does."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def _parse(data: Data, name: str) -> Header:
    """The header at the start of C(data). Raises _Short, or StackError for what no more bytes would mend."""
    if data[:4] != b"GGUF":
        raise StackError(NOT_GGUF, name=name, hint=_describe_start(data))
    cursor = _Cursor(data)
    try:
        version = cursor.u32()
        if version not in (2, 3):
            if int.from_bytes(version.to_bytes(4, "little"), "big") in (1, 2, 3):
                raise StackError(GGUF_BIG_ENDIAN, name=name)
            raise StackError(GGUF_VERSION, name=name, version=version)
        tensor_count = cursor.u64()
        key_count = cursor.u64()
        if tensor_count > _MAX_TENSORS or key_count > _MAX_KEYS:
            raise _Malformed(f"it claims {tensor_count} tensors and {key_count} keys")
        values: dict[str, Scalar] = {}
        arrays: dict[str, Array] = {}
        texts: dict[str, tuple[int, int]] = {}
        for _index in range(key_count):
            key = cursor.text(_MAX_KEY_BYTES)
            value_type = cursor.u32()
            if value_type == STRING:
                start = cursor.position + 8
                values[key] = cursor.text(_MAX_STRING_KEPT, keep=False)
                if cursor.position - start > _MAX_STRING_KEPT:
                    texts[key] = (start, cursor.position)
            elif value_type == ARRAY:
                arrays[key] = cursor.array()
            elif value_type in _SCALARS:
                values[key] = _SCALARS[value_type].unpack_from(data, cursor.position)[0]
                cursor.skip(_SCALARS[value_type].size)
            else:
                raise _Malformed(f"it has a value of the unknown type {value_type}")
        alignment = values.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
            raise _Malformed(f"its alignment is {alignment!r}")
        tensors = _read_tensors(cursor, tensor_count, alignment)
    except _Malformed as problem:
        raise StackError(GGUF_MALFORMED, name=name, what=problem) from None
    except (struct.error, IndexError, OverflowError):
        raise _Short(cursor.position) from None
    return Header(version, values, arrays, tensors, texts)


def parse_header(data: Data, size: int, name: str) -> Header:
    """Parse the header at the start of C(data); C(size) is the whole file's size, C(name) is for messages."""
    try:
        header = _parse(data, name)
    except _Short as short:
        end = f"{max(short.position, len(data))} or later"
        raise StackError(GGUF_TRUNCATED, name=name, what="the header", end=end, size=size) from None
    tensors = header.tensors
    if tensors.last_end > size:
        raise StackError(GGUF_TRUNCATED, name=name, what=tensors.last_name, end=tensors.last_end, size=size)
    return header


@contextmanager
def opened(path: str) -> Iterator[tuple[mmap.mmap | bytes, int]]:
    """The file's bytes, mapped and not read, and its size."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            yield b"", 0
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data, size


def read_numbers(data: Data, array: Array, limit: int) -> list[float]:
    """The numbers of an array that was found by C(parse_header); [] if they are too many or no numbers."""
    if array.element_type not in _SCALARS or array.length > limit:
        return []
    code = _SCALARS[array.element_type].format[1:]
    return list(struct.unpack_from(f"<{array.length}{code}", data, array.offset))


def read_strings(data: Data, array: Array) -> list[str]:
    """The strings of an array that was found by C(parse_header)."""
    texts = []
    position = array.offset
    unpack = _U64.unpack_from
    for _index in range(array.length if array.element_type == STRING else 0):
        start = position + 8
        position = start + unpack(data, position)[0]
        texts.append(data[start:position].decode("utf-8", "replace"))
    return texts


def read_text(header: Header, data: Data, key: str) -> str:
    """A string of the header, also a long one; '' if there is none, or one that is longer than any real text."""
    value = header.values.get(key)
    if key not in header.texts:
        return value if isinstance(value, str) else ""
    start, end = header.texts[key]
    return data[start:end].decode("utf-8", "replace") if end - start <= _MAX_TEXT_BYTES else ""


_LLAMA = "llama"
_WORDS = re.compile(r"[^0-9A-Za-z]+")


def needs_config(header: Header) -> bool:
    """Whether the engine refuses this GGUF from 0.9.1 on, unless a C(config.json) lies beside it.

    Mistral's models are of the architecture C(llama), and the GGUF does not say whether their attention has a window.
    The engine takes a model for one of them by the first word of its name. Source: C(resolve_native_adapter) and
    C(llama_mistral_identity_hint) in C(mistralrs-core/src/gguf/normal_registry.rs) of v0.9.1, v0.9.2 and 9e922623.
    """
    values = header.values
    if values.get("general.architecture") != _LLAMA:
        return False
    is_mixture = f"{_LLAMA}.expert_count" in values or any(".ffn_gate_exps." in name for name in header.tensors.names)
    if is_mixture or f"{_LLAMA}.attention.sliding_window" in values:
        return False
    names = [name for name in map(values.get, ("general.basename", "general.name")) if isinstance(name, str)]
    words = [word for word in _WORDS.split(names[0]) if word] if names else []
    return bool(words) and words[0].lower() == "mistral"


def _whole(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) and 0 <= value < 1 << 63 else 0


def _kv_bytes_per_token(header: Header, data: Data, architecture: str) -> int:
    """Bytes of F16 keys and values that each token of context takes, over all attention layers."""

    def value(key: str) -> int:
        return _whole(header.values.get(f"{architecture}.{key}", 0))

    layers = value("block_count")
    heads = value("attention.head_count")
    per_head = value("embedding_length") // heads if heads else 0
    width = (value("attention.key_length") or per_head) + (value("attention.value_length") or per_head)
    # One number for all layers, or one for each; 0 in the list: a layer without attention.
    per_layer = header.arrays.get(f"{architecture}.attention.head_count_kv")
    if per_layer is not None:
        kv_heads = sum(_whole(number) for number in read_numbers(data, per_layer, _MAX_LAYERS))
    else:
        kv_heads = (value("attention.head_count_kv") or heads) * layers
    return kv_heads * width * 2


# What else is written as GGUF (GGUFType in gguf-py's constants.py); of older files the architecture tells.
_MODEL = "model"
_NO_MODELS = {
    "adapter": "a LoRA adapter",
    "clip": "a projector (mmproj)",
    "controlvector": "a control vector",
    "imatrix": "an importance matrix",
    "mmproj": "a projector (mmproj)",
}


def _check_kind(header: Header, name: str) -> None:
    """Refuse what is a part or a by-product of a model. Raises C(model.no_model)."""
    values = header.values
    kind = str(values.get("general.type", _MODEL)).lower()
    architecture = str(values.get("general.architecture", "")).lower()
    tensors = header.tensors.names
    what = _NO_MODELS.get(kind) or _NO_MODELS.get(architecture, "")
    if not what and kind != _MODEL:
        what = f"of the type {kind[:40]!r}"
    if "adapter.type" in values or any(tensor.endswith((".lora_a", ".lora_b")) for tensor in tensors):
        what = what or _NO_MODELS["adapter"]
    if "imatrix.chunk_count" in values or any(tensor.endswith(".in_sum2") for tensor in tensors):
        what = what or _NO_MODELS["imatrix"]
    if what:
        raise StackError(NO_MODEL, name=name, what=what)


def summarize(header: Header, data: Data, name: str) -> dict[str, object]:
    """What users and other parts want to know about a model, as plain data. Raises C(model.no_model)."""
    _check_kind(header, name)
    values = header.values
    architecture = str(values.get("general.architecture", ""))

    def number(key: str) -> int:
        return _whole(values.get(f"{architecture}.{key}", 0))

    def text(key: str) -> str:
        return str(plain(str(values.get(key, "")), _MAX_SHOWN))

    file_type = values.get("general.file_type")
    by_bytes = header.tensors.bytes_by_type
    quantization = _FILE_TYPES.get(file_type, "") if isinstance(file_type, int) else ""
    if not quantization and by_bytes:
        quantization = max(by_bytes, key=lambda label: by_bytes[label])
    vocabulary = header.arrays.get("tokenizer.ggml.tokens")
    return {
        "version": header.version,
        "architecture": text("general.architecture"),
        "name": text("general.name"),
        "quantization": quantization,
        "tensor_types": sorted(by_bytes),
        "parameters": header.tensors.parameters,
        "tensors": header.tensors.length,
        "context_length": number("context_length"),
        "block_count": number("block_count"),
        "embedding_length": number("embedding_length"),
        "head_count": number("attention.head_count"),
        "head_count_kv": number("attention.head_count_kv"),
        "kv_bytes_per_token": _kv_bytes_per_token(header, data, architecture),
        "vocabulary": vocabulary.length if vocabulary else number("vocab_size"),
        "tokenizer": text("tokenizer.ggml.model"),
        "chat_template": "tokenizer.chat_template" in values,
        "needs_config": needs_config(header),
        "shards": _whole(values.get("split.count", 0)) or 1,
        "shard": _whole(values["split.no"]) if "split.no" in values else -1,
        "shard_tensors": _whole(values.get("split.tensors.count", 0)),
    }


def merged(summaries: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """The summary of a model from those of all its files in order: only the first one has all of the metadata.

    Raises C(model.shards_incomplete), C(model.shards_mixed) or C(model.no_model).
    """
    count = summaries[0]["shards"]
    if count != len(summaries):
        raise StackError(SHARDS_INCOMPLETE, name=name, got=len(summaries), want=count)
    for index, summary in enumerate(summaries):
        # A file need not say its number.
        if summary["shards"] != count or summary["shard"] not in (-1, index):
            what = f"in the place of file {index + 1} of {count} is file {summary['shard'] + 1} of {summary['shards']}"
            raise StackError(SHARDS_MIXED, name=name, what=what)
    total = {key: sum(int(summary[key]) for summary in summaries) for key in ("parameters", "tensors")}
    if not total["tensors"]:
        raise StackError(NO_MODEL, name=name, what="a vocabulary without tensors")
    expected = summaries[0]["shard_tensors"]
    if expected and expected != total["tensors"]:
        what = f"they hold {total['tensors']} tensors, of {expected}"
        raise StackError(SHARDS_MIXED, name=name, what=what)
    types = sorted({kind for summary in summaries for kind in summary["tensor_types"]})
    quantization = next((summary["quantization"] for summary in summaries if summary["quantization"]), "")
    first = {key: value for key, value in summaries[0].items() if key not in ("shard", "shard_tensors")}
    return {**first, **total, "tensor_types": types, "quantization": quantization}


def inspect_file(path: str, name: str) -> dict[str, object]:
    """Check the structure of the GGUF file at C(path) and summarize it; L{merged} tells whether it is a whole model."""
    with opened(path) as (data, size):
        return summarize(parse_header(data, size, name), data, name)


def inspect(path: str, name: str) -> dict[str, Any]:
    """Check that the GGUF file at C(path) is a whole model, and summarize it."""
    return merged([inspect_file(path, name)], name)


def inspect_shards(paths: Mapping[str, str], name: str) -> dict[str, Any]:
    """Check that the GGUF files at paths, by their names, are a whole model together, and summarize it."""
    return merged([inspect_file(paths[file], f"{name}, file {file}") for file in sorted(paths)], name)


def inspect_remote(size: int, read_range: Callable[[int, int], bytes], name: str) -> dict[str, object]:
    """Check and summarize a file of C(size) bytes that is not here, by as few of its first bytes as are needed.

    It may be one of several that are a model together.

    C(read_range) gives the bytes from a start to, without, an end. Vocabularies make a header about 6 to 12 MB long.
    """
    data = bytearray()
    window = _FIRST_WINDOW
    while True:
        data += read_range(len(data), min(window, size))
        try:
            _parse(data, name)
            break
        except _Short:
            if len(data) >= size:
                break
            if len(data) >= _LAST_WINDOW:
                what = f"it is larger than {_LAST_WINDOW >> 20} MiB, more than any real header"
                raise StackError(GGUF_MALFORMED, name=name, what=what) from None
        # Not by powers of two to the end: what is there and what comes must both fit into little memory.
        window = min(window * 2, window + _LARGEST_STEP, _LAST_WINDOW)
    return summarize(parse_header(data, size, name), data, name)
