# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs of a host and the state of their driver, put together from C(/sys), other files, and nvidia-smi.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._gpu import host_state, nvidia_smi, table
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.gpu_problems import Seen, judge
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.pci import PciGpu, Tree, devices

# As the driver calls them, and as this collection does.
_ARCHITECTURES = {"Ada Lovelace": "Ada"}


class Answer(NamedTuple):
    """What a program printed and how it ended; C(code) is L{MISSING} or L{HANGS} if it didn't end by itself."""

    code: int
    out: str
    err: str = ""


MISSING = -1001
HANGS = -1002

Ask = Callable[[Sequence[str]], Answer]


def ask_program(program: str, timeout: float) -> Ask:
    """A function that runs the program with arguments and gives up after C(timeout) seconds."""

    def ask(arguments: Sequence[str]) -> Answer:
        path = shutil.which(program)
        if path is None:
            return Answer(MISSING, "")
        try:
            # A module's run_command knows no time limit, and nvidia-smi may hang in the driver.
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError:
            return Answer(MISSING, "")
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            # A process that hangs in the driver can't be killed, so nobody waits for it.
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
            return Answer(HANGS, "")
        return Answer(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    return ask


class Smi(NamedTuple):
    """The answers of nvidia-smi; C(log) is None if there was none that could be read."""

    answer: Answer
    failure: str
    text: str
    log: nvidia_smi.SmiLog | None
    csv: Mapping[str, nvidia_smi.CsvGpu]
    mig: Mapping[str, Mapping[int, str]]
    nvlink: bool | None


def ask_smi(ask: Ask) -> Smi:
    """Two calls, one more if there are MIG devices, whose UUIDs the XML lacks, and one if there are several GPUs."""
    answer = ask(nvidia_smi.XML_QUERY)
    both = f"{answer.out}\n{answer.err}"
    # Warnings, and errors of single GPUs, stand beside XML that is complete.
    beside = both.replace(both[both.find("<?xml") : both.rfind("</nvidia_smi_log>")], "") if "<?xml" in both else both
    failure = "" if answer.code in (MISSING, HANGS) else nvidia_smi.failure(answer.code, beside)
    log = nvidia_smi.parse_xml(answer.out)
    csv: Mapping[str, nvidia_smi.CsvGpu] = {}
    mig: Mapping[str, Mapping[int, str]] = {}
    nvlink = None
    if log is not None and log.gpus:
        csv = nvidia_smi.parse_csv(ask(nvidia_smi.CSV_QUERY).out)
        if any(gpu.mig_devices for gpu in log.gpus):
            mig = nvidia_smi.parse_list(ask(nvidia_smi.LIST_QUERY).out)
        if len(log.gpus) > 1:
            nvlink = nvidia_smi.parse_nvlink(ask(nvidia_smi.NVLINK_QUERY).out)
    return Smi(answer, failure, beside, log, csv, mig, nvlink)


def _empty(gpu: PciGpu, index: int | None) -> dict[str, Any]:
    known = table.known(gpu.device_id)
    return {
        "index": index,
        "name": known.name or f"NVIDIA GPU 10de:{gpu.device_id.lower()}",
        "uuid": "",
        "bus_id": gpu.bus_id,
        "device_id": gpu.device_id,
        "generation": known.generation,
        "compute_capability": known.compute_capability,
        "memory_total": None,
        "memory_free": None,
        "memory_reserved": None,
        "memory_nominal": known.memory,
        "unified_memory": known.unified,
        "modules": known.modules or table.OPEN,
        "driver_bound": gpu.driver,
        "persistence": None,
        "power_limit": None,
        "power_limit_min": None,
        "power_limit_max": None,
        "ecc": {"current": "", "pending": ""},
        "mig": {"current": "", "pending": "", "devices": []},
        "pcie": {"generation": None, "generation_max": None, "width": None, "width_max": None},
        "fabric": {"state": "", "status": ""},
        "recovery_action": "",
    }


def _told(gpu: nvidia_smi.SmiGpu, smi: Smi, host: host_state.Host, unified: bool) -> dict[str, Any]:
    """What the driver says of a GPU; what it doesn't is left out."""
    csv = smi.csv.get(gpu.bus_id)
    mig = smi.mig.get(gpu.uuid, {})
    said = {
        "index": csv.number if csv else None,
        "name": gpu.name,
        "uuid": gpu.uuid,
        "device_id": gpu.device_id,
        "compute_capability": csv.compute_capability if csv else "",
        "memory_total": gpu.memory_total,
        "memory_free": gpu.memory_free,
        "memory_reserved": gpu.memory_reserved,
        "persistence": gpu.persistence,
        "power_limit": gpu.power_limit,
        "power_limit_min": gpu.power_limit_min,
        "power_limit_max": gpu.power_limit_max,
        "ecc": {"current": gpu.ecc_current, "pending": gpu.ecc_pending},
        "mig": {
            "current": gpu.mig_current,
            "pending": gpu.mig_pending,
            "devices": [
                {
                    "gpu_instance_id": device.gpu_instance_id,
                    "compute_instance_id": device.compute_instance_id,
                    "memory_total": device.memory_total,
                    "memory_free": device.memory_free,
                    "uuid": mig.get(device.number, "") if device.number is not None else "",
                }
                for device in gpu.mig_devices
            ],
        },
        "pcie": {
            "generation": gpu.pcie_generation,
            "generation_max": gpu.pcie_generation_max,
            "width": gpu.pcie_width,
            "width_max": gpu.pcie_width_max,
        },
        "fabric": {"state": gpu.fabric_state, "status": gpu.fabric_status},
        "recovery_action": gpu.recovery_action,
    }
    if gpu.memory_total is None and unified:
        said["memory_total"] = host.memory_total
        said["memory_free"] = host.memory_available
    return {key: value for key, value in said.items() if value not in (None, "")}


def gpu_info(tree: Tree, ask: Ask, program: str = "nvidia-smi", timeout: float = 30) -> dict[str, Any]:
    """The result of module gpu_info. Whatever the files hold and nvidia-smi prints, it doesn't raise."""
    found, switches = devices(tree)
    host = host_state.host(tree)
    # Without a GPU and a driver there is nothing to ask for.
    called = bool(found) or bool(host.loaded)
    smi = ask_smi(ask) if called else Smi(Answer(MISSING, ""), "", "", None, {}, {}, None)
    told = {gpu.bus_id: gpu for gpu in smi.log.gpus} if smi.log else {}
    if smi.log and not host.loaded:
        # A container may see neither /sys nor /proc of the driver that answers it.
        host = host._replace(loaded=smi.log.driver)
    on_bus = {gpu.bus_id: gpu for gpu in found}
    # A container may see the driver, but not the bus.
    for gpu in told.values():
        on_bus.setdefault(gpu.bus_id, PciGpu(gpu.bus_id, gpu.device_id, "nvidia"))
    order = {address: number for number, address in enumerate(told)}
    gpus = []
    for number, (address, device) in enumerate(sorted(on_bus.items())):
        entry = _empty(device, order.get(address) if told else number)
        if address in told:
            gpu = told[address]
            entry.update(_told(gpu, smi, host, entry["unified_memory"]))
            # The table tells Grace Hopper, which takes open modules only, from Hopper; the driver doesn't.
            entry["generation"] = entry["generation"] or _ARCHITECTURES.get(gpu.architecture, gpu.architecture)
        if not table.known(device.device_id).modules:
            entry["modules"] = table.GENERATION_MODULES.get(entry["generation"], table.OPEN)
        gpus.append(entry)
    remaps = {gpu.bus_id: "failed" for gpu in told.values() if gpu.row_remap_failure}
    remaps.update(
        {gpu.bus_id: "pending" for gpu in told.values() if gpu.row_remap_pending and gpu.bus_id not in remaps}
    )
    seen = Seen(
        gpus=gpus,
        host=host,
        program=program,
        timeout=timeout,
        called=called,
        found=smi.answer.code != MISSING,
        hangs=smi.answer.code == HANGS,
        code=smi.answer.code,
        smi=smi.failure,
        text=smi.text,
        lost=[gpu.bus_id for gpu in told.values() if gpu.lost],
        driven=list(told) if smi.log is not None else None,
        remaps=remaps,
        xids=host_state.xids(host_state.kernel_log(tree), host_state.uptime(tree)) if called else (),
    )
    return {
        "gpus": gpus,
        "nvswitches": switches,
        "nvlink": True if switches else smi.nvlink,
        "driver": {
            "loaded": host.loaded,
            "installed": host.installed,
            "flavour": host.flavour,
            "cuda": smi.log.cuda if smi.log else "",
        },
        "secure_boot": host.secure_boot,
        "nouveau_loaded": host.nouveau_loaded,
        "kernel": host.kernel,
        "kernels": [
            {
                "release": kernel.release,
                "headers": kernel.headers,
                "module": bool(kernel.module),
                "running": kernel.running,
            }
            for kernel in host.kernels
        ],
        "problems": judge(seen),
    }
