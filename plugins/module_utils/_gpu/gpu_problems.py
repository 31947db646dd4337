# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with GPUs and their driver, and the judgement of what was seen.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu import nvidia_smi
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.host_state import Host, Kernel, Xid

LIBRARY_MISMATCH = Fault(
    "driver.library_mismatch",
    "The NVIDIA driver in the kernel is {loaded}, but the installed libraries are {installed}.",
    "Stop what uses the GPUs and reboot the host, or unload and load the module.",
)
NOT_LOADED = Fault(
    "driver.not_loaded",
    "The NVIDIA driver {installed} is installed and has a module for the running kernel {kernel}, but is not loaded.",
    "Run 'modprobe nvidia' and look at what it and 'dmesg' say.",
)
OLDER_KERNEL_RUNS = Fault(
    "driver.older_kernel_runs",
    "The NVIDIA driver {installed} has a module for kernel {newest}, but the host still runs {kernel}.",
    "Reboot the host.",
)
NO_MODULE_FOR_KERNEL = Fault(
    "driver.no_module_for_kernel",
    "The libraries of the NVIDIA driver {installed} are installed, but no module for the running kernel {kernel}.",
    "Install the driver's kernel modules of the same version.",
)
NOUVEAU_LOADED = Fault(
    "driver.nouveau_loaded",
    "The kernel has loaded nouveau, which keeps NVIDIA's driver from the GPUs.",
    "Blacklist nouveau, renew the initramfs and reboot the host.",
)
HEADERS_MISSING = Fault(
    "driver.headers_missing",
    "DKMS cannot build {module} for kernel {kernel}: its headers are not installed.",
    "Install the headers of exactly this kernel, then run 'dkms autoinstall -k {kernel}'.",
)
MODULE_NOT_BUILT = Fault(
    "driver.module_not_built",
    "DKMS has not built {module} for kernel {kernel}: {error}.",
    "Look at {where}. A driver that is older than the kernel may need the other flavour or a newer version.",
)
SECURE_BOOT_KEY = Fault(
    "driver.secure_boot_key",
    "Secure Boot is on and the NVIDIA module for kernel {kernel} is not loaded: the firmware may not know its key.",
    "Check with 'modprobe nvidia'. If the key is rejected, run 'mokutil --import /var/lib/dkms/mok.pub', reboot, and "
    "confirm the key at the console (Enroll MOK).",
)
SMI_FAILED = Fault(
    "driver.smi_failed",
    "nvidia-smi failed with exit code {code}: {words}.",
    "Look at 'dmesg' for lines with NVRM, and reboot the host if they name no other way out.",
)
SMI_UNREADABLE = Fault(
    "driver.smi_unreadable",
    "What nvidia-smi printed is not the complete XML that was asked for.",
    "Run 'nvidia-smi -q -x' by hand, and reinstall the driver if it breaks off there too.",
)
SMI_HANGS = Fault(
    "driver.smi_hangs",
    "nvidia-smi gave no answer within {timeout} seconds.",
    "Look at 'dmesg' for lines with NVRM or 'blocked for more than'; a driver that hangs needs a reboot of the host.",
)
SMI_MISSING = Fault(
    "driver.smi_missing",
    "The NVIDIA driver {loaded} is loaded, but there is no program {program}.",
    "Install the driver's utilities of the same version, or give the program's path in 'nvidia_smi'.",
)
NO_PERMISSION = Fault(
    "driver.no_permission",
    "nvidia-smi is not permitted to talk to the driver: {words}.",
    "Run it as root; if it already is, look for SELinux denials and check the modes of /dev/nvidia*.",
)
NVML_MISSING = Fault(
    "driver.nvml_missing",
    "nvidia-smi does not find the driver's library libnvidia-ml.so.",
    "Install the driver's libraries of the same version as the module, then run 'ldconfig'.",
)
LOST = Fault(
    "gpu.lost",
    "GPU {gpu} is lost: the driver cannot reach it any more ({words}).",
    "Drain the host and power it off and on; if it happens again, reseat the GPU and check its power and cooling.",
)
NONE_FOUND_BY_DRIVER = Fault(
    "gpu.none_found_by_driver",
    "NVIDIA GPUs on the PCI bus: {count}, but the driver {loaded} found none that it can run.",
    "Look at 'dmesg' for lines with NVRM: the driver's branch or flavour may not fit, or the GPUs need a power cycle.",
)
COUNT_DIFFERS = Fault(
    "gpu.count_differs",
    "NVIDIA GPUs on the PCI bus: {count}, but the driver has {driven}; missing: {missing}.",
    "Look at 'dmesg' for lines with NVRM and that address, and power the host off and on.",
)
INFOROM_CORRUPT = Fault(
    "gpu.inforom_corrupt",
    "The infoROM of GPU {gpu} is corrupted.",
    "The GPU may still work, but its ECC and identity data are unreliable: have it replaced.",
)
MIG_PENDING = Fault(
    "gpu.mig_pending",
    "GPU {gpu}: MIG is {current} and will be {pending} after a reset.",
    "Stop what uses the GPU and run 'nvidia-smi --gpu-reset -i {gpu}', or reboot the host.",
)
MIG_WITHOUT_INSTANCES = Fault(
    "gpu.mig_without_instances",
    "GPU {gpu}: MIG is on, but there are no instances, so no program can use it.",
    "Create instances, for example with 'nvidia-smi mig -i {gpu} -cgi PROFILE -C', or switch MIG off.",
)
ECC_PENDING = Fault(
    "gpu.ecc_pending",
    "GPU {gpu}: ECC is {current} and will be {pending} after a reboot.",
    "Reboot the host.",
)
RECOVERY_NEEDED = Fault(
    "gpu.recovery_needed",
    "GPU {gpu}: the driver asks for '{action}' before it can be used reliably.",
    "Stop what uses the GPU, then reset it with 'nvidia-smi --gpu-reset -i {gpu}', or reboot the host.",
)
ROW_REMAP_FAILED = Fault(
    "gpu.row_remap_failed",
    "GPU {gpu} could not replace a defective row of its memory.",
    "Take it out of service and have it exchanged.",
)
ROW_REMAP_PENDING = Fault(
    "gpu.row_remap_pending",
    "GPU {gpu} will replace a defective row of its memory at the next reset.",
    "Stop what uses the GPU at the next maintenance and run 'nvidia-smi --gpu-reset -i {gpu}', or reboot the host.",
)
FABRIC_NOT_READY = Fault(
    "gpu.fabric_not_ready",
    "GPU {gpu}: the NVLink fabric is '{state}' ({status}), so CUDA programs fail with error 802.",
    "Start nvidia-fabricmanager in exactly the driver's version, and look at its journal.",
)
WRONG_FLAVOUR = Fault(
    "driver.wrong_flavour",
    "The {flavour} kernel modules of NVIDIA's driver cannot drive GPU {gpu} ({name}), which needs {modules} ones.",
    "Install the {modules} modules; GPUs that need different ones can't work in the same host.",
)
BOUND_TO_VFIO = Fault(
    "gpu.bound_to_vfio",
    "GPU {gpu} is bound to vfio-pci, for passing it to a virtual machine.",
    "Run the engine in that machine, or take the GPU's id out of vfio-pci's options and reboot the host.",
)
UNKNOWN_DEVICE = Fault(
    "gpu.unknown_device",
    "GPU {gpu} has the device id 10de:{device}, which this collection does not know.",
    "It is used if the driver supports it; set 'nvidia_driver_modules' to open or proprietary.",
)
XID = Fault(
    "gpu.xid",
    "GPU {gpu} reported Xid {number} in the last 24 hours, {meaning}{text}.",
    "Stop what uses the GPU and reset it, or reboot the host; have it checked if it happens again.",
)

