# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether one GGUF file, or several shards, are a whole model; a file of another host is read as far as needed.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_header import (
    GGUF_MALFORMED,
    ShortHeader,
    opened,
    parse_header,
    parse_start,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_summary import NO_MODEL, summarize

SHARDS_INCOMPLETE = Fault(
    "model.shards_incomplete",
    "{name}: {got} of its files are there, but its header says {want}.",
    "Use a source that has all of them: a repository, or a directory of this host with all of its files.",
)
SHARDS_MIXED = Fault(
    "model.shards_mixed",
    "{name}: its files are not those of one model in their order: {what}.",
    "Use a source whose files were split from one model and have kept their names.",
)
# Bytes of a remote file that are asked for at first, and at most.
_FIRST_WINDOW = 1 << 20
_LARGEST_STEP = 8 << 20
_LAST_WINDOW = 32 << 20


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
            parse_start(data, name)
            break
        except ShortHeader:
            if len(data) >= size:
                break
            if len(data) >= _LAST_WINDOW:
                what = f"it is larger than {_LAST_WINDOW >> 20} MiB, more than any real header"
                raise StackError(GGUF_MALFORMED, name=name, what=what) from None
        # Not by powers of two to the end: what is there and what comes must both fit into little memory.
        window = min(window * 2, window + _LARGEST_STEP, _LAST_WINDOW)
    return summarize(parse_header(data, size, name), data, name)
