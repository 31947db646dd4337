# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounded reader of SafeTensors headers, and of the files that lie beside them.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

The format (safetensors, README "Format"): 8 bytes with the header's length N, N bytes of JSON, then the tensors' bytes
without holes or overlaps up to the end of the file. The header comes from the file and is not trusted: it is parsed
only if its length and the number of its values are those of a real one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError, plain

NOT_SAFETENSORS = Fault(
    "model.not_safetensors",
    "{name} is not a SafeTensors file: {hint}.",
    "Correct 'source'; it must be the model file itself.",
)
SAFETENSORS_MALFORMED = Fault(
    "model.safetensors_malformed",
    "The header of {name} is damaged or hostile: {what}.",
    "Get the file again from a source that you trust, and give its sha256.",
)
SAFETENSORS_TRUNCATED = Fault(
    "model.safetensors_truncated",
    "{name} has {size} bytes, but its header says {want}.",
    "Copy or download the file again.",
)
SAFETENSORS_INCOMPLETE = Fault(
    "model.safetensors_incomplete",
    "{name} lacks files: {missing}.",
    "Use a source that has all of them.",
)
SAFETENSORS_ADAPTER = Fault(
    "model.safetensors_adapter",
    "{name} is a LoRA adapter, which no engine serves by itself.",
    "Give the model that it was made for as 'source', or one into which it was merged.",
)

# The limit of Hugging Face's own client; real headers have a few MB.
_MAX_HEADER = 25_000_000
# A tensor has about ten of the characters that begin a value; this is more than 60,000 tensors in one file.
_MAX_VALUES = 700_000
_MAX_JSON = 16 << 20
_MAX_DIGITS = 19
_MAX_TYPES = 64
_BITS = {
    "F64": 64,
    "I64": 64,
    "U64": 64,
    "C64": 64,
    "F32": 32,
    "I32": 32,
    "U32": 32,
    "F16": 16,
    "BF16": 16,
    "I16": 16,
    "U16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "U8": 8,
    "I8": 8,
    "BOOL": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors\Z")
_LAYER = re.compile(r"(?:^|\.)layers\.(\d{1,4})\.")
_MAX_LAYERS = 4_096


class Header(NamedTuple):
    """What a header says: the number of parameters, the tensors' names, and bytes by type of tensor."""

    parameters: int
    names: frozenset[str]
    bytes_by_type: dict[str, int]


class _Malformed(Exception):
    pass


def _describe_start(start: bytes) -> str:
    text = start[:512].lstrip().lower()
    if not text:
        return "it is empty"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "it is a web page, such as a login or an error page"
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file that it points to"
    if text.startswith((b"{", b"[")):
        return "it is JSON text, such as an error message"
    return f"it starts with the bytes {start[:9].hex(' ')}"


def check_start(start: bytes, name: str) -> int:
    """Refuse what is not a SafeTensors file by its first bytes; the length of its header in bytes."""
    length = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:9] != b"{" or start.startswith(b"version https"):
        raise StackError(NOT_SAFETENSORS, name=name, hint=_describe_start(start))
    if length > _MAX_HEADER:
        raise StackError(SAFETENSORS_MALFORMED, name=name, what=f"it claims a length of {length} bytes")
    return length


def _integer(digits: str) -> int:
    # Python takes quadratic time for long numbers.
    if len(digits) > _MAX_DIGITS:
        raise _Malformed("a number in it is too long")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Malformed("a name is in it twice")
    return found


def _parsed(content: bytes) -> Any:
    """JSON of an unknown origin. Raises _Malformed."""
    if sum(content.count(character) for character in (b",", b"[", b"{")) > _MAX_VALUES:
        raise _Malformed("it has more values than any real one")
    try:
        return json.loads(content.decode("utf-8"), parse_int=_integer, object_pairs_hook=_unique)
    except RecursionError:
        raise _Malformed("it is nested too deeply") from None
    except ValueError:
        raise _Malformed("it is not JSON") from None


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Malformed(f"it has {str(value)[:40]!r} where a size belongs")
    return value


def _tensor(name: str, entry: Any) -> tuple[int, int, int, str]:
    """Where a tensor begins and ends, its number of elements and its type."""
    if not isinstance(entry, dict):
        raise _Malformed(f"the tensor {name[:64]!r} is not described")
    shape, offsets, kind = entry.get("shape"), entry.get("data_offsets"), entry.get("dtype")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2 or len(shape) > 16:
        raise _Malformed(f"the tensor {name[:64]!r} has no shape or place")
    elements = 1
    for dimension in shape:
        elements *= _whole(dimension)
    begin, end = _whole(offsets[0]), _whole(offsets[1])
    bits = _BITS.get(str(kind))
    if end < begin or (bits is not None and elements * bits != (end - begin) * 8):
        raise _Malformed(f"the size of the tensor {name[:64]!r} does not fit its shape")
    return begin, end, elements, str(kind)[:16]


