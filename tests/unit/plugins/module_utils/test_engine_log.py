"""Recorded lines of the engine are explained."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_log import EXIT_CODES, SIGNS, clean, diagnose

RECORDED = Path(__file__).parent / "engine_logs"


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
        ("unknown dtype for tensor 23", "unsupported_quantization"),
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