# NVIDIA's "XID Errors" guide; the others are errors of programs (13, 31, 43), or things that the driver has dealt with.
_XIDS = {
    48: "uncorrectable error in its memory",
    62: "halt of an internal processor",
    64: "defective memory that could not be recorded",
    74: "error of a link of NVLink",
    79: "fallen off the bus",
    95: "uncontained error in its memory",
    119: "its system processor does not answer",
    120: "its system processor failed",
}
_FABRIC_GOOD = ("", "Completed", "Not Supported")


class Seen(NamedTuple):
    """What L{judge} needs to know: GPUs as module gpu_info returns them, and how nvidia-smi ended.

    C(smi) is the kind of failure or empty, C(driven) the addresses that the driver lists or None if it said nothing.
    """

    gpus: Sequence[Mapping[str, Any]]
    host: Host
    program: str
    timeout: float
    called: bool
    found: bool
    hangs: bool
    code: int
    smi: str
    text: str
    lost: Sequence[str]
    driven: Sequence[str] | None
    remaps: Mapping[str, str]
    xids: Sequence[Xid]


def _problem(fault: Fault, gpu: str = "", **values: object) -> dict[str, str]:
    return {"id": fault.id, "message": str(StackError(fault, gpu=gpu or "of unknown address", **values)), "gpu": gpu}