def _parse(content: bytes, size: int, name: str) -> Header:
    """A header's JSON, checked against the C(size) of the whole file in bytes."""
    try:
        data = _parsed(content)
        if not isinstance(data, dict):
            raise _Malformed("it is not a table of tensors")
        data.pop("__metadata__", None)
        spans = sorted(_tensor(key, entry) for key, entry in data.items())
        position, parameters = 0, 0
        bytes_by_type: dict[str, int] = {}
        for begin, end, elements, kind in spans:
            if begin != position:
                raise _Malformed(f"its tensors {'overlap' if begin < position else 'leave a hole'} at byte {begin}")
            position = end
            parameters += elements
            bytes_by_type[kind] = bytes_by_type.get(kind, 0) + end - begin
            if len(bytes_by_type) > _MAX_TYPES or parameters >= 1 << 63:
                raise _Malformed("it has more types of tensors, or larger ones, than any real one")
    except _Malformed as problem:
        raise StackError(SAFETENSORS_MALFORMED, name=name, what=problem) from None
    want = 8 + len(content) + position
    if want != size:
        raise StackError(SAFETENSORS_TRUNCATED, name=name, size=size, want=want)
    return Header(parameters, frozenset(data), bytes_by_type)


def read_header(size: int, read_range: Callable[[int, int], bytes], name: str) -> Header:
    """The header of a file of C(size) bytes; C(read_range) gives the bytes from a start to, without, an end.

    Raises StackError if the file is not a SafeTensors file, damaged, hostile or cut short.
    """
    start = read_range(0, min(size, 512))
    length = check_start(start, name)
    if 8 + length > size:
        raise StackError(SAFETENSORS_TRUNCATED, name=name, size=size, want=f"{8 + length} or more")
    return _parse(read_range(8, 8 + length), size, name)


def _read_file(path: str, name: str) -> Header:
    with open(path, "rb") as file:

        def read_range(start: int, end: int) -> bytes:
            file.seek(start)
            return file.read(end - start)

        return read_header(os.fstat(file.fileno()).st_size, read_range, name)


def _small_json(paths: Mapping[str, str], file: str, name: str) -> dict[str, Any]:
    """One of the small files beside the tensors; {} if it is not there."""
    if file not in paths:
        return {}
    with open(paths[file], "rb") as opened:
        content = opened.read(_MAX_JSON + 1)
    try:
        if len(content) > _MAX_JSON:
            raise _Malformed("it is larger than any real one")
        data = _parsed(content)
    except _Malformed as problem:
        raise StackError(SAFETENSORS_MALFORMED, name=f"{name}, file {file}", what=problem) from None
    return data if isinstance(data, dict) else {}


def _check_complete(paths: Mapping[str, str], index: Mapping[str, Any], name: str) -> list[str]:
    """The files that hold the tensors. Raises StackError if some are missing."""
    there = sorted(file for file in paths if file.endswith(".safetensors"))
    mapped = index.get("weight_map")
    if isinstance(mapped, dict) and mapped:
        wanted = {str(file) for file in mapped.values()}
    else:
        wanted = set(there)
        for file in there:
            shard = _SHARD.match(file)
            # A hostile count is not walked through.
            if shard and 0 < int(shard[3]) <= 4096:
                wanted.update(f"{shard[1]}-{number:05}-of-{shard[3]}.safetensors" for number in _one_to(shard[3]))
    missing = sorted(file[:100] for file in wanted if file not in paths)
    if missing or not wanted:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise StackError(SAFETENSORS_INCOMPLETE, name=name, missing=shown or "any with tensors")
    return sorted(wanted)


def _check_tensors(
    files: Sequence[str], headers: Sequence[Header], index: Mapping[str, Any], config: Mapping[str, Any], name: str
) -> None:
    """That every tensor that there should be is there: those of the index, or without one a part of each layer.

    A file that was renamed tells nothing else of the files that belong to it.
    """
    mapped = index.get("weight_map")
    if isinstance(mapped, dict) and mapped:
        names = {file: header.names for file, header in zip(files, headers)}
        lost = sorted(str(tensor)[:100] for tensor, file in mapped.items() if tensor not in names[str(file)])
        if lost:
            missing = f"the tensor {lost[0]!r} and {len(lost) - 1} more of its index"
            raise StackError(SAFETENSORS_INCOMPLETE, name=name, missing=missing)
        return
    nested = config.get("text_config")
    count = _number({**config, **nested} if isinstance(nested, dict) else config, "num_hidden_layers")
    found = {int(match[1]) for header in headers for match in map(_LAYER.search, header.names) if match}
    # Who names layers otherwise is not asked for them.
    if found and count <= _MAX_LAYERS and not found.issuperset(range(count)):
        lost = [str(number) for number in range(count) if number not in found]
        missing = f"those with the layers {', '.join(lost[:5])}{' and more' if len(lost) > 5 else ''} of {count}"
        raise StackError(SAFETENSORS_INCOMPLETE, name=name, missing=missing)


