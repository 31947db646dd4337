# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The devices that CUDA programs can use, from the result of module gpu_info.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def devices(gpu_info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One dictionary for each GPU that the driver lists, or in its place for each of its MIG devices.

    C(memory) is in bytes, what the driver keeps for itself not counted, or None if it isn't known. A GPU with
    MIG on and no MIG devices can't be used, so it isn't listed. Where no driver is loaded yet, these are the GPUs of
    the PCI bus as a driver will find them, without a UUID.
    """
    if not gpu_info["driver"]["loaded"]:
        return [_expected(gpu) for gpu in gpu_info["gpus"] if gpu["driver_bound"] != "vfio-pci"]
    found = []
    for gpu in gpu_info["gpus"]:
        shared = {key: gpu[key] for key in ("bus_id", "name", "compute_capability")}
        mig = gpu["mig"]
        if mig["current"] == "Enabled":
            found += [
                {**shared, "uuid": device["uuid"], "memory": device["memory_total"]}
                for device in mig["devices"]
                if device["uuid"]
            ]
        elif gpu["uuid"]:
            total = gpu["memory_total"]
            memory = None if total is None else total - (gpu["memory_reserved"] or 0)
            found.append({"index": gpu["index"], **shared, "uuid": gpu["uuid"], "memory": memory})
    return found


def _expected(gpu: Mapping[str, Any]) -> dict[str, Any]:
    shared = {key: gpu[key] for key in ("index", "bus_id", "name", "compute_capability")}
    nominal = gpu["memory_nominal"]
    return {**shared, "uuid": "", "memory": None if nominal is None else usable(nominal)}


def usable(nominal: int) -> int:
    """What programs can use at least of the bytes that a GPU is advertised with.

    ECC keeps a sixteenth of GDDR memory for itself (a T4 of 16 GiB has 15, an L40S of 48 GiB has 45).
    """
    return nominal // 16 * 15
