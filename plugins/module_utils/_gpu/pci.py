# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's devices on the PCI bus, from C(/sys) alone, and reading files of a host below some directory.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

NVIDIA = "0x10de"
# Display controllers: VGA compatible (GeForce, RTX PRO) and 3D (data centre). Audio and USB functions aren't.
GPU_CLASSES = ("0x0300", "0x0302")
# NVSwitches are bridges of the class "other".
NVSWITCH_CLASS = "0x0680"


class Tree:
    """The file system of a host below C(root); links are followed as that host would, nothing is ever written.

    What can't be read counts as empty or missing.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.abspath(root)

    def real(self, path: str) -> str:
        """The path on this machine that the host's path C(path) leads to, whether it exists or not."""
        parts = [part for part in path.split("/") if part]
        done: list[str] = []
        links = 0
        while parts:
            part = parts.pop(0)
            if part == ".":
                continue
            if part == "..":
                done = done[:-1]
                continue
            here = os.path.join(self.root, *done, part)
            try:
                target = os.readlink(here)
            except OSError:
                done.append(part)
                continue
            links += 1
            if links > 40:
                break
            if target.startswith("/"):
                done = []
            parts = [piece for piece in target.split("/") if piece] + parts
        return os.path.join(self.root, *done)

    def exists(self, path: str) -> bool:
        return os.path.exists(self.real(path))

    def read(self, path: str, limit: int = 1 << 20) -> str:
        return self.read_bytes(path, limit).decode("utf-8", "replace")

    def read_bytes(self, path: str, limit: int = 1 << 20) -> bytes:
        try:
            with open(self.real(path), "rb") as file:
                return file.read(limit)
        except (OSError, ValueError):
            return b""

    def list(self, path: str) -> tuple[str, ...]:
        try:
            return tuple(sorted(os.listdir(self.real(path))))
        except (OSError, ValueError):
            return ()

    def link_name(self, path: str) -> str:
        """The last part of the path to which a link points; empty if it is not a link."""
        try:
            folder, name = os.path.split(path)
            return os.path.basename(os.readlink(os.path.join(self.real(folder), name)))
        except (OSError, ValueError):
            return ""


class PciGpu(NamedTuple):
    """C(bus_id) as 0000:3b:00.0, C(device_id) of four hexadecimal digits, C(driver) that is bound or empty."""

    bus_id: str
    device_id: str
    driver: str


def devices(tree: Tree) -> tuple[tuple[PciGpu, ...], int]:
    """NVIDIA's GPUs in the order of their addresses, and the number of NVSwitches."""
    gpus = []
    switches = 0
    folder = "/sys/bus/pci/devices"
    for name in tree.list(folder):
        path = f"{folder}/{name}"
        if tree.read(f"{path}/vendor", 16).strip().lower() != NVIDIA:
            continue
        kind = tree.read(f"{path}/class", 16).strip().lower()[:6]
        device = tree.read(f"{path}/device", 16).strip().upper()[2:]
        if kind == NVSWITCH_CLASS:
            switches += 1
        elif kind in GPU_CLASSES and re.fullmatch(r"[0-9A-F]{4}", device):
            gpus.append(PciGpu(name.lower(), device, tree.link_name(f"{path}/driver")))
    return tuple(gpus), switches