def _one_to(count: str) -> range:
    return range(1, int(count) + 1)


def _number(config: Mapping[str, Any], *keys: str) -> int:
    """The first of several settings that is a whole number; 0 if none is."""
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 40:
            return value
    return 0


def summarize(headers: list[Header], config: Mapping[str, Any], has_template: bool) -> dict[str, Any]:
    """The same facts as of a GGUF; C(config) is the publisher's C(config.json)."""
    by_type: dict[str, int] = {}
    for header in headers:
        for kind, size in header.bytes_by_type.items():
            by_type[kind] = by_type.get(kind, 0) + size
    # Models that see or hear describe the part that writes apart.
    nested = config.get("text_config")
    text = {**config, **nested} if isinstance(nested, dict) else config
    given = config.get("quantization_config")
    method = str(plain(str(given.get("quant_method") or ""), 64)) if isinstance(given, dict) else ""
    layers, heads = _number(text, "num_hidden_layers", "n_layer"), _number(text, "num_attention_heads", "n_head")
    width = _number(text, "hidden_size", "n_embd")
    kv_heads = _number(text, "num_key_value_heads") or heads
    per_head = _number(text, "head_dim") or (width // heads if heads else 0)
    return {
        "version": 0,
        "architecture": str(plain(str(config.get("model_type") or ""), 64)),
        "name": "",
        "quantization": method or (max(by_type, key=lambda kind: by_type[kind]) if by_type else ""),
        "tensor_types": sorted(by_type),
        "parameters": sum(header.parameters for header in headers),
        "tensors": sum(len(header.names) for header in headers),
        "context_length": _number(text, "max_position_embeddings", "n_positions"),
        "block_count": layers,
        "embedding_length": width,
        "head_count": heads,
        "head_count_kv": kv_heads,
        # Keys and values, of two bytes each.
        "kv_bytes_per_token": layers * kv_heads * per_head * 2 * 2,
        "vocabulary": _number(text, "vocab_size"),
        "tokenizer": "",
        "chat_template": has_template,
        "shards": len(headers),
    }


def inspect_remote_set(
    files: Sequence[tuple[int, Callable[[int, int], bytes]]], config: bytes, name: str, has_template: bool
) -> dict[str, Any]:
    """Summarize SafeTensors that are not here: sizes in bytes and readers of the files, the publisher's config.json."""
    headers = [read_header(size, read_range, name) for size, read_range in files]
    try:
        settings = _parsed(config)
    except _Malformed:
        # That is said when the file is here.
        settings = {}
    return summarize(headers, settings if isinstance(settings, dict) else {}, has_template)


def inspect_remote(size: int, read_range: Callable[[int, int], bytes], name: str) -> dict[str, Any]:
    """Check and summarize a file that is not here."""
    return summarize([read_header(size, read_range, name)], {}, has_template=False)


def inspect_set(paths: Mapping[str, str], name: str) -> dict[str, Any]:
    """Check the structure of a repository's files, given by their names in it, and summarize the model.

    Raises StackError if a file is damaged or hostile, or if one is missing.
    """
    index = _small_json(paths, "model.safetensors.index.json", name)
    files = _check_complete(paths, index, name)
    headers = [_read_file(paths[file], f"{name}, file {file}") for file in files]
    config = _small_json(paths, "config.json", name)
    if "config.json" not in paths:
        tensors = [tensor for header in headers for tensor in header.names]
        if "adapter_config.json" in paths or any(".lora_A." in tensor for tensor in tensors):
            raise StackError(SAFETENSORS_ADAPTER, name=name)
        # Mistral's own form.
        if "params.json" not in paths:
            raise StackError(SAFETENSORS_INCOMPLETE, name=name, missing="config.json")
    if not any(file.endswith(".uqff") for file in paths):
        _check_tensors(files, headers, index, config, name)
    template = "chat_template.jinja" in paths or bool(
        _small_json(paths, "tokenizer_config.json", name).get("chat_template")
    )
    return summarize(headers, config, template)
