"""A host's files below a directory, and NVIDIA's devices among them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.pci import PciGpu, Tree, devices


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "outside").write_text("of the machine that looks")
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "usr/lib/file").write_text("of the host")
    (root / "absolute").symlink_to("/lib/file")
    (root / "usr/lib/relative").symlink_to("../../lib/./file")
    (root / "escape").symlink_to("../../../" + str(tmp_path / "outside"))
    (root / "escape2").symlink_to(str(tmp_path / "outside"))
    (root / "loop").symlink_to("loop")
    return Tree(str(root))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/lib/file", "of the host"),
        ("/absolute", "of the host"),
        ("/lib/relative", "of the host"),
        ("/escape", ""),
        ("/escape2", ""),
        ("/loop", ""),
        ("/lib", ""),
        ("/nowhere/file", ""),
        ("/lib/../../outside", ""),
        ("/nul\0", ""),
    ],
)
def test_read(tree: Tree, path: str, text: str) -> None:
    assert tree.read(path) == text


def test_list_and_names(tree: Tree) -> None:
    assert tree.list("/lib") == ("file", "relative")
    assert tree.list("/lib/file") == tree.list("/nowhere") == ()
    assert tree.link_name("/absolute") == "file"
    assert tree.link_name("/lib/file") == tree.link_name("/nowhere") == ""
    assert tree.exists("/absolute")
    assert not tree.exists("/escape")
    assert tree.read("/lib/file", 2) == "of"


def device(root: Path, address: str, **files: str) -> None:
    # As in sysfs, where the directory of the bus has links to the devices.
    real = root / "sys/devices/pci0000:00" / address
    real.mkdir(parents=True)
    for name, text in files.items():
        (real / name).write_text(f"{text}\n")
    bus = root / "sys/bus/pci/devices"
    bus.mkdir(parents=True, exist_ok=True)
    (bus / address).symlink_to(f"../../../devices/pci0000:00/{address}")


def test_devices(tmp_path: Path) -> None:
    device(tmp_path, "0000:3b:00.0", vendor="0x10de", device="0x2330", **{"class": "0x030200"})
    (tmp_path / "sys/devices/pci0000:00/0000:3b:00.0/driver").symlink_to("../../../bus/pci/drivers/nvidia")
    device(tmp_path, "10000:01:00.0", vendor="0x10de", device="0x2684", **{"class": "0x030000"})
    device(tmp_path, "0000:01:00.1", vendor="0x10de", device="0x22ba", **{"class": "0x040300"})
    device(tmp_path, "0000:05:00.0", vendor="0x10de", device="0x22a3", **{"class": "0x068000"})
    device(tmp_path, "0000:06:00.0", vendor="0x1002", device="0x744c", **{"class": "0x030000"})
    device(tmp_path, "0000:07:00.0", vendor="0x10de", device="garbage", **{"class": "0x030000"})
    device(tmp_path, "0000:08:00.0")
    assert devices(Tree(str(tmp_path))) == (
        (PciGpu("0000:3b:00.0", "2330", "nvidia"), PciGpu("10000:01:00.0", "2684", "")),
        1,
    )
