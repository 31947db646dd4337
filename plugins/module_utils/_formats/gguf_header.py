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
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Union

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.ggml_types import TENSOR_TYPES

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
    "{name} is cut short: {what} ends at byte {end}, but the file has {size} bytes.",
    "Copy or download the file again.",
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
# There are about forty; new ones come with versions of the format's own library.
_MAX_TYPES = 64

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
        label, block, block_bytes = TENSOR_TYPES.get(type_id, (f"type {type_id}", 1, 0))
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


class ShortHeader(Exception):
    """The bytes end before the header does."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def parse_start(data: Data, name: str) -> Header:
    """The header at the start of C(data). Raises ShortHeader, or StackError for what no more bytes would mend."""
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
        raise ShortHeader(cursor.position) from None
    return Header(version, values, arrays, tensors, texts)


def parse_header(data: Data, size: int, name: str) -> Header:
    """Parse the header at the start of C(data); C(size) is the whole file's size, C(name) is for messages."""
    try:
        header = parse_start(data, name)
    except ShortHeader as short:
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
