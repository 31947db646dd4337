# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines by which the engine says why it ends, each with its meaning and what helps.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Most lines are recorded (C(tests/recordings/*/starts/), C(tests/unit/plugins/module_utils/_engine/engine_logs/)). The
others are cited as C(file@tag) of mistral.rs, or of candle, which reads GGUF files up to 0.9.0.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault


class Sign(NamedTuple):
    """A line of the engine's log and what it means; named groups of the pattern are put into the sentence."""

    pattern: re.Pattern[str]
    fault: Fault


def _sign(pattern: str, name: str, sentence: str, remedy: str) -> Sign:
    return Sign(re.compile(pattern), Fault(f"engine.{name}", sentence, remedy))


_FETCH_AGAIN = "Remove the file and run again, so that it is fetched and verified again; check 'source' and 'sha256'."
_OTHER_CONVERSION = "Use another GGUF conversion of this model, or its publisher's SafeTensors repository."
_CONFIGURE_AGAIN = "Run the role mistral_server again; it writes the file again."
REMAKE_IMAGE = "Remove the engine's container and image, then run the roles mistral_image and mistral_server again."

# Most telling first: a line is compared with them in this order.
SIGNS = (
    # The GPU, its driver and its memory.
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
        "Lower models.context_length, or use a smaller quantization. With one model raise gpu.memory_fraction; with "
        "several, serve fewer of them on these GPUs, or set gpu.allow_growth.",
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
        "The engine could not allocate more memory.",
        "Raise mistral_server_memory_limit, or use a smaller quantization or a smaller models.context_length.",
    ),
    # The model's file. candle: quantized/gguf_file.rs@0.10.2; from 0.9.1: mistralrs-quant/src/gguf/archive.rs@v0.9.2.
    # ggml, ggmf, ggjt and ggla, as candle prints the number and as the archive prints the bytes.
    _sign(
        r"unknown magic 0x6767(?:6d6c|6d66|6a74|6c61)|invalid GGUF magic \[(?:6c, 6d|66, 6d|74, 6a|61, 6c), 67, 67\]",
        "old_ggml_format",
        "The model file is in the GGML format used before August 2023, which the engine can't read.",
        "Use a GGUF conversion of this model.",
    ),
    _sign(
        r"invalid GGUF magic|unknown magic 0x[0-9a-f]+",
        "not_a_gguf",
        "The model file is not a GGUF file (often it is the error page of a failed download).",
        _FETCH_AGAIN,
    ),
    _sign(
        r"unsupported magic/version \w+/(?P<version>\d+)|unsupported GGUF version (?P<version_only>\d+)",
        "unsupported_gguf_version",
        "The engine can't read version {version} of the GGUF format.",
        "Use a GGUF of version 2 or 3, or a newer mistral_image_mistralrs_version.",
    ),
    _sign(
        r"big-endian GGUF tensor loading is not supported",
        "big_endian",
        "The model file is a GGUF for big-endian processors.",
        "Use the little-endian GGUF of this model.",
    ),
    _sign(
        r"outside file length \d+|beyond file length \d+|only \d+ remain|failed to fill whole buffer|"
        r"GGUF file is shorter than its magic|but its storage ends at \d+",
        "model_file_cut_off",
        "The model file is incomplete.",
        _FETCH_AGAIN,
    ),
    _sign(
        r"GGUF files? were supplied without split metadata|GGUF shards were supplied, but|missing GGUF split index|"
        r"GGUF shards (?:remain|disagree)|differing `split\.count` values",
        "shards_incomplete",
        "The files of the model do not belong together, or some of them are missing.",
        "Remove the model's directory from the store and run again, so that all of its files are fetched again.",
    ),
    # The second one: mistralrs-core/src/pipeline/gguf.rs@v0.6.0 to v0.9.0, for names that only its enum knows.
    _sign(
        r"Unknown (?:normal-model )?GGUF architecture `(?P<architecture>[^`]{1,60})`|"
        r"Unsupported architecture `(?P<architecture_only>[^`]{1,60})` for GGUF",
        "unknown_architecture",
        "This engine version does not know the model architecture {architecture!r}.",
        "Use a newer mistral_image_mistralrs_version (0.9.1 knows about 30 architectures), or another model.",
    ),
    # mistralrs-core/src/pipeline/gguf.rs@v0.9.1
    _sign(
        r"GGUF architecture `(?P<architecture>[^`]{1,60})` is supported only as a multimodal model",
        "projector_missing",
        "The engine loads GGUF files of the architecture {architecture!r} only with their projector (mmproj).",
        "Use the publisher's SafeTensors repository of this model (hf://org/repository), or another model.",
    ),
    # mistralrs-core/src/gguf/normal_registry.rs@v0.9.1
    _sign(
        r"appears to be a Mistral model, but the file does not encode whether sliding-window attention is required",
        "mistral_without_config",
        "The model calls itself Mistral, and this engine version loads it only with a config.json beside it.",
        "Run the roles mistral_models and mistral_server again: the store makes that file, the server puts it there.",
    ),
    _sign(
        r"GGUF architecture `[^`]{1,60}` (?:is missing|uses unsupported|requires an explicit|has no normal-model)|"
        r"[Ss]tandalone .{0,60}config (?:requires|cannot|does not)|"
        r"[Mm]odel config has `tie_word_embeddings=",
        "conversion_unsupported",
        "The engine can't load this conversion of the model.",
        _OTHER_CONVERSION,
    ),
    # candle: quantized/mod.rs@0.10.2; mistralrs-quant/src/gguf/weight_source.rs@v0.9.1 and archive.rs@v0.9.1
    _sign(
        r"unknown dtype for tensor|unsupported (?:GGUF|ggml) (?:dtype|type)|uses dtype \S+ \(\d+\) for native binding|"
        r"GGUF dtype \d+ is not supported|unsupported dtype for quantized matmul|"
        r"weights require the packed GGUF affine backend",
        "unsupported_quantization",
        "The engine can't read this file's quantization (the IQ kinds, for example).",
        "Use Q4_K_M, Q5_K_M, Q6_K or Q8_0.",
    ),
    _sign(
        r"(?:Local quantized model file|File) [`\"](?P<file>[^`\"]{1,120})[`\"] (?:(?:was )?not found|does not exist)",
        "model_file_missing",
        "The engine does not find the model file {file}.",
        "Check that it is in mistral_models_path and can be read by the user mistral, then run again.",
    ),
    # A directory that does not exist is taken for a repository of the hub. Recorded for 0.8.1 and 0.9.2; up to 0.6.0
    # mistralrs-core/src/pipeline/macros.rs@v0.6.0, with HF_HUB_OFFLINE mistralrs-core/src/pipeline/hf.rs@v0.9.0.
    _sign(
        r"`HF_HUB_OFFLINE` is set, so Hugging Face was not queried|on Hugging Face\b.* (?:while fetching|\(HTTP \d+\))|"
        r"Failed to access .* on Hugging Face|Could not get (?:file .*|directory listing) from API",
        "model_directory_missing",
        "The engine does not find the model's directory, and looked for a model of that name on Hugging Face.",
        "Run the role mistral_server again, so that the directory is made; check that mistral_models_path is mounted.",
    ),
    # Tokenizer and chat template.
    # mistralrs-core/src/pipeline/gguf.rs and gguf/gguf_tokenizer.rs@v0.9.1
    _sign(
        r"Tokenizer `[^`]{1,200}` is incompatible with the GGUF model vocabulary|"
        r"Tokenizer vocabulary has \d+ entries, but the GGUF model has \d+|"
        r"Tokenizer token ID \d+ is .{1,80}, but the GGUF model expects",
        "tokenizer_mismatch",
        "The tokenizer.json beside the model does not belong to it.",
        "Remove the .tokenizer.json beside the model in the store and run again: it is made again.",
    ),
    _sign(
        r"Tokenizer model `(?P<kind>[^`]{1,60})` not supported|"
        r"pre-tokenizer `(?P<kind_only>[^`]{1,60})` is not supported",
        "unknown_tokenizer",
        "This engine version does not know the kind of tokenizer that the model has ({kind}).",
        "Use a newer mistral_image_mistralrs_version, or another model.",
    ),
    _sign(
        r"Tokenizer is missing required props|GGUF tokenizer vocabulary is empty|"
        r"tokenizer is missing required metadata|token id \d+ is out of bounds for vocab size",
        "no_tokenizer",
        "The GGUF holds no complete tokenizer.",
        _OTHER_CONVERSION,
    ),
    _sign(
        r"Unable to extract `(?P<token>[^`]{1,60})` EOS token",
        "eos_token_unknown",
        "The token {token} that ends an answer is not in the model's vocabulary.",
        _OTHER_CONVERSION,
    ),
    _sign(
        r"Loading chat template failed",
        "chat_template_missing",
        "The engine can't read the chat template that it was given.",
        "Run the roles mistral_models and mistral_server again, so that the template is put beside the model.",
    ),
    # mistralrs-core/src/pipeline/paths.rs@v0.6.0
    _sign(
        r"Expected chat template file to end with \.json, or you can specify a tokenizer model ID",
        "no_chat_template",
        "The GGUF holds no chat template, and mistral.rs 0.6 does not start without one.",
        "Use a GGUF that holds one, or mistral_image_mistralrs_version 0.7.0 or later.",
    ),
    # What the role makes for the engine: its configuration and its command line.
    _sign(
        r"Failed to parse TOML config file|config files must be \.toml",
        "configuration_invalid",
        "The engine can't read its configuration file.",
        f"{_CONFIGURE_AGAIN} If it was not altered by hand, the image's mistral.rs is not the version it was made for.",
    ),
    _sign(
        r"Failed to read config file (?P<file>\S{1,200})",
        "configuration_missing",
        "The engine does not find its configuration file {file}.",
        _CONFIGURE_AGAIN,
    ),
    _sign(
        r"Config must define at least one model",
        "no_models",
        "The engine's configuration names no model.",
        f"List at least one model in mistral_models. {_CONFIGURE_AGAIN}",
    ),
    _sign(
        r"default_model_id '(?P<model>[^']{1,120})' does not match any model_id",
        "unknown_default_model",
        "The engine's default model {model} is not one of its models.",
        "Set mistral_server_default_model to one of mistral_models, then run the role mistral_server again.",
    ),
    _sign(
        r"Model ID conflict",
        "model_id_conflict",
        "Two models have the same id.",
        "Give the models of mistral_models different names or quantizations.",
    ),
    # clap's words, and its help where there is no command at all.
    _sign(
        r"^error: (?:unexpected argument|unrecognized subcommand|invalid value|a value is required|the argument|"
        r"the following required arguments)|^Usage: \S+ \[OPTIONS\] <COMMAND>",
        "arguments_invalid",
        "The engine does not understand its command line, which was made for another version of mistral.rs.",
        "Set mistral_image_mistralrs_version to the version in the image, then run the role mistral_server again.",
    ),
    # The host and the container.
    _sign(
        r"(?:Address already in use|EADDRINUSE|Errno 98|os error 98)",
        "port_in_use",
        "The engine's port is taken inside its container.",
        "Choose another mistral_server_port.",
    ),
    _sign(
        r"Permission denied|os error 13",
        "permission_denied",
        "The engine is not permitted to read one of its files.",
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
        r"error while loading shared libraries: (?P<library>[^\s:]{1,80})",
        "library_missing",
        "The engine image lacks the library {library}.",
        REMAKE_IMAGE,
    ),
    _sign(
        r"exec format error",
        "wrong_machine",
        "The engine image was built for another kind of processor.",
        "Use an image for this host's processor.",
    ),
)
