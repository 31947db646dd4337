"""Recorded lines of the engine are explained."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.diagnose import EXIT_CODES, SIGNS, clean, diagnose

RECORDED = Path(__file__).parent / "engine_logs"
RECORDINGS = Path(__file__).parents[4] / "recordings"
STARTS = sorted(RECORDINGS.glob("mistralrs-*/starts/*.json"))
# Which sign each failing start must have; what is not listed must be a start that succeeds.
EXPECTED = {
    "broken-toml": "configuration_invalid",
    "cut-header": "model_file_cut_off",
    "empty": "model_file_cut_off",
    "missing-file": "model_file_missing",
    "missing-folder": "model_directory_missing",
    "named-mistral": "mistral_without_config",
    "no-arguments": "arguments_invalid",
    "no-configuration": "configuration_missing",
    "no-device": "no_gpu_in_container",
    "no-models": "no_models",
    "no-tokenizer-model": "no_tokenizer",
    "old-magic": "old_ggml_format",
    "port-taken": "port_in_use",
    "same-model-twice": "model_id_conflict",
    "template-file": "chat_template_missing",
    "text": "not_a_gguf",
    "tokenizer-named-wrong": "tokenizer_mismatch",
    "truncated": "model_file_cut_off",
    "two-models-fraction": "no_room_for_kv_cache",
    "unknown-arch": "unknown_architecture",
    "unknown-default": "unknown_default_model",
    "unknown-flag": "arguments_invalid",
    "unknown-tokenizer": "unknown_tokenizer",
    "version-9": "unsupported_gguf_version",
    "wrong-type": "configuration_invalid",
}
# The recorder stopped before this last line of standard error came; the start was repeated with the same crate.
LOST = {
    "mistralrs-0.8.1-same-model-twice": "Error: Model ID conflict: 'good' is already registered (config key: good).",
}


def start_name(path: Path) -> str:
    return f"{path.parts[-3]}-{path.stem}"


def read_start(path: Path) -> dict[str, Any]:
    start: dict[str, Any] = json.loads(path.read_text())
    return {**start, "log": "\n".join([*start["log"], LOST.get(start_name(path), "")])}


FAILED = [path for path in STARTS if read_start(path)["listening"] is None]
SUCCEEDED = [path for path in STARTS if path not in FAILED]


def test_the_recorded_starts_are_all_known() -> None:
    assert len(FAILED) == 46, [start_name(path) for path in FAILED]
    assert {path.stem for path in FAILED} == set(EXPECTED)


@pytest.mark.parametrize("path", FAILED, ids=start_name)
def test_recorded_failing_starts(path: Path) -> None:
    start = read_start(path)
    finding = diagnose(start["log"], start["rc"])
    assert finding.error.id == f"engine.{EXPECTED[path.stem]}"
    # All values of the sentence came from the line, and the remedy tells somebody to do something.
    assert not re.search(r"\{\w+\}|None", str(finding.error))
    assert re.match(r"[A-Z][a-z]+ ", finding.error.fault.remedy)
    assert any(sign.pattern.search(line) for sign in SIGNS for line in finding.quote)


@pytest.mark.parametrize("path", SUCCEEDED, ids=start_name)
def test_recorded_good_starts_show_no_sign(path: Path) -> None:
    start = read_start(path)
    assert start["ended_by_sigterm_with"] == -15
    assert diagnose(start["log"]).error.id == "engine.ended"


# The log of a start, of all recorded requests (some of which fail) and of a client that left.
@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("mistralrs-*/log.txt")), ids=lambda path: path.parent.name)
def test_recorded_good_logs_show_no_sign(path: Path) -> None:
    assert diagnose(path.read_text()).error.id == "engine.ended"


def test_what_is_harmless_is_not_taken_for_the_cause() -> None:
    """What a host with another fault would show: the recorded warning of an ignored tokenizer, then its end."""
    warned = read_start(RECORDINGS / "mistralrs-0.9.2+7" / "starts" / "wrong-tokenizer.json")["log"]
    assert "does not match the GGUF vocabulary" in warned
    assert diagnose(warned, 137).error.id == "engine.killed"
    # The engine prints the GGUF's own words, which may be anything (recorded at 0.8.1: "general.name: Smollm2 …").
    good = read_start(RECORDINGS / "mistralrs-0.8.1" / "starts" / "good.json")["log"]
    named = re.sub(r"(?m)^general\.name: .*$", "general.name: CUDA_ERROR_OUT_OF_MEMORY", good)
    assert named != good
    assert diagnose(named, 101).error.id == "engine.panic"


def test_an_error_that_was_survived_counts_less_than_the_last_words() -> None:
    """As in the recorded log.txt of 0.8.1, "ERROR … - Model failed with error: …" is an answer that failed."""
    survived = (
        "2026-11-26T23:48:25.123192Z ERROR mistralrs_core::engine: completion step - Model failed with error: "
        'DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")'
    )
    assert diagnose(survived, 139).error.id == "engine.gpu_out_of_memory"
    assert diagnose(f"Error: Address already in use (os error 98)\n{survived}").error.id == "engine.port_in_use"


def test_reasons_are_quoted_with_the_error() -> None:
    start = read_start(RECORDINGS / "mistralrs-0.9.2+7" / "starts" / "broken-toml.json")
    assert diagnose(start["log"]).quote == [
        "Error: Failed to parse TOML config file",
        "Caused by:",
        "TOML parse error at line 23, column 3",
        "23 | [[[",
        "unquoted keys cannot be empty, expected letters, numbers, `-`, `_`",
    ]
    text = "Error: Failed to read config file /c.toml\n\nCaused by:\n    Permission denied (os error 13)\n"
    finding = diagnose(f"{text}\nStack backtrace:\n   0: anyhow::error\n             at /x.rs:1\n")
    assert finding.error.id == "engine.permission_denied"
    assert finding.quote[-1] == "Permission denied (os error 13)"


# Whole logs, recorded from mistralrs 0.9.5 with RUST_BACKTRACE on.
@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.txt")), ids=lambda path: f"mistralrs-0.9.5-{path.stem}")
def test_recorded_logs(path: Path) -> None:
    finding = diagnose(path.read_text(), exit_code=1)
    assert finding.error.id == f"engine.{path.stem}"
    assert finding.quote[-1].startswith("ValueError: ")
    assert not any("bt" in line.split("::") or line.startswith(" ") for line in finding.quote)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")', "gpu_out_of_memory"),
        (
            'DriverError(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "the provided PTX was compiled with an unsupported '
            'toolchain.")',
            "driver_too_old",
        ),
        ('DriverError(CUDA_ERROR_INVALID_PTX, "a PTX JIT compilation failed")', "wrong_compute_capability"),
        ('DriverError(CUDA_ERROR_NOT_FOUND, "named symbol not found")', "wrong_compute_capability"),
        ('Unable to dynamically load the "cuda" shared library - searched for library names', "no_gpu_in_container"),
        ('DriverError(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected")', "no_gpu_in_container"),
        (
            "Num GPU blocks is 0. This means there is not enough memory. Either reduce the memory "
            "amount/utilization/context size or disable PagedAttention.",
            "no_room_for_kv_cache",
        ),
        (
            "This model does not fit on the devices [Cuda(0)], and exceeds total capacity by 1234MB. Auto device "
            "mapping params: text[max_seq_len: 4096]",
            "model_too_big",
        ),
        ("Unknown GGUF architecture `falcon-h1`", "unknown_architecture"),
        # candle: candle-core/src/quantized/mod.rs@0.10.2 (engines 0.6.0 to 0.9.0)
        ("unknown dtype for tensor 23", "unsupported_quantization"),
        # mistralrs-quant/src/gguf/weight_source.rs@v0.9.1
        (
            "GGUF tensor `blk.0.attn_q.weight` uses dtype IQ4_XS (23) for native binding "
            "`model.layers.0.self_attn.q_proj.weight`; direct GGUF loading currently supports F32, F16, BF16, Q4_0, "
            "Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, and Q2_K through Q8_K, while MXFP4 is supported only through its explicit "
            "GPT-OSS binding",
            "unsupported_quantization",
        ),
        # mistralrs-quant/src/gguf/archive.rs@v0.9.1
        ("GGUF dtype 39 is not supported by Candle", "unsupported_quantization"),
        # mistralrs-quant/src/gguf/mod.rs@v0.9.2
        (
            "CUDA Q8K weights require the packed GGUF affine backend with a tile-compatible shape",
            "unsupported_quantization",
        ),
        # mistralrs-core/src/pipeline/gguf.rs@v0.6.0 to v0.9.0
        ("Error: Unsupported architecture `Mpt` for GGUF", "unknown_architecture"),
        # mistralrs-core/src/pipeline/gguf.rs@v0.9.1
        (
            "Error: GGUF architecture `gemma3n` is supported only as a multimodal model. Pass its companion projector "
            "with `--mmproj <file>`, or load from a GGUF repository that publishes one; text-only `gemma3n` "
            "checkpoints are not supported",
            "projector_missing",
        ),
        # mistralrs-core/src/gguf/normal_registry.rs@v0.9.1
        (
            "Error: GGUF architecture `glm4` uses unsupported metadata `{arch}.rope.dimension_sections`",
            "conversion_unsupported",
        ),
        (
            "Error: GGUF architecture `deepseek2` requires an explicit normal loader override: deepseekv3, glm4moelite",
            "conversion_unsupported",
        ),
        # mistralrs-core/src/gguf/normal_config.rs@v0.9.1
        (
            "Error: Standalone Gemma config cannot reconstruct this GGUF's RoPE scaling from metadata alone; provide "
            "the original Hugging Face config",
            "conversion_unsupported",
        ),
        (
            "Error: Model config has `tie_word_embeddings=true`, but GGUF `output.weight` is present; expected "
            "`tie_word_embeddings=false`",
            "conversion_unsupported",
        ),
        # candle: candle-core/src/quantized/gguf_file.rs@0.10.2, as mistralrs-core/src/gguf/content.rs@v0.8.0 shows it
        ("Check whether your current quantization format is supported: unknown magic 0x67676d6c", "old_ggml_format"),
        # mistralrs-quant/src/gguf/archive.rs@v0.9.1: the same four bytes in the file's order
        ('Error: path: "m.gguf" invalid GGUF magic [6c, 6d, 67, 67]', "old_ggml_format"),
        ("big-endian GGUF tensor loading is not supported", "big_endian"),
        ("Error: 1 GGUF shards were supplied, but split metadata declares 2", "shards_incomplete"),
        ("GGUF needs 8 bytes at offset 40, only 3 remain", "model_file_cut_off"),
        # mistralrs-core/src/pipeline/paths.rs@v0.6.0
        (
            "Expected chat template file to end with .json, or you can specify a tokenizer model ID to load the chat "
            "template there. If you are running a GGUF model, it probably does not contain a chat template.",
            "no_chat_template",
        ),
        # mistralrs-core/src/pipeline/chat_template.rs@v0.6.0
        ("Unable to extract `</s>` EOS token.", "eos_token_unknown"),
        # mistralrs-core/src/gguf/gguf_tokenizer.rs@v0.9.1: strict ids
        ('Tokenizer token ID 3 is Some("x"), but the GGUF model expects "y"', "tokenizer_mismatch"),
        ("Tokenizer vocabulary has 32000 entries, but the GGUF model has 32768", "tokenizer_mismatch"),
        ("GGUF BPE pre-tokenizer `superbpe` is not supported for standalone conversion; use", "unknown_tokenizer"),
        ("`llama` unigram tokenizer is missing required metadata `tokenizer.ggml.scores`", "no_tokenizer"),
        # mistralrs-core/src/pipeline/macros.rs@v0.6.0
        ('Could not get file "tokenizer_config.json" from API: RequestError(Transport)', "model_directory_missing"),
        # mistralrs-core/src/pipeline/hf.rs@v0.9.0
        (
            "`HF_HUB_OFFLINE` is set, so Hugging Face was not queried. No local Hugging Face snapshot was found for "
            "`m` (revision `main`).",
            "model_directory_missing",
        ),
        # mistralrs-core/src/pipeline/hf.rs@v0.7.0
        (
            "Error: Could not access `m` on Hugging Face (HTTP 401) while fetching `m.gguf`. You may need to run "
            "`mistralrs login` or set HF_TOKEN.",
            "model_directory_missing",
        ),
        # clap 4, which the command line is made with
        ("error: the following required arguments were not provided:", "arguments_invalid"),
        # glibc's dynamic loader
        (
            "mistralrs: error while loading shared libraries: libcudart.so.13: cannot open shared object file: No such "
            "file or directory",
            "library_missing",
        ),
        ("Error: Local quantized model file `x.gguf` does not exist or is not a file", "model_file_missing"),
        ('File "x.gguf" not found at model id "/models"', "model_file_missing"),
        ("Error: Address already in use (os error 98)", "port_in_use"),
        (
            "[Errno 98] error while attempting to bind on address ('0.0.0.0', 11434): address already in use",
            "port_in_use",
        ),
        ("Error: Permission denied (os error 13)", "permission_denied"),
        ("Error: Read-only file system (os error 30)", "read_only"),
        ("Error: No space left on device (os error 28)", "tmp_full"),
        ("memory allocation of 268435456 bytes failed", "out_of_memory"),
        ("exec /usr/local/bin/mistralrs: exec format error", "wrong_machine"),
        ("Error: Model ID conflict: '/models' is already registered", "model_id_conflict"),
    ],
)
def test_known_lines(line: str, name: str) -> None:
    finding = diagnose(f"INFO loading\n\x1b[31m{line}\x1b[0m\n   0: frame\n             at src/x.rs:1:2\n")
    assert finding.error.id == f"engine.{name}"
    assert finding.quote == ["INFO loading", line]


def test_the_values_are_in_the_sentence() -> None:
    assert "'falcon-h1'" in str(diagnose("Unknown GGUF architecture `falcon-h1`").error)
    assert "1234MB" in str(diagnose("does not fit on the devices [x], and exceeds total capacity by 1234MB.").error)


def test_the_last_telling_line_counts() -> None:
    text = "Permission denied (os error 13)\ninvalid GGUF magic [0]\nINFO started again\n"
    finding = diagnose(text)
    assert finding.error.id == "engine.not_a_gguf"
    assert finding.quote[-1] == "invalid GGUF magic [0]"


def test_a_loop_is_quoted_once() -> None:
    finding = diagnose("INFO loading\ninvalid GGUF magic [0]\n" * 3)
    assert finding.quote == ["INFO loading", "invalid GGUF magic [0]"]


@pytest.mark.parametrize("code", sorted(EXIT_CODES))
def test_exit_codes(code: int) -> None:
    assert diagnose("INFO x", code).error.fault == EXIT_CODES[code]


def test_without_any_sign() -> None:
    assert diagnose("", None).error.id == "engine.ended"
    assert diagnose("INFO x", 137, oom_killed=True).error.id == "engine.oom_killed"


def test_quotes_are_short() -> None:
    finding = diagnose("\n".join(f"line {number} " + "x" * 1000 for number in range(100)), 1)
    assert len(finding.quote) == 6
    assert max(len(line) for line in finding.quote) <= 300


def test_clean_keeps_only_what_happened() -> None:
    assert clean("\x1b[2mINFO\x1b[0m a\n\n   0: f\n   at x.rs:1\nTraceback (most recent call last):\nError: b") == [
        "INFO a",
        "Error: b",
    ]


def test_ids_are_unique() -> None:
    names = [sign.fault.id for sign in SIGNS]
    assert len(names) == len(set(names))
