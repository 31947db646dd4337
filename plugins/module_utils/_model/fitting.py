# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model fits the GPUs: an estimate of the memory that it takes, and the best quantization that fits.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

All sizes are in bytes. The estimate is::

    weights + KV cache + max(512 MiB, 2 % of the GPUs' memory) + 512 MiB for each GPU

- KV cache: tokens of context x sequences x F16 keys and values of all attention layers (C(kv_bytes_per_token), the
  formula of llama.cpp, gguf-parser-go and mistral.rs's C(tune)).
- The reserve is mistral.rs's own (C(tune): 2 % of what is available, at least 512 MiB).
- Activations and CUDA's context take about 512 MiB on each GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model import gguf_support

DOES_NOT_FIT = Fault(
    "model.does_not_fit",
    "Model {name}: {label} needs about {need} of GPU memory ({weights} for the weights, {kv} for {tokens} tokens of "
    "context), but the host's GPUs have {have}.",
    "Nearest choice: {nearest}.",
)
NO_QUANTIZATION = Fault(
    "model.no_quantization",
    "Model {name}: its source has no quantization to choose from that mistral.rs can load.",
    "Name the file in 'source', or use a repository with GGUF files.",
)

_MIB = 1 << 20
_RESERVE = 512 * _MIB
_ACTIVATIONS = 512 * _MIB
_DEFAULT_CONTEXT = 4096
# Bits of each parameter, embeddings included, as llama.cpp measured them (tools/quantize/README.md, Llama 3.1 8B).
BITS_PER_WEIGHT = {
    "Q2_K": 3.1593,
    "Q3_K_S": 3.6429,
    "Q3_K_M": 3.9960,
    "Q3_K_L": 4.2979,
    "MXFP4": 4.25,
    "Q4_0": 4.6672,
    "Q4_K_S": 4.6672,
    "Q4_K_M": 4.8944,
    "Q4_1": 5.1,
    "Q5_0": 5.5704,
    "Q5_K_S": 5.5704,
    "Q5_K_M": 5.7036,
    "Q5_1": 6.0,
    "Q6_K": 6.5633,
    "Q8_0": 8.5008,
    "F16": 16.0005,
    "BF16": 16.0005,
    "F32": 32.0,
}
# Twice the size of Q8_0 for nothing that can be measured: chosen only if there is nothing else.
_UNQUANTIZED = ("F16", "BF16", "F32")


# Bits of each parameter in SafeTensors that the engine can quantize when it loads them; F32 it loads as BF16.
_STORED_BITS = {"BF16": 16, "F16": 16, "F32": 32}
# The labels of these that the engine quantizes to on the way.
IN_SITU = ("Q2_K", "Q3_K_M", "Q4_0", "Q4_1", "Q4_K_M", "Q5_0", "Q5_1", "Q5_K_M", "Q6_K", "Q8_0")
_AS_STORED = ("", "SAFETENSORS", *_UNQUANTIZED)


class Candidate(NamedTuple):
    """A quantization of a model: its label, the size of its files in bytes, the summary of a header."""

    label: str
    bytes: int
    summary: dict[str, Any]


class Need(NamedTuple):
    """An estimate of GPU memory in bytes; C(context) is in tokens."""

    weights: int
    kv: int
    reserve: int
    context: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.reserve


def weights(parameters: int, label: str) -> int | None:
    """The size in bytes of a model with so many parameters; None if the label is not known."""
    bits = BITS_PER_WEIGHT.get(label.upper())
    return None if bits is None else round(parameters * bits / 8)


def loaded_bytes(size: int, stored: str, label: str) -> int | None:
    """What SafeTensors of C(size) bytes and the type C(stored) take once the engine has loaded them as C(label) says.

    None if the label is not known. What was quantized before it was stored stays as it is.
    """
    bits = _STORED_BITS.get(stored.upper())
    if bits is None:
        return size
    asked = label.upper()
    if asked in _AS_STORED:
        return size * 16 // bits
    each = BITS_PER_WEIGHT.get(asked, BITS_PER_WEIGHT.get(f"{asked}_M"))
    return None if each is None else round(size * each / bits)


def context_tokens(summary: dict[str, Any], context_length: int) -> int:
    """The context to keep memory for: as asked for, or what the model was made for, up to 4096 tokens."""
    native = int(summary.get("context_length") or 0)
    if context_length:
        return context_length
    return min(native, _DEFAULT_CONTEXT) if native else _DEFAULT_CONTEXT


def estimate(candidate: Candidate, gpu_memory: Sequence[int], context_length: int, batch_size: int) -> Need:
    """What a model takes on GPUs of this memory, each in bytes."""
    tokens = context_tokens(candidate.summary, context_length)
    per_token = int(candidate.summary.get("kv_bytes_per_token") or 0)
    reserve = max(_RESERVE, sum(gpu_memory) * 2 // 100) + _ACTIVATIONS * max(1, len(gpu_memory))
    return Need(candidate.bytes, per_token * tokens * max(1, batch_size), reserve, tokens)


def longest_context(candidate: Candidate, gpu_memory: Sequence[int], batch_size: int) -> int:
    """The longest context that leaves the model room, in tokens; 0 if even the weights don't fit."""
    need = estimate(candidate, gpu_memory, 1, batch_size)
    left = sum(gpu_memory) - need.weights - need.reserve
    per_token = int(candidate.summary.get("kv_bytes_per_token") or 0) * max(1, batch_size)
    if left <= 0:
        return 0
    native = int(candidate.summary.get("context_length") or 0)
    longest = left // per_token if per_token else native
    return min(longest, native) if native else longest


def readable(count: int) -> str:
    """A size for people, in GB."""
    return f"{count / 1e9:.1f} GB"


def rank(candidate: Candidate) -> tuple[bool, int]:
    """How good a quantization of a model is: more bytes of the same parameters are more of the original."""
    return (candidate.label.upper() not in _UNQUANTIZED, candidate.bytes)


def _nearest(candidates: Iterable[Candidate], gpu_memory: Sequence[int], batch_size: int, context: int) -> str:
    """What would fit, in words."""
    smallest = min(candidates, key=lambda candidate: candidate.bytes)
    longest = longest_context(smallest, gpu_memory, batch_size)
    # A context below this is of no use to anyone.
    if 512 <= longest < context:
        return f"{smallest.label} with a context of at most {longest // 256 * 256} tokens"
    need = estimate(smallest, gpu_memory, context, batch_size)
    return f"a smaller model, or GPUs with {readable(need.total)}"


def loadable(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those that the engine can load, best first."""
    known = [
        candidate
        for candidate in candidates
        if gguf_support.is_loadable_label(candidate.label, str(candidate.summary.get("architecture") or ""))
    ]
    return sorted(known, key=rank, reverse=True)


def best(candidates: Sequence[Candidate], gpu_memory: Sequence[int], context: int, batch: int) -> Candidate | None:
    """The best of the candidates that fits; None if none does."""
    for candidate in loadable(candidates):
        if estimate(candidate, gpu_memory, context, batch).total <= sum(gpu_memory):
            return candidate
    return None


def choose(
    candidates: Sequence[Candidate], gpu_memory: Sequence[int], context_length: int, batch_size: int, name: str
) -> Candidate:
    """The best of the candidates that fits; without GPUs to look at, Q4_K_M or the one next to it in size.

    Raises StackError if none can be loaded, or if none fits, with the nearest choice that does.
    """
    known = loadable(candidates)
    if not known:
        raise StackError(NO_QUANTIZATION, name=name)
    if not gpu_memory:
        middle = [candidate for candidate in known if candidate.label.upper() == "Q4_K_M"]
        return middle[0] if middle else min(known, key=lambda candidate: candidate.bytes)
    found = best(known, gpu_memory, context_length, batch_size)
    if found is None:
        raise refusal(known[-1], known, gpu_memory, context_length, batch_size, name)
    return found


def refusal(
    asked: Candidate,
    others: Sequence[Candidate],
    gpu_memory: Sequence[int],
    context_length: int,
    batch_size: int,
    name: str,
) -> StackError:
    """Why a candidate is refused, with the nearest of the others that fits."""
    need = estimate(asked, gpu_memory, context_length, batch_size)
    fitting = best(others, gpu_memory, context_length, batch_size)
    nearest = (
        f"quantization {fitting.label.lower()}"
        if fitting
        else _nearest([asked, *others], gpu_memory, batch_size, need.context)
    )
    return StackError(
        DOES_NOT_FIT,
        name=name,
        label=asked.label or "it",
        need=readable(need.total),
        weights=readable(need.weights),
        kv=readable(need.kv),
        tokens=need.context * max(1, batch_size),
        have=readable(sum(gpu_memory)),
        nearest=nearest,
    )
