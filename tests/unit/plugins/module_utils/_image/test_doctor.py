"""The verdict about an image, from reports of the engine.

The reports are recordings of the real engine. A CPU build, or a host without a GPU, does not print the checks of CUDA;
these are added with the texts of C(mistralrs-core/src/diagnostics.rs) at the tag that stands beside each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._image.doctor import report_of, verdict

RECORDINGS = Path(__file__).resolve().parents[4] / "recordings"
CPU = ["mistralrs-0.8.1/doctor.json", "mistralrs-0.9.2+7/doctor.json"]
CUDA = "mistralrs-0.8.1-cuda/doctor-without-gpu.json"
# diagnostics.rs:166-177 at v0.9.2, of one H100.
DEVICE = {
    "kind": "cuda",
    "ordinal": 0,
    "name": None,
    "total_memory_bytes": 85017755648,
    "available_memory_bytes": 84468301824,
    "compute_capability": [9, 0],
    "flash_attn_compatible": True,
    "flash_attn_v3_compatible": True,
    "unified_memory": False,
}
# v0.9.2 diagnostics.rs:471, :489, :507, :545, :594, :608, :623, :652; of a check of one's own the last two.
MISMATCH = ("binary_hardware_match", "error", "NVIDIA GPU detected but binary compiled without CUDA support.")
DRIVER = (
    "cuda_build_driver_compatibility",
    "error",
    "CUDA binary was built with CUDA 12.8, but the NVIDIA driver supports CUDA 12.4.",
)
DRIVER_UNKNOWN = (
    "cuda_build_driver_compatibility",
    "warn",
    "NVIDIA driver CUDA compatibility version could not be detected.",
)
COMPUTE = ("cuda_0_compute", "ok", "GPU 0: compute 9.0 - Flash Attn v2 ✅, v3 ✅")
NO_V2 = (
    "cuda_0_flash_attn_v2_missing",
    "warn",
    "GPU 0 supports Flash Attention v2 but binary compiled without it.",
)
NO_V3 = (
    "cuda_0_flash_attn_v3_missing",
    "warn",
    "GPU 0 supports Flash Attention v3 but binary compiled without it.",
)
CUTILE = (
    "cuda_0_cutile_jit",
    "warn",
    "GPU 0: cuTile is compiled in but this CUDA/SM pair is unsupported.",
)
CACHE = (
    "hf_cache_writable",
    "error",
    "Cannot create or access Hugging Face cache dir at /nonexistent/.cache/huggingface/hub",
)
UNKNOWN = ("metal_toolchain", "error", "Xcode is missing.")
UNKNOWN_CUDA = ("cuda_nccl", "error", "NCCL is too old.")


def recorded(name: str) -> dict[str, Any]:
    return dict(json.loads((RECORDINGS / name).read_text()))


def on_gpu(*checks: tuple[str, str, str]) -> dict[str, Any]:
    """The recorded report of the CUDA build, with one GPU and further checks."""
    said = recorded(CUDA)
    said["system"]["devices"].append(DEVICE)
    names = {"cuda_devices", *(name for name, _status, _message in checks)}
    said["checks"] = [check for check in said["checks"] if check["name"] not in names]
    said["checks"] += [{"name": name, "status": status, "message": message} for name, status, message in checks]
    return said


def judged(said: dict[str, Any], gpu: bool) -> tuple[list[str], list[str]]:
    found = verdict(report_of(json.dumps(said)), gpu)
    return [text.split(":")[0] for text in found.failures], [text.split(":")[0] for text in found.warnings]


@pytest.mark.parametrize("name", [*CPU, CUDA])
def test_the_hub_that_is_not_reached_does_not_count(name: str) -> None:
    said = recorded(name)
    assert "error" in {check["status"] for check in said["checks"]}
    assert judged(said, gpu=False) == ([], [])


def test_the_report_from_a_real_gpu() -> None:
    said = recorded("mistralrs-0.8.1-cuda/doctor-h200.json")
    assert {"binary_hardware_match", "cuda_0_compute"} <= {check["name"] for check in said["checks"]}
    assert judged(said, gpu=True) == ([], [])


def test_nor_does_its_cache() -> None:
    # Seen with 0.8.1 and a home directory that can't be written.
    assert judged(on_gpu(COMPUTE, CACHE), gpu=True) == ([], [])


def test_a_gpu_that_was_given_and_not_found_counts() -> None:
    # The engine itself says "warn".
    assert judged(recorded(CUDA), gpu=True) == (["cuda_devices"], [])
    said = recorded(CUDA)
    said["checks"] = [check for check in said["checks"] if check["name"] != "cuda_devices"]
    assert judged(said, gpu=True) == (["no CUDA device is listed in system.devices"], [])


@pytest.mark.parametrize(
    ("check", "failures", "warnings"),
    [
        (COMPUTE, [], []),
        (NO_V2, [], []),
        (NO_V3, [], []),
        (CUTILE, [], []),
        (DRIVER_UNKNOWN, [], []),
        (DRIVER, [], ["cuda_build_driver_compatibility"]),
        (MISMATCH, ["binary_hardware_match"], []),
        (UNKNOWN, [], ["metal_toolchain"]),
        (UNKNOWN_CUDA, ["cuda_nccl"], []),
        (("cuda_0_compute", "fail", "a status of another time"), ["cuda_0_compute"], []),
        (("something", "", "no status at all"), [], ["something"]),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_checks_on_a_gpu(check: tuple[str, str, str], failures: list[str], warnings: list[str]) -> None:
    assert judged(on_gpu(check), gpu=True) == (failures, warnings)


def test_without_a_gpu_an_error_about_one_is_shown() -> None:
    assert judged(on_gpu(UNKNOWN_CUDA), gpu=False) == ([], ["cuda_nccl"])
    assert judged(on_gpu(MISMATCH), gpu=False) == (["binary_hardware_match"], [])


def test_the_text_of_a_failure_is_the_engines() -> None:
    found = verdict(report_of(json.dumps(recorded(CUDA))), gpu=True)
    assert found.failures == ("cuda_devices: CUDA support is enabled but no CUDA devices were found",)


def test_lines_of_a_log_may_stand_around_it() -> None:
    line = "2026-11-26T23:53:01Z  INFO mistralrs_core: {ready}\n"
    report = report_of(f"{line}{json.dumps(recorded(CUDA))}\n{line}")
    assert report.build["cuda"] is True
    assert report.devices == ("cpu",)
    assert report.as_data()["checks"][1] == {
        "name": "binary_hardware_match",
        "status": "ok",
        "message": "Binary features match detected hardware.",
    }


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (["system"], None, "system.build.cuda"),
        (["system", "build"], {}, "system.build.cuda"),
        (["system", "build", "cuda"], "yes", "system.build.cuda"),
        (["system", "devices"], None, "system.devices"),
        (["system", "devices"], ["cuda"], "system.devices"),
        (["checks"], [], "no checks"),
        (["checks"], None, "no checks"),
        (["checks"], [{"name": "cuda_devices"}], "without name and status"),
        (["checks"], [{"name": "cuda_0_compute", "status": "ok", "message": ""}], "binary_hardware_match"),
    ],
    ids=str,
)
def test_a_report_that_lacks_something_is_none(path: list[str], value: Any, why: str) -> None:
    said = recorded(CUDA)
    place = said
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=why):
        report_of(json.dumps(said))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it prints nothing"),
        ("Everything is fine.\n", "it prints no JSON"),
        ('{"system": ', "no valid JSON"),
        ('{"message": "x"}', "system.build.cuda"),
    ],
    ids=["empty", "text", "cut", "other"],
)
def test_what_is_no_report(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        report_of(text)
