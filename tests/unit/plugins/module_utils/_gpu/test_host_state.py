"""Texts of the kernel and of DKMS, as they are found on hosts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu import host_state
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.pci import Tree
from hypothesis import given, settings
from hypothesis import strategies as st

COMPILER = "a.c:1:2: error: too few arguments"
MAKE = "make: *** [x] Error 2"
MISSING = "a.c:3: fatal error: linux/x.h: No such file or directory"


def plant(root: Path, **files: str) -> Tree:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(str(root))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("NVIDIA UNIX x86_64 Kernel Module  535.216.03  Thu Apr  3 01:14:19 UTC 2025", ("535.216.03", "proprietary")),
        ("NVIDIA UNIX Open Kernel Module for x86_64  580.142  Release Build  (x)  Tue Mar", ("580.142", "open")),
        ("NVIDIA UNIX Open Kernel Module for aarch64  595.91.07  Release Build", ("595.91.07", "open")),
        ("NVIDIA UNIX Kernel Module for aarch64  34.1.1  Release Build  (x)", ("34.1.1", "proprietary")),
        ("NVIDIA UNIX Open Kernel Module for x86_64 malformed", ("", "")),
        ("", ("", "")),
    ],
)
def test_loaded(tmp_path: Path, line: str, expected: tuple[str, str]) -> None:
    tree = plant(tmp_path, proc__driver__nvidia__version=f"NVRM version: {line}\nGCC version:  gcc version 14.2.0")
    assert host_state.loaded(tree) == expected


@pytest.mark.parametrize(
    ("module", "taint", "expected"),
    [
        ("nvidia", "OE", ("550.163.01", "open")),
        ("nvidia_current", "POE", ("550.163.01", "proprietary")),
        ("nvidia_tesla_535", "POE", ("550.163.01", "proprietary")),
        ("nvidia", "", ("550.163.01", "")),
        ("nvidia_uvm", "OE", ("", "")),
        ("nvidia_current_drm", "OE", ("", "")),
        ("nvidiafb", "", ("", "")),
    ],
)
def test_loaded_by_name(tmp_path: Path, module: str, taint: str, expected: tuple[str, str]) -> None:
    folder = tmp_path / "sys/module" / module
    folder.mkdir(parents=True)
    (folder / "version").write_text("550.163.01\n")
    (folder / "taint").write_text(f"{taint}\n")
    assert host_state.loaded(Tree(str(tmp_path))) == expected


@pytest.mark.parametrize(
    ("content", "directory", "expected"),
    [(b"\6\0\0\0\1", True, True), (b"\6\0\0\0\0", True, False), (b"\6\0", True, None), (b"", False, False)],
)
def test_secure_boot(tmp_path: Path, content: bytes, directory: bool, expected: bool | None) -> None:
    if directory:
        path = tmp_path / host_state.SECURE_BOOT.lstrip("/")
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    assert host_state.secure_boot(Tree(str(tmp_path))) is expected


def test_releases_are_sorted_as_versions() -> None:
    releases = ["6.12.9-amd64", "6.9.0", "6.12.117+deb13-amd64", "6.1.0-56-amd64", "5.14.0-503.el9_5.x86_64"]
    assert sorted(releases, key=host_state.release_key) == [
        "5.14.0-503.el9_5.x86_64",
        "6.1.0-56-amd64",
        "6.9.0",
        "6.12.9-amd64",
        "6.12.117+deb13-amd64",
    ]


@pytest.mark.parametrize(
    ("log", "kernel", "error"),
    [
        (
            f"DKMS make.log for nvidia-331.17 for kernel 3.11.0-11 (x86_64)\ncc: {COMPILER}\n",
            "3.11.0-11",
            f"cc: {COMPILER}",
        ),
        (f"DKMS (dkms-3.2.2) make.log for nvidia/580.1 for kernel 6.1 (x86_64)\n{MAKE}", "6.1", MAKE),
        ("ERROR: Kernel configuration is invalid.", "", "ERROR: Kernel configuration is invalid."),
        (f"{MAKE}\n{MISSING}\nb.c:4:1: error: second", "", MISSING),
        (f"  gcc -Wall -Wno-error -fno-pie {'-I/usr/include ' * 9}-c -o a.o a.c\n{MAKE}", "", MAKE),
        ("error_code.o is made\n", "", ""),
    ],
)
def test_failed_build(tmp_path: Path, log: str, kernel: str, error: str) -> None:
    tree = plant(tmp_path, **{"var__lib__dkms__nvidia-current__550.163.01__build__make.log": log})
    registered, builds = host_state.dkms(tree)
    assert registered == ("nvidia-current/550.163.01",)
    assert builds[0][1:] == (kernel, "/var/lib/dkms/nvidia-current/550.163.01/build/make.log", error)


def test_other_dkms_modules_are_none_of_ours(tmp_path: Path) -> None:
    tree = plant(
        tmp_path, **{"var__lib__dkms__zfs__2.3.1__build__make.log": "error: x", "var__lib__dkms__mok.key": "k"}
    )
    assert host_state.dkms(tree) == ((), ())


def test_xids_of_dmesg_and_kmsg() -> None:
    log = (
        "[  10.1] NVRM: Xid (PCI:0000:10:1c): 79, GPU has fallen off the bus.\n"
        "6,88,7000000,-;NVRM: Xid (PCI:0000:3B:00.0): 48, pid=1\n"
        "[  11.0] NVRM: Xid (PCI:0000:3b:00): none\n"
        "[  11.1] something else\n"
    )
    assert host_state.xids(log, 8.0) == (
        ("0000:10:1c.0", 79, "GPU has fallen off the bus."),
        ("0000:3b:00.0", 48, "pid=1"),
    )
    assert [xid.number for xid in host_state.xids(log, 7.0 + host_state.XID_AGE + 1)] == [79]


def test_this_machine() -> None:
    host = host_state.host(Tree())
    assert host.kernel == os.uname().release
    assert host.memory_total


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.text(), st.binary().map(lambda data: data.decode("latin-1"))), data=st.data())
def test_garbled_files_never_raise(tmp_path_factory: pytest.TempPathFactory, text: str, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("host")
    names = [
        "proc/driver/nvidia/version",
        "proc/sys/kernel/osrelease",
        "proc/meminfo",
        "proc/uptime",
        "dev/kmsg",
        "sys/module/nvidia/version",
        "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
        "lib/modules/6.1/modules.dep",
        "lib/modules/6.1/updates/nvidia.ko",
        "var/lib/dkms/nvidia/1.2/build/make.log",
        "sys/module",
        "lib/modules",
    ]
    path = root / data.draw(st.sampled_from(names))
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    tree = Tree(str(root))
    host_state.host(tree)
    host_state.xids(host_state.kernel_log(tree), host_state.uptime(tree))
