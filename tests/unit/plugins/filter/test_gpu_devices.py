"""The filters gpu_devices and gpu_memory, over what gpu_info makes of the recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.filter.gpu_devices import FilterModule as Devices
from ansible_collections.mistralrs.stack.plugins.filter.gpu_memory import FilterModule as Memory
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.facts import Answer, gpu_info
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.pci import Tree

from tests.fakes.gpu import recording

gpu_devices = Devices().filters()["gpu_devices"]
gpu_memory = Memory().filters()["gpu_memory"]


def info(tmp_path: Path, name: str) -> dict[str, Any]:
    said = recording.load(name)
    recording.plant(said.files, tmp_path)

    def ask(arguments: Sequence[str]) -> Answer:
        return Answer(*(said.answers.get(" ".join(arguments)) or said.answers["*"]))

    return gpu_info(Tree(str(tmp_path)), ask)


def test_gpu(tmp_path: Path) -> None:
    seen = info(tmp_path, "h100__590.48.01")
    assert gpu_devices(seen) == [
        {
            "index": 0,
            "bus_id": "0000:00:09.0",
            "name": "NVIDIA H100 80GB HBM3",
            "compute_capability": "9.0",
            "uuid": "GPU-00000000-0000-0000-0000-000000000000",
            "memory": (81559 - 479) << 20,
        }
    ]
    assert gpu_memory(seen) == [(81559 - 479) << 20]
    assert gpu_memory(seen, "MiB") == [81559 - 479]


def test_mig_devices_count_instead_of_their_gpu(tmp_path: Path) -> None:
    seen = info(tmp_path, "a100-mig__535.54.03")
    found = gpu_devices(seen)
    assert len(found) == 4
    assert all(device["uuid"].startswith("MIG-") and "index" not in device for device in found)
    assert gpu_memory(seen, "MiB") == [19968] * 4
    seen["gpus"][0]["mig"]["devices"] = []
    assert gpu_devices(seen) == []


def test_lost_gpu_is_none(tmp_path: Path) -> None:
    assert [device["index"] for device in gpu_devices(info(tmp_path, "lost__535.309.01"))] == [0, 2]


def test_unified_memory_is_that_of_the_host(tmp_path: Path) -> None:
    assert gpu_memory(info(tmp_path, "gb10__580.126.09"), "MiB") == [125513840 >> 10]


def test_memory_that_is_not_told_is_left_out(tmp_path: Path) -> None:
    seen = info(tmp_path, "t4__515.105.01")
    seen["gpus"][0]["memory_total"] = None
    assert gpu_devices(seen)[0]["memory"] is None
    assert gpu_memory(seen) == []


def test_a_bare_host_is_planned_with_what_its_gpus_will_have(tmp_path: Path) -> None:
    seen = info(tmp_path, "no-driver__550.163.01")
    (found,) = gpu_devices(seen)
    assert (found["index"], found["uuid"]) == (0, "")
    assert found["compute_capability"] == seen["gpus"][0]["compute_capability"] != ""
    assert gpu_memory(seen) == [seen["gpus"][0]["memory_nominal"] // 16 * 15]
    seen["gpus"][0]["driver_bound"] = "vfio-pci"
    assert (gpu_devices(seen), gpu_memory(seen)) == ([], [])


@pytest.mark.parametrize("wrong", [None, [], {}, {"gpus": None}, "text"])
def test_wrong_input(wrong: Any) -> None:
    for apply in (gpu_devices, gpu_memory):
        with pytest.raises(AnsibleFilterError, match="the module gpu_info returns"):
            apply(wrong)


def test_wrong_unit() -> None:
    with pytest.raises(AnsibleFilterError, match="'GB', but has to be one of B, MiB"):
        gpu_memory({"gpus": [], "driver": {"loaded": ""}}, "GB")
