# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's GPUs by PCI device id: name, generation, compute capability, memory, and the kernel modules they take.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Names and ids are those of the table in the README of NVIDIA's open-gpu-kernel-modules and of pci.ids, compute
capabilities those of https://developer.nvidia.com/cuda-gpus. The memory is what the maker advertises, in GiB: with ECC
on a driver says less, so models are sized by what the driver says.
"""

from __future__ import annotations

from typing import NamedTuple

OPEN = "open"
PROPRIETARY = "proprietary"
EITHER = "either"

# Open kernel modules need the GPU's own system processor, which came with Turing; the proprietary ones end with Hopper.
GENERATION_MODULES = {
    "Maxwell": PROPRIETARY,
    "Pascal": PROPRIETARY,
    "Volta": PROPRIETARY,
    "Turing": EITHER,
    "Ampere": EITHER,
    "Ada": EITHER,
    "Hopper": EITHER,
    "Grace Hopper": OPEN,
    "Blackwell": OPEN,
}


class Device(NamedTuple):
    """A row: C(memory) in GiB, 0 if several were made; C(unified) if the GPU uses the host's memory."""

    name: str
    generation: str
    compute_capability: str
    memory: int
    unified: bool = False


class Known(NamedTuple):
    """What is known about a device id; the strings are empty and C(memory) (bytes) is None if it is not known."""

    name: str = ""
    generation: str = ""
    compute_capability: str = ""
    memory: int | None = None
    unified: bool = False
    modules: str = ""