def _unbuilt(host: Host, kernel: Kernel) -> dict[str, str] | None:
    """Why a kernel has no module, if DKMS is to make it."""
    if kernel.module or not host.dkms:
        return None
    for build in host.builds:
        if build.kernel in (kernel.release, ""):
            error = build.error.rstrip(".") or "the build failed without naming an error"
            return _problem(
                MODULE_NOT_BUILT,
                module=build.module,
                kernel=kernel.release,
                error=error,
                where=build.log,
            )
    module = host.dkms[-1]
    if not kernel.headers:
        return _problem(HEADERS_MISSING, module=module, kernel=kernel.release)
    where = f"what 'dkms autoinstall -k {kernel.release}' says"
    return _problem(MODULE_NOT_BUILT, module=module, kernel=kernel.release, error="it was not tried", where=where)


def _misfits(seen: Seen) -> list[Mapping[str, Any]]:
    """The GPUs for which the driver has the wrong flavour, if it isn't driving them all the same."""
    return [
        gpu
        for gpu in seen.gpus
        if seen.host.flavour
        and gpu["generation"]
        and gpu["modules"] not in ("either", seen.host.flavour)
        and gpu["driver_bound"] != "vfio-pci"
        and gpu["bus_id"] not in (seen.driven or ())
    ]


def _driver(seen: Seen) -> list[dict[str, str]]:
    host = seen.host
    found = []
    usable = [gpu for gpu in seen.gpus if gpu["driver_bound"] != "vfio-pci"]
    # The kernel that runs, and the one that the next boot will start.
    running = [kernel for kernel in host.kernels if kernel.running]
    for kernel in dict.fromkeys([*running, *host.kernels[-1:]]):
        # Where the module is loaded, the running kernel has it, whatever has become of its file.
        problem = None if kernel.running and host.loaded else _unbuilt(host, kernel)
        if problem:
            found.append(problem)
    if host.nouveau_loaded and usable:
        found.append(_problem(NOUVEAU_LOADED))
    installed = host.installed or next((entry.split("/")[1] for entry in reversed(host.dkms)), "")
    mine = running[0] if running else None
    # Where the running kernel has its module, what the next boot lacks explains nothing.
    explained = host.nouveau_loaded or bool(found and not (mine and mine.module))
    if usable and not host.loaded and (installed or (mine and mine.module)):
        newest = host.kernels[-1] if host.kernels else None
        if mine and mine.module and host.secure_boot and not host.nouveau_loaded:
            found.append(_problem(SECURE_BOOT_KEY, kernel=host.kernel))
        elif not explained:
            values = {"installed": installed or "of unknown version", "kernel": host.kernel}
            if mine and mine.module:
                found.append(_problem(NOT_LOADED, **values))
            elif newest and newest.module:
                found.append(_problem(OLDER_KERNEL_RUNS, newest=newest.release, **values))
            else:
                found.append(_problem(NO_MODULE_FOR_KERNEL, **values))
    if host.loaded and host.installed and host.loaded != host.installed:
        found.append(_problem(LIBRARY_MISMATCH, loaded=host.loaded, installed=host.installed))
    elif seen.smi == nvidia_smi.MISMATCH:
        loaded = host.loaded or "another version"
        found.append(_problem(LIBRARY_MISMATCH, loaded=loaded, installed=host.installed or "another version"))
    return found


def _smi(seen: Seen) -> list[dict[str, str]]:
    host = seen.host
    words = (nvidia_smi.words(seen.text) or "it printed nothing").rstrip(".")
    if not seen.called:
        return []
    if not seen.found:
        return [_problem(SMI_MISSING, loaded=host.loaded, program=seen.program)] if host.loaded else []
    if seen.hangs:
        return [_problem(SMI_HANGS, timeout=f"{seen.timeout:g}")]
    if seen.smi == nvidia_smi.NOT_LOADED:
        # Without the module that is not news.
        return [_problem(SMI_FAILED, code=seen.code, words=words)] if host.loaded else []
    if seen.smi == nvidia_smi.NO_PERMISSION:
        return [_problem(NO_PERMISSION, words=words)]
    if seen.smi == nvidia_smi.NO_LIBRARY:
        return [_problem(NVML_MISSING)]
    if seen.smi == nvidia_smi.NO_DEVICES:
        misfits = [gpu["bus_id"] for gpu in _misfits(seen)]
        count = sum(gpu["driver_bound"] != "vfio-pci" and gpu["bus_id"] not in misfits for gpu in seen.gpus)
        return [_problem(NONE_FOUND_BY_DRIVER, count=count, loaded=host.loaded)] if count else []
    if seen.smi == nvidia_smi.RESET_REQUIRED:
        gpu = nvidia_smi.bus_id(words)
        return [_problem(RECOVERY_NEEDED, gpu, action="GPU Reset")]
    if seen.smi == nvidia_smi.OTHER:
        return [_problem(SMI_FAILED, code=seen.code, words=words)]
    if seen.smi == "" and seen.driven is None:
        return [_problem(SMI_UNREADABLE)]
    return []


