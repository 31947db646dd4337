# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which GGUF files a version of mistral.rs can load.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Architectures are in the table of versions.

Sources for types: C(from_u32) in candle's C(candle-core/src/quantized/mod.rs), the same in EricLBuehler's fork (v0.6.0)
and in 0.10.2 (v0.8.0); C(validate_binding_storage) in C(mistralrs-quant/src/gguf/weight_source.rs) of v0.9.1 and
v0.9.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import ROWS, row_of
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import parse, text_of

UNSUPPORTED_QUANTIZATION = Fault(
    "model.unsupported_quantization",
    "Model {name}: tensors of the type {type} can't be loaded by mistral.rs {version}.",
    "Use a quantization out of Q2_K to Q8_0, such as q4_k_m.",
)
UNSUPPORTED_ARCHITECTURE = Fault(
    "model.unsupported_architecture",
    "Model {name}: GGUF files of the architecture {architecture!r} can't be loaded by mistral.rs {version}.",
    "Use another model, or the publisher's SafeTensors repository of this one (hf://org/repository).",
)
ENGINE_TOO_OLD = Fault(
    "model.engine_too_old",
    "Model {name}: GGUF files of the architecture {architecture!r} can't be loaded by mistral.rs {version}.",
    "Use mistral.rs {since} or later, or another model.",
)
PROJECTOR_MISSING = Fault(
    "model.projector_missing",
    "Model {name}: GGUF files of the architecture {architecture!r} can't be loaded by mistral.rs {version} without "
    "their projector (mmproj), which the store does not hold.",
    "Use the publisher's SafeTensors repository of this model (hf://org/repository).",
)

ENGINE_VERSION_INVALID = Fault(
    "model.engine_version_invalid",
    "The engine version {version!r}, for which models are checked, is not a version of mistral.rs.",
    "Set mistral_models_engine_version to three numbers such as 0.9.2, or to '' to skip this check.",
)

# Without Q8_1 and Q8_K, which hold sums in between and which no tool writes into files. With CUDA they are read and
# then can't be multiplied: dequantize_mul_mat_vec and mul_mat_vec_via_q8_1 in candle-core/src/quantized/cuda.rs@0.10.2
# ("unsupported dtype for quantized matmul"), forward_raw in mistralrs-quant/src/gguf/mod.rs@v0.9.2 ("require the packed
# GGUF affine backend", which is off by default).
_TYPES = frozenset(
    ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
)
# Only the experts of GPT-OSS are read in it: bind_block_tensor in mistralrs-core/src/gguf/normal_bindings.rs@v0.9.1.
_MXFP4 = "MXFP4"
_WITH_MXFP4 = "gpt-oss"
# A label names a mixture: UD-Q8_K_XL holds Q8_0. Q4_0_4_4 and its like are of types that the format has given up.
_LABEL = re.compile(r"(?:UD-)?(?:Q[2-8]_(?!0_\d_\d)|B?F16|F32|MXFP4)", re.IGNORECASE)


def is_loadable_label(label: str, architecture: str = "") -> bool:
    """Whether the engine can load files with this quantization's label, as far as a label tells it.

    Without C(architecture) that of the model is not known.
    """
    if not _LABEL.match(label):
        return False
    return not label.upper().startswith(_MXFP4) or architecture in ("", _WITH_MXFP4)


def check(summary: Mapping[str, Any], engine_version: str, name: str) -> None:
    """Refuse a GGUF, given the summary of its header, that this version of the engine can't load."""
    version = parse(engine_version)
    if not version:
        raise StackError(ENGINE_VERSION_INVALID, version=engine_version)
    architecture = str(summary.get("architecture") or "")
    types = _TYPES | {_MXFP4} if architecture == _WITH_MXFP4 else _TYPES
    unknown = [kind for kind in summary.get("tensor_types") or [] if kind not in types]
    if unknown:
        raise StackError(UNSUPPORTED_QUANTIZATION, name=name, type=unknown[0], version=engine_version)
    supported = row_of(version).gguf
    if architecture in supported.with_projector:
        raise StackError(PROJECTOR_MISSING, name=name, architecture=architecture, version=engine_version)
    if architecture in supported.architectures:
        return
    later = [row for row in ROWS if row.since > version and architecture in row.gguf.architectures]
    if later:
        since = text_of(later[0].since)
        raise StackError(ENGINE_TOO_OLD, name=name, architecture=architecture, version=engine_version, since=since)
    raise StackError(UNSUPPORTED_ARCHITECTURE, name=name, architecture=architecture, version=engine_version)
