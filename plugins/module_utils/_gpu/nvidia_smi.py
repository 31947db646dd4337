# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nvidia-smi prints, as data: XML of DTD versions 11 to 13, CSV, the list of devices, and its failures.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

nvidia-smi prints its errors on stdout, in place of the XML, and tells by its return code. Nothing here raises: what
can't be read counts as not known.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

XML_QUERY = ("-q", "-x")
CSV_QUERY = ("--query-gpu=index,pci.bus_id,compute_cap", "--format=csv,noheader,nounits")
LIST_QUERY = ("-L",)
NVLINK_QUERY = ("nvlink", "--status")

# What can be wrong, by the name that L{failure} gives it.
NOT_LOADED = "not_loaded"
NO_PERMISSION = "no_permission"
NO_DEVICES = "no_devices"
NO_LIBRARY = "no_library"
INFOROM = "inforom"
LOST = "lost"
MISMATCH = "mismatch"
RESET_REQUIRED = "reset_required"
OTHER = "other"

# The text decides before the return code, which differs between driver versions.
_TEXTS = (
    (re.compile(r"driver/library version mismatch", re.I), MISMATCH),
    (re.compile(r"GPU is lost|fallen off the bus|unable to determine the device handle", re.I), LOST),
    (re.compile(r"no devices were found", re.I), NO_DEVICES),
    (re.compile(r"insufficient permissions", re.I), NO_PERMISSION),
    (re.compile(r"couldn't find libnvidia-ml|NVML shared library couldn't be found", re.I), NO_LIBRARY),
    (re.compile(r"infoROM is corrupt", re.I), INFOROM),
    (re.compile(r"couldn't communicate with the NVIDIA driver|driver not loaded", re.I), NOT_LOADED),
)
# nvidia-smi(1), "RETURN VALUE"; 16 and 18 are those of NVML's nvmlReturn_t.
_CODES = {
    4: NO_PERMISSION,
    6: NO_DEVICES,
    9: NOT_LOADED,
    12: NO_LIBRARY,
    14: INFOROM,
    15: LOST,
    16: RESET_REQUIRED,
    18: MISMATCH,
}
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_ABSENT = ("", "n/a", "[n/a]", "none", "not supported", "[not supported]", "err!")
_NOT_SAID = ("Requested functionality", "Deprecated", "[Unknown", "Unknown Error", "GPU is lost", "[GPU is lost")
_BUS_ID = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])", re.I)


class MigDevice(NamedTuple):
    """A part of a GPU in MIG mode: memory in bytes, None where it is not known."""

    number: int | None
    gpu_instance_id: int | None
    compute_instance_id: int | None
    memory_total: int | None
    memory_free: int | None


class SmiGpu(NamedTuple):
    """A C(gpu) element: memory in bytes, power in watts, strings empty and others None if not known."""

    bus_id: str
    device_id: str
    name: str
    uuid: str
    architecture: str
    persistence: bool | None
    memory_total: int | None
    memory_free: int | None
    memory_reserved: int | None
    power_limit: float | None
    power_limit_min: float | None
    power_limit_max: float | None
    ecc_current: str
    ecc_pending: str
    mig_current: str
    mig_pending: str
    mig_devices: tuple[MigDevice, ...]
    pcie_generation: int | None
    pcie_generation_max: int | None
    pcie_width: int | None
    pcie_width_max: int | None
    fabric_state: str
    fabric_status: str
    recovery_action: str
    row_remap_failure: bool
    row_remap_pending: bool
    lost: bool


class SmiLog(NamedTuple):
    """The whole answer of C(nvidia-smi --query --xml-format)."""

    driver: str
    cuda: str
    gpus: tuple[SmiGpu, ...]


class CsvGpu(NamedTuple):
    """A line of C(nvidia-smi --query-gpu), for what the XML lacks."""

    number: int | None
    compute_capability: str


