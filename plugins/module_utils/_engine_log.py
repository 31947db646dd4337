# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's last words mean, and what to do.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError


class Sign(NamedTuple):
    """A line of the engine's log and what it means; named groups of the pattern are put into the sentence."""

    pattern: re.Pattern[str]
    fault: Fault


def _sign(pattern: str, name: str, sentence: str, remedy: str) -> Sign:
    return Sign(re.compile(pattern), Fault(f"engine.{name}", sentence, remedy))


_FETCH_AGAIN = "Remove the file and run again, so that it is fetched and verified anew; check 'source' and 'sha256'."

# Most telling first: a line is compared with them in this order.
SIGNS = (
    _sign(
        r"CUDA_ERROR_UNSUPPORTED_PTX_VERSION|compiled with an unsupported toolchain",
        "driver_too_old",
        "The NVIDIA driver of this host is older than the CUDA version of the engine image.",
        "Update the driver, or use an image of an older CUDA version (nvidia-smi shows the newest possible).",
    ),
    _sign(
        r"CUDA_ERROR_INVALID_PTX|CUDA_ERROR_NO_BINARY_FOR_GPU|named symbol not found",
        "wrong_compute_capability",
        "The engine image was built for another kind of GPU than the one in this host.",
        "Build the image for the compute capability of this GPU (8.0 or newer).",
    ),
    _sign(
        r"Unable to dynamically load the \"cuda\" shared library|CUDA_ERROR_NO_DEVICE|libcuda\.so",
        "no_gpu_in_container",
        "The engine image needs a GPU, but the container has none.",
        "Install the NVIDIA driver and container toolkit and list the GPUs in mistral_server_gpus, or use a CPU image.",
    ),
    _sign(
        r"Num GPU blocks is 0",
        "no_room_for_kv_cache",
        "The GPU's memory holds the model, but nothing is left for the context (KV cache).",
        "Lower models.context_length, raise gpu.memory_fraction, set gpu.allow_growth, or use a smaller quantization.",
    ),
    _sign(
        r"does not fit on the devices .*exceeds total capacity by (?P<excess>\d+ ?MB)",
        "model_too_big",
        "The model does not fit into the memory of the GPUs: {excess} too much.",
        "Use a smaller quantization or model, lower models.context_length, or add GPUs to gpu.devices.",
    ),
    _sign(
        r"CUDA_ERROR_OUT_OF_MEMORY",
        "gpu_out_of_memory",
        "The GPU's memory is full.",
        "Stop what else uses it (nvidia-smi shows it), lower gpu.memory_fraction, models.context_length or "
        "inference.batch_size, or use a smaller quantization.",
    ),
    _sign(
        r"memory allocation of \d+ bytes failed|Cannot allocate memory",
        "out_of_memory",
        "The engine got no more memory.",
        "Raise mistral_server_memory_limit, or use a smaller quantization or a smaller models.context_length.",
    ),
    _sign(
        r"invalid GGUF magic",
        "not_a_gguf",
        "The model file is not a GGUF file (often it is the error page of a failed download).",
        _FETCH_AGAIN,
    ),
    _sign(
        r"outside file length \d+|needs at least \d+ bytes, only \d+ remain|failed to fill whole buffer",
        "model_file_cut_off",
        "The model file is incomplete.",
        _FETCH_AGAIN,
    ),
    _sign(
        r"Unknown (?:normal-model )?GGUF architecture `(?P<architecture>[^`]{1,60})`",
        "unknown_architecture",
        "This engine version does not know the model architecture {architecture!r}.",
        "Use a newer mistral_image_mistralrs_version (0.9.1 knows about 30 architectures), or another model.",
    ),
    _sign(
        r"unknown dtype for tensor|unsupported (?:GGUF|ggml) (?:dtype|type)",
        "unsupported_quantization",
        "The engine can't read this file's quantization (the IQ kinds, for example).",
        "Use Q4_K_M, Q5_K_M, Q6_K or Q8_0.",
    ),
    _sign(
        r"(?i)tokenizer.*(?:does not match|mismatch|vocab)",
        "tokenizer_mismatch",
        "The tokenizer.json beside the model does not belong to it.",
        "Remove the .tokenizer.json beside the model in the store and run again: it is made anew.",
    ),
    _sign(
        r"Model ID conflict",
        "model_id_conflict",
        "Two models have the same id.",
        "Give the models of mistral_models different names or quantizations.",
    ),
    _sign(
        r"File [`\"](?P<file>[^`\"]{1,120})[`\"] (?:was )?not found|quantized model file `(?P<file_only>[^`]{1,120})`",
        "model_file_missing",
        "The engine does not find the model file {file}.",
        "Check that it is in mistral_models_path and can be read by the user mistral, then run again.",
    ),
    _sign(
        r"(?:Address already in use|EADDRINUSE|Errno 98|os error 98)",
        "port_in_use",
        "The engine's port is taken inside its container.",
        "Choose another mistral_server_port.",
    ),
    _sign(
        r"Permission denied|os error 13",
        "permission_denied",
        "The engine may not read one of its files.",
        "Make the models and their directory readable for the user mistral (files 0644, directories 0755).",
    ),
    _sign(
        r"Read-only file system|os error 30",
        "read_only",
        "The engine tried to write outside of /tmp, and its file system is read-only.",
        "This is a defect of the image or of this collection: please report it with these lines.",
    ),
    _sign(
        r"No space left on device|os error 28",
        "tmp_full",
        "The engine's /tmp is full.",
        "Raise mistral_server_tmp_size.",
    ),
    _sign(
        r"exec format error",
        "wrong_machine",
        "The engine image was built for another kind of processor.",
        "Use an image for this host's processor.",
    ),
)

