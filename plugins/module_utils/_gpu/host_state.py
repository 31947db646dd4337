# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of the driver: what is loaded and installed, for which kernels, and what the kernel's log says.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import mmap
import os
import re
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.pci import Tree

LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
)
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

# Debian calls the module nvidia-current, nvidia-current-open, nvidia-tesla-535 and so on.
_MODULE = re.compile(
    r"nvidia(?:[-_](?:current|tesla|legacy|open|srv|\d)[\w-]*)?(?<!drm)(?<!uvm)(?<!modeset)(?<!peermem)"
)
_FILE = re.compile(_MODULE.pattern + r"\.ko(?:\.(?:xz|zst|gz))?")
_LIBRARY = re.compile(r"libnvidia-ml\.so\.(\d+(?:\.\d+)+)")
_LOG_FOR = re.compile(r"make\.log for .*? for kernel (\S+)")
# A compiler's word before that of other tools, and last that of make, which only says that there was one. The command
# lines that are in the log as well have words like -Wno-error.
_ERRORS = (
    re.compile(r"\b(?:fatal )?error: "),
    re.compile(r"^(?:error|ERROR|Error!)[: ]|: No such file or directory|: cannot "),
    re.compile(r"^make.*\bError \d+"),
)
# With its command lines the log has several MB.
_LOG_SIZE = 32 << 20
_XID = re.compile(r"NVRM: Xid \(PCI:([0-9a-fA-F:.]+)\): (\d{1,4})\b[, ]*(.*)")

# After a day something else will have told.
XID_AGE = 24 * 3600


class Kernel(NamedTuple):
    """An installed kernel: whether the headers to build for it and an NVIDIA module (its path) are there."""

    release: str
    headers: bool
    module: str
    running: bool


class Build(NamedTuple):
    """A failed DKMS build: of C(module) for C(kernel) (empty if the log doesn't say), and the error's line."""

    module: str
    kernel: str
    log: str
    error: str


class Xid(NamedTuple):
    """An error of a GPU that the kernel logged: its PCI address, its number in NVIDIA's list, its line."""

    bus_id: str
    number: int
    text: str


class Host(NamedTuple):
    """What the host's files say of the driver: versions, modules by kernel, builds, errors."""

    loaded: str
    installed: str
    flavour: str
    secure_boot: bool | None
    nouveau_loaded: bool
    kernel: str
    kernels: tuple[Kernel, ...]
    dkms: tuple[str, ...]
    builds: tuple[Build, ...]
    memory_total: int | None
    memory_available: int | None


def release_key(release: str) -> tuple[tuple[int, str], ...]:
    """Sorts releases of kernels and versions of drivers, 6.9 before 6.12."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|[a-z]+", release))


def loaded(tree: Tree) -> tuple[str, str]:
    """Version and flavour of the module in the running kernel; both empty if there is none."""
    text = tree.read("/proc/driver/nvidia/version", 4096)
    found = re.search(r"Kernel Module\D*?(?:for \S+\s+)?(\d+\.\d+(?:\.\d+)?)", text)
    version = found[1] if found else ""
    flavour = ("open" if "Open Kernel Module" in text else "proprietary") if found else ""
    for name in tree.list("/sys/module"):
        if _MODULE.fullmatch(name):
            said = tree.read(f"/sys/module/{name}/version", 64).strip()
            version = said if re.fullmatch(r"\d+(\.\d+)+", said) else version
            # The kernel marks modules that aren't under a free licence.
            taint = tree.read(f"/sys/module/{name}/taint", 16).strip()
            if taint and not flavour:
                flavour = "proprietary" if "P" in taint else "open"
    return version, flavour if version else ""


def installed(tree: Tree) -> str:
    """The version of the driver's library that programs get; empty if there is none."""
    found = []
    for folder in LIBRARY_FOLDERS:
        path = tree.real(f"{folder}/libnvidia-ml.so.1")
        active = _LIBRARY.fullmatch(os.path.basename(path))
        if active and os.path.exists(path):
            return active[1]
        for place in (folder, f"{folder}/nvidia", f"{folder}/nvidia/current"):
            found += [match[1] for name in tree.list(place) for match in [_LIBRARY.fullmatch(name)] if match]
    return max(found, key=release_key, default="")


def secure_boot(tree: Tree) -> bool | None:
    """None if the firmware doesn't say."""
    # Four bytes of attributes come before the value.
    value = tree.read_bytes(SECURE_BOOT, 16)
    if len(value) >= 5:
        return value[4] == 1
    return None if tree.exists("/sys/firmware/efi") else False


def _module_file(tree: Tree, release: str) -> str:
    base = f"/lib/modules/{release}"
    for folder in ("updates/dkms", "updates", "extra", "extra/nvidia", "weak-updates/nvidia", "kernel/drivers/video"):
        for name in tree.list(f"{base}/{folder}"):
            if _FILE.fullmatch(name):
                return f"{base}/{folder}/{name}"
    # Modules that were built elsewhere, as Ubuntu's linux-modules-nvidia-*, are where their branch is called.
    for line in re.findall(r"^(\S+/nvidia[\w-]*\.ko[.\w]*):", tree.read(f"{base}/modules.dep", 8 << 20), re.M):
        if _FILE.fullmatch(os.path.basename(line)) and tree.exists(f"{base}/{line}"):
            return f"{base}/{line}"
    return ""


