"""How the words of the package managers and SELinux are read, and which files of package sources are in the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._toolkit.probe import (
    Package,
    gather,
    other_sources,
    parse_deb,
    parse_rpm,
    parse_sebool,
)

MIRROR = "https://mirror.example.org/nvidia"
OURS = "deb https://nvidia.github.io/libnvidia-container/stable/deb/amd64 /\n"
OTHER = "deb http://deb.debian.org/debian trixie main\n"


def test_packages_of_debian() -> None:
    text = (
        "nvidia-container-toolkit 1.20.0-1 hold ok installed\n"
        "nvidia-container-toolkit-base 1.19.0-1 install ok installed\n"
        "libnvidia-container1 1.18.0-1 deinstall ok config-files\n"
        "libnvidia-container-tools  unknown ok not-installed\n"
    )
    assert parse_deb(text) == (
        Package("nvidia-container-toolkit", "held", "1.20.0-1"),
        Package("nvidia-container-toolkit-base", "free", "1.19.0-1"),
        Package("libnvidia-container1", "deinstall ok config-files", "1.18.0-1"),
        Package("libnvidia-container-tools", "unknown ok not-installed", ""),
    )
    assert parse_deb("") == ()


def test_packages_of_red_hat() -> None:
    text = "held nvidia-container-toolkit 1.20.0-1\npackage libnvidia-container1 is not installed\n"
    assert parse_rpm(text) == (Package("nvidia-container-toolkit", "held", "1.20.0-1"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("container_use_devices --> off\n", "off"), ("container_use_devices --> on\n", "on"), ("", "")],
)
def test_selinux(text: str, expected: str) -> None:
    assert parse_sebool(text) == expected


@pytest.mark.parametrize(
    ("text", "alone", "mixed"),
    [
        (OURS, True, False),
        (f"# {OTHER}{OURS}", True, False),
        (f"Types: deb\nURIs: {MIRROR}/deb/amd64\nSuites: /\n", True, False),
        ("deb https://nvidia.github.io/nvidia-docker/debian11/amd64 /\n", True, False),
        (f"{OURS}{OTHER}", False, True),
        (f"deb-src http://deb.debian.org/debian trixie main\n{OURS}", False, True),
        (OTHER, False, False),
        (f"# {OURS}", False, False),
        ("deb https://mirror.example.com/nvidia /\n", False, False),
    ],
)
def test_other_files_that_name_the_repository(text: str, alone: bool, mixed: bool) -> None:
    assert other_sources([("/a", text)], MIRROR) == (("/a",) if alone else (), ("/a",) if mixed else ())


def test_a_snap_is_known_by_where_its_client_leads(tmp_path: Path) -> None:
    snap, link = tmp_path / "snap", tmp_path / "docker"
    snap.write_text("")
    link.symlink_to(snap)
    facts = gather([], "", MIRROR, lambda _command: (127, "", ""), {"docker": str(link)}.get)
    assert (facts.client, facts.program) == (str(snap), "")
