"""Which packages are the driver's, and in which version."""

from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.packages import (
    Package,
    choose_version,
    is_driver,
    matches,
    outdated,
    upstream,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def package(name: str, version: str = "550.163.01-2", want: str = "install", status: str = "installed") -> Package:
    return Package(name, version, want, status)


def of(*packages: Package) -> dict[str, Package]:
    return {one.name: one for one in packages}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nvidia-kernel-dkms", True),
        ("nvidia-tesla-535-kernel-dkms", True),
        ("libnvidia-tesla-535-cuda1", True),
        ("libcuda1", True),
        ("firmware-nvidia-gsp", True),
        ("libnvidia-compute-580-server", True),
        ("linux-modules-nvidia-580-server-open-generic", True),
        ("nvidia-container-toolkit", False),
        ("libnvidia-container1", False),
        ("nvidia-cuda-toolkit", False),
        ("linux-image-amd64", False),
        ("linux-headers-amd64", False),
        ("cuda-toolkit-12-8", False),
        ("dkms", False),
    ],
)
def test_what_belongs_to_the_driver(name: str, expected: bool) -> None:
    assert is_driver(name) is expected


@pytest.mark.parametrize(
    ("wanted", "branch", "found"),
    [
        ("", "535", "535.309.01-0+deb12u1"),
        ("535.261.03", "535", "535.261.03-1"),
        ("535.261.03-1", "535", "535.261.03-1"),
    ],
)
def test_version(wanted: str, branch: str, found: str) -> None:
    known = ["535.309.01-0+deb12u1", "535.261.03-1"]
    assert choose_version("nvidia-kernel-dkms", known, wanted, branch) == found


@pytest.mark.parametrize(("wanted", "branch"), [("535.26", "535"), ("535.261.03-2", "535"), ("", "53")])
def test_version_that_is_not_there(wanted: str, branch: str) -> None:
    with pytest.raises(StackError) as caught:
        choose_version("nvidia-kernel-dkms", ["535.309.01-0+deb12u1", "535.261.03-1"], wanted, branch)
    assert caught.value.id == "driver.version_unavailable"
    assert "535.261.03-1" in str(caught.value)


def test_rpm_versions_have_epochs() -> None:
    assert upstream("3:580.95.05-1.el9") == "580.95.05"
    assert matches("3:580.95.05-1.el9", "580.95.05", "580")


def test_packages_of_another_branch_go() -> None:
    packages = of(
        package("nvidia-kernel-dkms"),
        package("libcuda1"),
        package("nvidia-persistenced", "550.163.01-1"),
        package("nvidia-modprobe", "570.133.07-1"),
        package("nvidia-container-toolkit", "1.20.0-1"),
        package("base-files", "13"),
    )
    gone = outdated(packages, ["nvidia-kernel-dkms"], ["nvidia-persistenced"], "535.274.02")
    assert gone == ["libcuda1", "nvidia-kernel-dkms"]


def test_the_same_packages_in_another_version_stay() -> None:
    packages = of(package("nvidia-kernel-dkms"), package("libcuda1"))
    keep = ["nvidia-kernel-dkms", "libcuda1"]
    assert outdated(packages, ["nvidia-kernel-dkms"], keep, "535.274.02") == []


def test_the_other_flavour_of_the_same_version_goes() -> None:
    packages = of(package("nvidia-kernel-dkms"), package("libcuda1"))
    gone = outdated(packages, ["nvidia-kernel-dkms"], ["nvidia-open-kernel-dkms"], "550.163.01")
    assert gone == ["nvidia-kernel-dkms"]