def kernels(tree: Tree, running: str) -> tuple[Kernel, ...]:
    """The installed kernels, the oldest first; directories that a removed kernel left behind don't count."""
    found = []
    for release in sorted(tree.list("/lib/modules"), key=release_key):
        base = f"/lib/modules/{release}"
        headers = tree.exists(f"{base}/build/Makefile")
        if headers or tree.exists(f"{base}/kernel") or tree.exists(f"{base}/modules.builtin"):
            found.append(Kernel(release, headers, _module_file(tree, release), release == running))
    return tuple(found)


def _error_line(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if len(line) < 1000]
    for pattern in _ERRORS:
        for line in lines:
            if pattern.search(line):
                return line[:300]
    return ""


def dkms(tree: Tree) -> tuple[tuple[str, ...], tuple[Build, ...]]:
    """The registered NVIDIA modules as C(name/version), and those of their builds that failed.

    DKMS leaves C(build/make.log) behind only if the build failed; after a good one it moves to the kernel's own place.
    """
    registered = []
    failed = []
    for name in tree.list("/var/lib/dkms"):
        if not _MODULE.fullmatch(name):
            continue
        for version in tree.list(f"/var/lib/dkms/{name}"):
            base = f"/var/lib/dkms/{name}/{version}"
            if not re.match(r"\d", version):
                continue
            registered.append(f"{name}/{version}")
            path = f"{base}/build/make.log"
            log = tree.read(path, _LOG_SIZE)
            if log:
                about = _LOG_FOR.search(log)
                failed.append(Build(f"{name}/{version}", about[1] if about else "", path, _error_line(log)))
    return tuple(registered), tuple(failed)


def _license(path: str) -> str:
    """The flavour that a module's file declares; empty if it is compressed or can't be read."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            place = data.rfind(b"\0license=")
            value = data[place + 9 : place + 40].split(b"\0")[0] if place >= 0 else b""
    except (OSError, ValueError):
        return ""
    return "" if not value else "proprietary" if value == b"NVIDIA" else "open"


def flavour(tree: Tree, kernel_list: tuple[Kernel, ...], registered: tuple[str, ...]) -> str:
    """The flavour of the module that is installed, for the newest kernel that has one; empty if it can't be told."""
    for kernel in reversed(kernel_list):
        if kernel.module:
            name = os.path.basename(kernel.module)
            found = _license(tree.real(kernel.module)) or ("open" if "open" in name else "")
            if found:
                return found
            break
    names = [entry.split("/")[0] for entry in registered]
    if any("open" in name for name in names):
        return "open"
    # Of Debian's names the ones without 'open' are the other flavour; a plain 'nvidia' may be either.
    return "proprietary" if any(re.match(r"nvidia-(current|tesla)", name) for name in names) else ""


def _memory(tree: Tree) -> tuple[int | None, int | None]:
    text = tree.read("/proc/meminfo", 8192)
    total = re.search(r"^MemTotal:\s+(\d+) kB", text, re.M)
    free = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.M)
    return (int(total[1]) << 10 if total else None), (int(free[1]) << 10 if free else None)


def kernel_log(tree: Tree) -> str:
    """The kernel's messages since the boot, as /dev/kmsg gives them; empty where that isn't allowed."""
    # The kernel hands out one record for each read and tells the end by an error.
    parts = []
    size = 0
    try:
        handle = os.open(tree.real("/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        while size < 4 << 20:
            try:
                part = os.read(handle, 8192)
            except BrokenPipeError:
                continue  # The record was overwritten meanwhile; the next read gives the oldest there is.
            except OSError:
                break
            if not part:
                break
            parts.append(part)
            size += len(part)
    finally:
        os.close(handle)
    return b"".join(parts).decode("utf-8", "replace")


def xids(log: str, uptime: float | None = None) -> tuple[Xid, ...]:
    """NVIDIA's errors in the kernel's log, in their order; with C(uptime) (seconds) those of the last day only."""
    found = []
    for line in log.splitlines():
        match = _XID.search(line)
        if not match:
            continue
        stamp = re.match(r"\d+,\d+,(\d{1,18}),", line)
        if stamp and uptime is not None and uptime - int(stamp[1]) / 1e6 > XID_AGE:
            continue
        # The driver writes the address without the function.
        address = match[1].lower() if "." in match[1] else match[1].lower() + ".0"
        found.append(Xid(address, int(match[2]), match[3].strip()[:200]))
    return tuple(found)


def uptime(tree: Tree) -> float | None:
    """Seconds since the host started; None if it does not say."""
    found = re.match(r"(\d{1,12}(?:\.\d+)?) ", tree.read("/proc/uptime", 64))
    return float(found[1]) if found else None


def host(tree: Tree) -> Host:
    """Everything about the driver that is in files; reads some dozens of them, takes milliseconds."""
    version, loaded_flavour = loaded(tree)
    running = tree.read("/proc/sys/kernel/osrelease", 256).strip()
    kernel_list = kernels(tree, running)
    registered, failed = dkms(tree)
    total, available = _memory(tree)
    return Host(
        loaded=version,
        installed=installed(tree),
        flavour=loaded_flavour or flavour(tree, kernel_list, registered),
        secure_boot=secure_boot(tree),
        nouveau_loaded=tree.exists("/sys/module/nouveau"),
        kernel=running,
        kernels=kernel_list,
        dkms=registered,
        builds=failed,
        memory_total=total,
        memory_available=available,
    )
