# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels of quantizations in names of files, and the files that belong together.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# llama.cpp's way to find a quantization: the label, then a dash or a dot (common/download.cpp).
_LABEL = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q[1-8](?:_[0-9KX](?:_(?:XXS|XS|S|M|L|XL))?|_(?:XXS|XS|S|M|NL))?|MXFP4(?:_MOE)?|NVFP4|"
    r"BF16|F16|FP16|F32|FP32|TQ[12]_0))(?=[-.]|$)",
    re.IGNORECASE,
)
_SHARD = re.compile(r"(?P<stem>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf\Z", re.IGNORECASE)
_BYTE_SPLIT = re.compile(r"\.gguf(?:-split-[a-z]+|\.part\d+of\d+)\Z", re.IGNORECASE)
_NO_MODELS = re.compile(r"mmproj|imatrix|(?:^|[-_/.])(?:mtp|eagle3|dflash|dspark)-", re.IGNORECASE)


def plain(label: str) -> str:
    """A label as llama.cpp writes it; names of files and people also say FP16 and FP32."""
    return label.upper().replace("FP16", "F16").replace("FP32", "F32")


def label_of(path: str) -> str:
    """The quantization that a file's name says, in upper case; '' if it says none."""
    stem = path.rpartition("/")[2]
    shard = _SHARD.match(stem)
    found = _LABEL.findall(f"{shard['stem']}." if shard else stem)
    # A folder may carry the label in the file's place.
    found = found or _LABEL.findall(path.rpartition("/")[0] + ".")
    return plain(str(found[-1])) if found else ""


def is_model(path: str) -> bool:
    """Whether a GGUF file is a model, or a shard of one; not a projector, draft head or matrix."""
    return path.lower().endswith(".gguf") and not _NO_MODELS.search(path)


def is_byte_split(path: str) -> bool:
    """Whether a file is a piece of a GGUF that was cut like any file, which has to be put together by hand."""
    return bool(_BYTE_SPLIT.search(path))


def shard_of(path: str) -> tuple[str, int, int] | None:
    """The common part, number and count of a shard of a split GGUF."""
    match = _SHARD.match(path)
    return (match["stem"], int(match["index"]), int(match["count"])) if match else None


def models(paths: Iterable[str]) -> dict[str, list[str]]:
    """The GGUF models among files: name of the single file, or common part of a split one, and its files in order."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        if is_model(path):
            shard = shard_of(path)
            found.setdefault(shard[0] if shard else path, []).append(path)
    return found