# fmt: off
DEVICES = {
    "2E12": Device("NVIDIA GB10", "Blackwell", "12.1", 128, unified=True),
    "2BB1": Device("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "Blackwell", "12.0", 96),
    "2BB4": Device("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "Blackwell", "12.0", 96),
    "2BB5": Device("NVIDIA RTX PRO 6000 Blackwell Server Edition", "Blackwell", "12.0", 96),
    "2BB3": Device("NVIDIA RTX PRO 5000 Blackwell", "Blackwell", "12.0", 0),
    "2C31": Device("NVIDIA RTX PRO 4500 Blackwell", "Blackwell", "12.0", 32),
    "2C34": Device("NVIDIA RTX PRO 4000 Blackwell", "Blackwell", "12.0", 24),
    "2D30": Device("NVIDIA RTX PRO 2000 Blackwell", "Blackwell", "12.0", 16),
    "2B85": Device("NVIDIA GeForce RTX 5090", "Blackwell", "12.0", 32),
    "2C02": Device("NVIDIA GeForce RTX 5080", "Blackwell", "12.0", 16),
    "2C05": Device("NVIDIA GeForce RTX 5070 Ti", "Blackwell", "12.0", 16),
    "2F04": Device("NVIDIA GeForce RTX 5070", "Blackwell", "12.0", 12),
    "2D04": Device("NVIDIA GeForce RTX 5060 Ti", "Blackwell", "12.0", 0),
    "2D05": Device("NVIDIA GeForce RTX 5060", "Blackwell", "12.0", 8),
    "3182": Device("NVIDIA B300", "Blackwell", "10.3", 288),
    "31C2": Device("NVIDIA GB300", "Blackwell", "10.3", 0),
    "2901": Device("NVIDIA B200", "Blackwell", "10.0", 192),
    "2941": Device("NVIDIA GB200", "Blackwell", "10.0", 0),
    "2335": Device("NVIDIA H200", "Hopper", "9.0", 141),
    "2330": Device("NVIDIA H100 80GB HBM3", "Hopper", "9.0", 80),
    "2331": Device("NVIDIA H100 PCIe", "Hopper", "9.0", 80),
    "2321": Device("NVIDIA H100 NVL", "Hopper", "9.0", 94),
    "2329": Device("NVIDIA H20", "Hopper", "9.0", 96),
    "232C": Device("NVIDIA H20-3e", "Hopper", "9.0", 141),
    "2322": Device("NVIDIA H800 PCIe", "Hopper", "9.0", 80),
    "2324": Device("NVIDIA H800", "Hopper", "9.0", 80),
    "2342": Device("NVIDIA GH200 480GB", "Grace Hopper", "9.0", 0),
    "2348": Device("NVIDIA GH200 144G HBM3e", "Grace Hopper", "9.0", 144),
    "26B9": Device("NVIDIA L40S", "Ada", "8.9", 48),
    "26B5": Device("NVIDIA L40", "Ada", "8.9", 48),
    "26BA": Device("NVIDIA L20", "Ada", "8.9", 48),
    "27B8": Device("NVIDIA L4", "Ada", "8.9", 24),
    "27B6": Device("NVIDIA L2", "Ada", "8.9", 24),
    "26B1": Device("NVIDIA RTX 6000 Ada Generation", "Ada", "8.9", 48),
    "26B3": Device("NVIDIA RTX 5880 Ada Generation", "Ada", "8.9", 48),
    "26B2": Device("NVIDIA RTX 5000 Ada Generation", "Ada", "8.9", 32),
    "27B1": Device("NVIDIA RTX 4500 Ada Generation", "Ada", "8.9", 24),
    "27B0": Device("NVIDIA RTX 4000 SFF Ada Generation", "Ada", "8.9", 20),
    "27B2": Device("NVIDIA RTX 4000 Ada Generation", "Ada", "8.9", 20),
    "28B0": Device("NVIDIA RTX 2000 Ada Generation", "Ada", "8.9", 16),
    "2684": Device("NVIDIA GeForce RTX 4090", "Ada", "8.9", 24),
    "2685": Device("NVIDIA GeForce RTX 4090 D", "Ada", "8.9", 24),
    "2702": Device("NVIDIA GeForce RTX 4080 SUPER", "Ada", "8.9", 16),
    "2704": Device("NVIDIA GeForce RTX 4080", "Ada", "8.9", 16),
    "2705": Device("NVIDIA GeForce RTX 4070 Ti SUPER", "Ada", "8.9", 16),
    "2782": Device("NVIDIA GeForce RTX 4070 Ti", "Ada", "8.9", 12),
    "2783": Device("NVIDIA GeForce RTX 4070 SUPER", "Ada", "8.9", 12),
    "2786": Device("NVIDIA GeForce RTX 4070", "Ada", "8.9", 12),
    "2803": Device("NVIDIA GeForce RTX 4060 Ti", "Ada", "8.9", 8),
    "2805": Device("NVIDIA GeForce RTX 4060 Ti", "Ada", "8.9", 16),
    "2882": Device("NVIDIA GeForce RTX 4060", "Ada", "8.9", 8),
    "2235": Device("NVIDIA A40", "Ampere", "8.6", 48),
    "2236": Device("NVIDIA A10", "Ampere", "8.6", 24),
    "2237": Device("NVIDIA A10G", "Ampere", "8.6", 24),
    "25B6": Device("NVIDIA A16 or A2", "Ampere", "8.6", 16),
    "2230": Device("NVIDIA RTX A6000", "Ampere", "8.6", 48),
    "2231": Device("NVIDIA RTX A5000", "Ampere", "8.6", 24),
    "2232": Device("NVIDIA RTX A4500", "Ampere", "8.6", 20),
    "2233": Device("NVIDIA RTX A5500", "Ampere", "8.6", 24),
    "24B0": Device("NVIDIA RTX A4000", "Ampere", "8.6", 16),
    "2531": Device("NVIDIA RTX A2000", "Ampere", "8.6", 6),
    "2571": Device("NVIDIA RTX A2000 12GB", "Ampere", "8.6", 12),
    "2203": Device("NVIDIA GeForce RTX 3090 Ti", "Ampere", "8.6", 24),
    "2204": Device("NVIDIA GeForce RTX 3090", "Ampere", "8.6", 24),
    "2208": Device("NVIDIA GeForce RTX 3080 Ti", "Ampere", "8.6", 12),
    "2206": Device("NVIDIA GeForce RTX 3080", "Ampere", "8.6", 10),
    "220A": Device("NVIDIA GeForce RTX 3080", "Ampere", "8.6", 12),
    "2216": Device("NVIDIA GeForce RTX 3080", "Ampere", "8.6", 10),
    "2207": Device("NVIDIA GeForce RTX 3070 Ti", "Ampere", "8.6", 8),
    "2484": Device("NVIDIA GeForce RTX 3070", "Ampere", "8.6", 8),
    "2486": Device("NVIDIA GeForce RTX 3060 Ti", "Ampere", "8.6", 8),
    "2489": Device("NVIDIA GeForce RTX 3060 Ti", "Ampere", "8.6", 8),
    "2503": Device("NVIDIA GeForce RTX 3060", "Ampere", "8.6", 12),
    "2504": Device("NVIDIA GeForce RTX 3060", "Ampere", "8.6", 12),
    "20B0": Device("NVIDIA A100-SXM4-40GB", "Ampere", "8.0", 40),
    "20B3": Device("NVIDIA A100-SXM-64GB", "Ampere", "8.0", 64),
    "20BD": Device("NVIDIA A800-SXM4-40GB", "Ampere", "8.0", 40),
    "20F1": Device("NVIDIA A100-PCIE-40GB", "Ampere", "8.0", 40),
    "20B2": Device("NVIDIA A100-SXM4-80GB", "Ampere", "8.0", 80),
    "20B5": Device("NVIDIA A100 80GB PCIe", "Ampere", "8.0", 80),
    "20B7": Device("NVIDIA A30", "Ampere", "8.0", 24),
    "20F3": Device("NVIDIA A800-SXM4-80GB", "Ampere", "8.0", 80),
    "20F5": Device("NVIDIA A800 80GB PCIe", "Ampere", "8.0", 80),
    "20F6": Device("NVIDIA A800 40GB Active", "Ampere", "8.0", 40),
    "1EB8": Device("Tesla T4", "Turing", "7.5", 16),
    "1E02": Device("NVIDIA TITAN RTX", "Turing", "7.5", 24),
    "1E04": Device("NVIDIA GeForce RTX 2080 Ti", "Turing", "7.5", 11),
    "1E07": Device("NVIDIA GeForce RTX 2080 Ti", "Turing", "7.5", 11),
    "1E81": Device("NVIDIA GeForce RTX 2080 SUPER", "Turing", "7.5", 8),
    "1E82": Device("NVIDIA GeForce RTX 2080", "Turing", "7.5", 8),
    "1E87": Device("NVIDIA GeForce RTX 2080", "Turing", "7.5", 8),
    "1F02": Device("NVIDIA GeForce RTX 2070", "Turing", "7.5", 8),
    "1F07": Device("NVIDIA GeForce RTX 2070", "Turing", "7.5", 8),
    "1F03": Device("NVIDIA GeForce RTX 2060 12GB", "Turing", "7.5", 12),
    "1F08": Device("NVIDIA GeForce RTX 2060", "Turing", "7.5", 6),
    "1E30": Device("Quadro RTX 6000 or 8000", "Turing", "7.5", 0),
    "1E78": Device("Quadro RTX 6000 or 8000", "Turing", "7.5", 0),
    "1EB0": Device("Quadro RTX 5000", "Turing", "7.5", 16),
    "1EB1": Device("Quadro RTX 4000", "Turing", "7.5", 8),
    "2182": Device("NVIDIA GeForce GTX 1660 Ti", "Turing", "7.5", 6),
    "2184": Device("NVIDIA GeForce GTX 1660", "Turing", "7.5", 6),
    "21C4": Device("NVIDIA GeForce GTX 1660 SUPER", "Turing", "7.5", 6),
    "1F82": Device("NVIDIA GeForce GTX 1650", "Turing", "7.5", 4),
    "1DB1": Device("Tesla V100-SXM2-16GB", "Volta", "7.0", 16),
    "1DB4": Device("Tesla V100-PCIE-16GB", "Volta", "7.0", 16),
    "1DB5": Device("Tesla V100-SXM2-32GB", "Volta", "7.0", 32),
    "1DB6": Device("Tesla V100-PCIE-32GB", "Volta", "7.0", 32),
    "1D81": Device("NVIDIA TITAN V", "Volta", "7.0", 12),
    "1DBA": Device("Quadro GV100", "Volta", "7.0", 32),
    "1B38": Device("Tesla P40", "Pascal", "6.1", 24),
    "1BB3": Device("Tesla P4", "Pascal", "6.1", 8),
    "1B06": Device("NVIDIA GeForce GTX 1080 Ti", "Pascal", "6.1", 11),
    "1B80": Device("NVIDIA GeForce GTX 1080", "Pascal", "6.1", 8),
    "15F8": Device("Tesla P100-PCIE-16GB", "Pascal", "6.0", 16),
    "15F9": Device("Tesla P100-SXM2-16GB", "Pascal", "6.0", 16),
}
# fmt: on

# (first, last, generation, compute capability): which ids a generation got, for devices without a row.
# The capability is empty where several are mixed.
RANGES = (
    (0x1340, 0x15EF, "Maxwell", ""),
    (0x15F0, 0x15FF, "Pascal", "6.0"),
    (0x1600, 0x1AFF, "Maxwell", ""),
    (0x1B00, 0x1D7F, "Pascal", "6.1"),
    (0x1D80, 0x1DFF, "Volta", "7.0"),
    (0x1E02, 0x1FFF, "Turing", "7.5"),
    (0x2080, 0x20FF, "Ampere", "8.0"),
    (0x2180, 0x21FF, "Turing", "7.5"),
    (0x2200, 0x22FF, "Ampere", "8.6"),
    (0x2300, 0x2341, "Hopper", "9.0"),
    (0x2342, 0x234F, "Grace Hopper", "9.0"),
    (0x2350, 0x23FF, "Hopper", "9.0"),
    (0x2400, 0x25FF, "Ampere", "8.6"),
    (0x2600, 0x28FF, "Ada", "8.9"),
    (0x2900, 0x29FF, "Blackwell", "10.0"),
    (0x2B00, 0x2DFF, "Blackwell", "12.0"),
    (0x2E00, 0x2EFF, "Blackwell", "12.1"),
    (0x2F00, 0x2FFF, "Blackwell", "12.0"),
    (0x3180, 0x31FF, "Blackwell", "10.3"),
)
# Older than Maxwell, with drivers of their own that no engine can use.
_FIRST = RANGES[0][0]


def known(device_id: str) -> Known:
    """What is known about a device id of four hexadecimal digits; never raises."""
    row = DEVICES.get(device_id.upper())
    if row is not None:
        memory = row.memory << 30 if row.memory else None
        modules = GENERATION_MODULES[row.generation]
        return Known(row.name, row.generation, row.compute_capability, memory, row.unified, modules)
    try:
        number = int(device_id, 16)
    except ValueError:
        return Known()
    for first, last, generation, capability in RANGES:
        if first <= number <= last:
            return Known("", generation, capability, modules=GENERATION_MODULES[generation])
    return Known(modules=PROPRIETARY) if 0 < number < _FIRST else Known()