def _lost(seen: Seen) -> list[dict[str, str]]:
    found = {gpu: "nvidia-smi says so" for gpu in seen.lost}
    named = nvidia_smi.complaints(seen.text, nvidia_smi.LOST)
    if seen.smi == nvidia_smi.LOST and not named:
        named = {nvidia_smi.bus_id(seen.text): nvidia_smi.words(seen.text) or f"exit code {seen.code}"}
    found.update({gpu: words.rstrip(".") for gpu, words in named.items()})
    for xid in seen.xids:
        # One that the driver lists again has been recovered since.
        if xid.number == 79 and xid.bus_id not in (seen.driven or ()):
            found[xid.bus_id] = "Xid 79 in the kernel's log"
    return [_problem(LOST, gpu, words=words) for gpu, words in found.items()]


def _inforom(seen: Seen) -> list[dict[str, str]]:
    named = list(nvidia_smi.complaints(seen.text, nvidia_smi.INFOROM))
    if not named and seen.smi == nvidia_smi.INFOROM:
        named = [""]
    return [_problem(INFOROM_CORRUPT, gpu) for gpu in named]


def _gpu(gpu: Mapping[str, Any], seen: Seen) -> list[dict[str, str]]:
    address = gpu["bus_id"]
    found = []
    if gpu["driver_bound"] == "vfio-pci":
        found.append(_problem(BOUND_TO_VFIO, address))
    if not gpu["generation"] and not gpu["compute_capability"]:
        found.append(_problem(UNKNOWN_DEVICE, address, device=gpu["device_id"].lower()))
    mig = gpu["mig"]
    if mig["pending"] and mig["pending"] != mig["current"]:
        found.append(_problem(MIG_PENDING, address, current=mig["current"] or "unknown", pending=mig["pending"]))
    elif mig["current"] == "Enabled" and not mig["devices"]:
        found.append(_problem(MIG_WITHOUT_INSTANCES, address))
    ecc = gpu["ecc"]
    if ecc["pending"] and ecc["pending"] != ecc["current"]:
        found.append(_problem(ECC_PENDING, address, current=ecc["current"] or "unknown", pending=ecc["pending"]))
    action = gpu["recovery_action"]
    if action:
        found.append(_problem(RECOVERY_NEEDED, address, action=action))
    if seen.remaps.get(address) == "failed":
        found.append(_problem(ROW_REMAP_FAILED, address))
    elif seen.remaps.get(address) == "pending":
        found.append(_problem(ROW_REMAP_PENDING, address))
    fabric = gpu["fabric"]
    if fabric["state"] not in _FABRIC_GOOD or fabric["status"] not in ("", "Success", "Not Supported"):
        status = fabric["status"] or "no status"
        found.append(_problem(FABRIC_NOT_READY, address, state=fabric["state"] or "unknown", status=status))
    return found


def _xids(seen: Seen, lost: Sequence[str]) -> list[dict[str, str]]:
    last = {(xid.bus_id, xid.number): xid.text for xid in seen.xids if xid.number in _XIDS}
    return [
        _problem(XID, gpu, number=number, meaning=_XIDS[number], text=f" ({text.rstrip('.')})" if text else "")
        for (gpu, number), text in last.items()
        if not (number == 79 and gpu in lost)
    ]


def judge(seen: Seen) -> list[dict[str, str]]:
    """Everything that is wrong, as dictionaries of id, message and gpu, what explains the most first."""
    lost = _lost(seen)
    addresses = [problem["gpu"] for problem in lost]
    misfits = [
        _problem(WRONG_FLAVOUR, gpu["bus_id"], flavour=seen.host.flavour, name=gpu["name"], modules=gpu["modules"])
        for gpu in _misfits(seen)
    ]
    found = [*_driver(seen), *misfits, *_smi(seen), *lost, *_inforom(seen)]
    addresses += [problem["gpu"] for problem in misfits]
    if seen.driven is not None:
        bound = [gpu["bus_id"] for gpu in seen.gpus if gpu["driver_bound"] != "vfio-pci"]
        # Why they are missing is said already.
        bound = [gpu for gpu in bound if gpu not in addresses]
        missing = [gpu for gpu in bound if gpu not in seen.driven]
        if missing and seen.driven:
            names = ", ".join(missing)
            differs = _problem(COUNT_DIFFERS, count=len(bound), driven=len(bound) - len(missing), missing=names)
            found.append({**differs, "gpu": missing[0]})
        elif missing:
            found.append(_problem(NONE_FOUND_BY_DRIVER, count=len(bound), loaded=seen.host.loaded))
    for gpu in seen.gpus:
        found += _gpu(gpu, seen)
    return found + _xids(seen, addresses)