OOM_KILLED = Fault(
    "engine.oom_killed",
    "The kernel killed the engine because it used more memory than its limit.",
    "Raise mistral_server_memory_limit, or use a smaller quantization or a smaller models.context_length.",
)
# What an exit code says when no line does.
EXIT_CODES = {
    101: Fault("engine.panic", "The engine ended with an internal error.", "Its last lines say where."),
    126: Fault("engine.not_executable", "The image's program can't be run.", "Make the image anew."),
    127: Fault("engine.program_missing", "The image lacks the engine's program.", "Make the image anew."),
    132: Fault(
        "engine.illegal_instruction",
        "The engine was built for a newer processor than this host's.",
        "Build the image on this host, or for a generic processor.",
    ),
    134: Fault("engine.aborted", "The engine aborted.", "Its last lines say why."),
    137: Fault("engine.killed", "Something killed the engine.", "Look into the host's journal."),
    139: Fault("engine.crashed", "The engine crashed.", "Try another mistral_image_mistralrs_version."),
    143: Fault("engine.stopped", "Something stopped the engine.", "Look into the host's journal."),
}
UNEXPLAINED = Fault("engine.ended", "The engine ended.", "Its last lines say why.")

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Frames of a backtrace tell developers where, and drown what happened: everything indented belongs to one.
_FRAME = re.compile(r"\s|\d+: |stack backtrace:|Traceback |\Z")


def clean(text: str) -> list[str]:
    """The lines of a log without colours and backtraces."""
    lines = (_COLOUR.sub("", line).rstrip() for line in text.splitlines())
    return [line for line in lines if not _FRAME.match(line)]


class Finding(NamedTuple):
    """What the engine died of, and the lines that say so."""

    error: StackError
    quote: list[str]


def diagnose(
    text: str, exit_code: int | None = None, oom_killed: bool = False, quoted: int = 6, width: int = 300
) -> Finding:
    """Explain why the engine ended: by its own words (the last telling ones), else by the way it ended."""
    lines = clean(text)

    def quote(start: int, end: int) -> list[str]:
        return [line[:width] for line in lines[max(start, end - quoted) : end]]

    if oom_killed:
        return Finding(StackError(OOM_KILLED), quote(0, len(lines)))
    for position in range(len(lines) - 1, -1, -1):
        for sign in SIGNS:
            match = sign.pattern.search(lines[position])
            if match:
                groups = {name: value for name, value in match.groupdict().items() if value is not None}
                if "file_only" in groups:
                    groups["file"] = groups["file_only"]
                # An engine that is started again and again dies of the same each time: once is enough.
                before = [index for index in range(position) if sign.pattern.search(lines[index])]
                start = before[-1] + 1 if before else 0
                return Finding(StackError(sign.fault, **groups), quote(start, position + 1))
    fault = EXIT_CODES.get(exit_code, UNEXPLAINED) if exit_code is not None else UNEXPLAINED
    return Finding(StackError(fault), quote(0, len(lines)))