def bus_id(text: str) -> str:
    """The PCI address as Linux writes it: C(00000000:3B:00.0) is C(0000:3b:00.0); empty if there is none."""
    found = _BUS_ID.search(text)
    if not found:
        return ""
    return f"{int(found[1], 16):04x}:{found[2]}:{found[3]}.{found[4]}".lower()


def failure(code: int, text: str) -> str:
    """What a call of nvidia-smi that printed C(text) and ended with C(code) complains of; empty if of nothing."""
    if code == 0 and text.lstrip().startswith("<"):
        return ""
    for pattern, kind in _TEXTS:
        if pattern.search(text):
            return kind
    return _CODES.get(code, OTHER if code else "")


def complaints(text: str, kind: str) -> dict[str, str]:
    """The GPUs (PCI address, empty if none is named) of which lines complain in that way, and the lines."""
    pattern = next(pattern for pattern, name in _TEXTS if name == kind)
    return {bus_id(line): line.strip()[:300] for line in text.splitlines() if pattern.search(line)}


def words(text: str) -> str:
    """The first line of an error's text that says something."""
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("<"):
            return line.strip()[:300]
    return ""


def _text(element: Element, *paths: str) -> str:
    for path in paths:
        found = (element.findtext(path) or "").strip()
        if found:
            return found
    return ""


def _known(element: Element, *paths: str) -> str:
    for path in paths:
        text = _text(element, path)
        if text.lower() not in _ABSENT and not text.startswith(_NOT_SAID):
            return text
    return ""


def _number(text: str) -> float | None:
    found = re.match(r"(\d{1,15}(?:\.\d{1,6})?)(?![\d.])", text)
    value = float(found[1]) if found else None
    return value if value is not None and math.isfinite(value) else None


def _whole(text: str) -> int | None:
    value = _number(text)
    return None if value is None else int(value)


def _bytes(text: str) -> int | None:
    value = _number(text)
    found = re.search(r"([KMGT]iB)\s*$", text)
    return None if value is None or not found else int(value * _UNITS[found[1]])


def _switch(text: str) -> bool | None:
    return {"enabled": True, "disabled": False}.get(text.lower())


def _version(element: Element, *paths: str) -> str:
    for path in paths:
        # Since driver 610 a notice that the field will be removed stands behind it.
        found = re.match(r"\d+(\.\d+)+(?=\s|\Z)", _text(element, path))
        if found:
            return found[0]
    return ""


def _recovery(element: Element) -> str:
    action = _known(element, "gpu_recovery_action")
    if action:
        return action
    # Until driver 535 there were two switches in its place.
    if _text(element, "gpu_reset_status/reset_required") == "Yes":
        return "GPU Reset"
    if _text(element, "gpu_reset_status/drain_and_reset_recommended") == "Yes":
        return "Drain and Reset"
    return ""


def _mig_devices(element: Element) -> tuple[MigDevice, ...]:
    return tuple(
        MigDevice(
            _whole(_text(device, "index")),
            _whole(_text(device, "gpu_instance_id")),
            _whole(_text(device, "compute_instance_id")),
            _bytes(_text(device, "fb_memory_usage/total")),
            _bytes(_text(device, "fb_memory_usage/free")),
        )
        for device in element.findall("mig_devices/mig_device")
    )


