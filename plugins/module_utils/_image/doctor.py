# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's own check, C(mistralrs doctor --json), says about an image: a report in, a verdict out.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

All checks of the versions that have the command, from C(mistralrs-core/src/diagnostics.rs) at the tags v0.7.0, v0.8.0,
v0.8.4, v0.8.18, v0.8.22, v0.9.1, v0.9.2 and at commit 9e922623. A status is C(ok), C(warn) or C(error).

====================================  =====================  ========  ==============================================
check                                 statuses               since     what it is about
====================================  =====================  ========  ==============================================
cpu_extensions                        ok, warn               v0.7.0    AVX2 of this CPU
binary_hardware_match                 ok, error              v0.7.0    a GPU, and a binary without support for it
cuda_build_driver_compatibility       ok, warn, error        v0.8.22   toolkit of the build newer than the driver's CUDA
KIND_N_unified_memory                 ok                     v0.8.0    KIND is cuda or metal
cuda_N_compute                        ok                     v0.7.0    the compute capability of GPU N
cuda_N_flash_attn_v2_missing          warn                   v0.7.0    the build lacks a feature that the GPU supports
cuda_N_flash_attn_v3_missing          warn                   v0.7.0    the same
cuda_N_cutile_jit                     ok, warn               v0.9.1    only with the feature cutile
hf_cache_writable                     ok, error              v0.7.0    a cache below HOME or HF_HOME
hf_connectivity                       ok, warn, error        v0.7.0    error if huggingface.co is not reached
disk_space                            ok, warn               v0.7.0    10 GiB for that cache
cuda_devices                          warn                   v0.7.0    a CUDA build that found no GPU
====================================  =====================  ========  ==============================================

The report also has C(system.build) (C(cuda) at every version; C(version) since v0.8.18) and C(system.devices), whose
C(kind) is C(cpu), C(cuda) or C(metal).

The image is checked without a network and without a writable home directory, as the engine will run, so the checks of
the Hub, its cache and its disk don't count. Whether the toolkit suits the driver was decided before the build
(C(plugin_utils/_image/cuda.py)), which knows minor version compatibility; the engine does not, so its error is a
warning here. What counts are the facts about GPUs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

OK = ("ok", "warn")
_HARDWARE = "binary_hardware_match"
_NO_DEVICES = "cuda_devices"
_DRIVER = "cuda_build_driver_compatibility"
# About the surroundings, which the container of the proof lacks on purpose.
_SURROUNDINGS = re.compile(r"(hf_\w+|disk_space|cpu_extensions)\Z")
_CUDA = re.compile(r"cuda_\w+\Z")
_START = re.compile(r"^\{", re.MULTILINE)


class Check(NamedTuple):
    """One check of the report."""

    name: str
    status: str
    message: str

    @property
    def text(self) -> str:
        """The check as a message quotes it."""
        return f"{self.name}: {self.message}".rstrip(". ")


class Report(NamedTuple):
    """What was said: the build's properties, the kinds of the devices that were found, the checks."""

    build: Mapping[str, Any]
    devices: tuple[str, ...]
    checks: tuple[Check, ...]

    def as_data(self) -> dict[str, Any]:
        """The report for the record of the image."""
        return {
            "build": dict(self.build),
            "devices": list(self.devices),
            "checks": [check._asdict() for check in self.checks],
        }


class Verdict(NamedTuple):
    """Why the image can't be used (nothing: it can), and what the operator should know besides."""

    failures: tuple[str, ...]
    warnings: tuple[str, ...]


def report_of(text: str) -> Report:
    """Read what the command printed; lines of a log may stand before and after the report.

    Raises ValueError with the reason in words, also if something is missing that every version reports.
    """
    start = _START.search(text)
    if not start:
        raise ValueError("it prints no JSON" if text.strip() else "it prints nothing")
    try:
        said, _end = json.JSONDecoder().raw_decode(text, start.start())
    except ValueError as error:
        raise ValueError(f"it prints no valid JSON ({error})") from None
    system = said.get("system")
    build = system.get("build") if isinstance(system, dict) else None
    if not isinstance(build, dict) or not isinstance(build.get("cuda"), bool):
        raise ValueError("it lacks system.build.cuda")
    devices = system.get("devices") if isinstance(system, dict) else None
    if not isinstance(devices, list) or not all(isinstance(device, dict) for device in devices):
        raise ValueError("it lacks system.devices")
    checks = said.get("checks")
    if not isinstance(checks, list) or not checks:
        raise ValueError("it has no checks")
    for check in checks:
        if not isinstance(check, dict) or not all(isinstance(check.get(key), str) for key in ("name", "status")):
            raise ValueError(f"it has a check without name and status ({check})")
    if not any(check["name"] == _HARDWARE for check in checks):
        raise ValueError(f"it lacks the check {_HARDWARE}")
    return Report(
        build,
        tuple(str(device.get("kind") or "") for device in devices),
        tuple(
            Check(str(check["name"]), str(check["status"]).lower(), str(check.get("message") or "")) for check in checks
        ),
    )


def verdict(report: Report, gpu: bool) -> Verdict:
    """Judge an image from the engine's report; C(gpu) says that a CUDA image was started with the host's GPUs.

    An error of a check that is not known here is a warning: a new check of the surroundings must not make each image of
    a version unusable after an hour of compiling (C(hf_connectivity) did), and what really stops the engine stops the
    proof with a model, or the start of the server. An unknown check of CUDA is about the GPU, and its error counts. A
    status that is not known here is an error.
    """
    failures: list[str] = []
    warnings: list[str] = []
    for check in report.checks:
        if check.name == _NO_DEVICES:
            if gpu:
                failures.append(check.text)
        elif check.status in OK or _SURROUNDINGS.match(check.name):
            continue
        elif check.name == _HARDWARE or (gpu and check.name != _DRIVER and _CUDA.match(check.name)):
            failures.append(check.text)
        else:
            warnings.append(check.text)
    if gpu and "cuda" not in report.devices and not failures:
        failures.append("no CUDA device is listed in system.devices")
    return Verdict(tuple(failures), tuple(warnings))