def _gpu(element: Element) -> SmiGpu:
    power = ("gpu_power_readings/", "power_readings/")
    # Since driver 610 nvidia-smi groups the limits in force, so they are looked for at any depth.
    limits = (power[0] + "/current_power_limit", power[0] + "/power_limit", power[1] + "power_limit")
    device = _known(element, "pci/pci_device_id")
    link = "pci/pci_gpu_link_info/"
    texts = [(child.text or "").lower() for child in element]
    return SmiGpu(
        bus_id=bus_id(element.get("id") or "") or bus_id(_text(element, "pci/pci_bus_id")),
        device_id=device[:4] if re.fullmatch(r"[0-9A-Fa-f]{4}10DE", device) else "",
        name=_known(element, "product_name"),
        uuid=_known(element, "uuid"),
        architecture=_known(element, "product_architecture"),
        persistence=_switch(_known(element, "persistence_mode")),
        memory_total=_bytes(_text(element, "fb_memory_usage/total")),
        memory_free=_bytes(_text(element, "fb_memory_usage/free")),
        memory_reserved=_bytes(_text(element, "fb_memory_usage/reserved")),
        power_limit=_number(_known(element, *limits)),
        power_limit_min=_number(_known(element, *(f"{part}min_power_limit" for part in power))),
        power_limit_max=_number(_known(element, *(f"{part}max_power_limit" for part in power))),
        ecc_current=_known(element, "ecc_mode/current_ecc"),
        ecc_pending=_known(element, "ecc_mode/pending_ecc"),
        mig_current=_known(element, "mig_mode/current_mig"),
        mig_pending=_known(element, "mig_mode/pending_mig"),
        mig_devices=_mig_devices(element),
        pcie_generation=_whole(_text(element, link + "pcie_gen/current_link_gen")),
        pcie_generation_max=_whole(_text(element, link + "pcie_gen/max_link_gen")),
        pcie_width=_whole(_text(element, link + "link_widths/current_link_width")),
        pcie_width_max=_whole(_text(element, link + "link_widths/max_link_width")),
        fabric_state=_known(element, "fabric/state"),
        fabric_status=_known(element, "fabric/status"),
        recovery_action=_recovery(element),
        row_remap_failure=_text(element, "remapped_rows/remapped_row_failure") == "Yes",
        row_remap_pending=_text(element, "remapped_rows/remapped_row_pending") == "Yes",
        lost=any("gpu is lost" in text for text in texts),
    )


def parse_xml(text: str) -> SmiLog | None:
    """The output of C(nvidia-smi -q -x); None if it is not complete XML of that kind."""
    start = text.find("<nvidia_smi_log")
    if start < 0:
        return None
    # From the root on: the document type before it names a file that is nowhere, and warnings may stand around it.
    end = text.rfind("</nvidia_smi_log>")
    try:
        root = ElementTree.fromstring(text[start : end + len("</nvidia_smi_log>")])
    except (ElementTree.ParseError, ValueError):
        return None
    gpus = tuple(_gpu(element) for element in root.findall("gpu"))
    return SmiLog(
        driver=_version(root, "driver_version", "kmd_version"),
        cuda=_version(root, "cuda_version", "cuda_umd_version"),
        gpus=tuple(gpu for gpu in gpus if gpu.bus_id),
    )


def parse_csv(text: str) -> dict[str, CsvGpu]:
    """The output of L{CSV_QUERY} by PCI address; lines that are something else are left out."""
    found = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        address = bus_id(fields[1]) if len(fields) == 3 else ""
        if address:
            capability = fields[2] if re.fullmatch(r"\d{1,2}\.\d", fields[2]) else ""
            index = int(fields[0]) if re.fullmatch(r"[0-9]{1,4}", fields[0]) else None
            found[address] = CsvGpu(index, capability)
    return found


def parse_list(text: str) -> dict[str, dict[int, str]]:
    """The output of C(nvidia-smi -L): the GPU's UUID -> MIG device's index -> its UUID."""
    found: dict[str, dict[int, str]] = {}
    devices: dict[int, str] = {}
    for line in text.splitlines():
        gpu = re.match(r"GPU \d+: .*\(UUID: (GPU-[^)\s]+)\)", line)
        mig = re.match(r"\s+MIG .*Device\s+(\d{1,4}):\s*\(UUID: (MIG-[^)\s]+)\)", line)
        if gpu:
            devices = found.setdefault(gpu[1], {})
        elif mig:
            devices[int(mig[1])] = mig[2]
    return found


def parse_nvlink(text: str) -> bool | None:
    """Whether a link of C(nvidia-smi nvlink --status) is up; None if it lists no GPU."""
    if re.search(r"^\s*Link \d+: [\d.]+ [GM]B/s", text, re.M):
        return True
    return False if re.search(r"^GPU \d+:", text, re.M) else None
