"""Hosts and simulations that are refused."""

from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt_output import Simulation
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.packages import Package
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.refusals import check_simulation, check_state
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def package(name: str, version: str = "550.163.01-2", want: str = "install", status: str = "installed") -> Package:
    return Package(name, version, want, status)


def of(*packages: Package) -> dict[str, Package]:
    return {one.name: one for one in packages}


def test_a_build_that_failed_is_quoted() -> None:
    broken = package("nvidia-open-kernel-dkms", status="half-configured")
    with pytest.raises(StackError, match=r"too few arguments.*\[driver.dkms_failed\]"):
        check_state(of(broken), "distribution", [], {broken.name: "nv-pci.c:237:9: error: too few arguments."})
    with pytest.raises(StackError, match=r"dpkg left.*\[driver.packages_broken\]"):
        check_state(of(broken), "distribution", [], {})


def test_foreign_packages() -> None:
    foreign = ["nvidia-open", "nvidia-driver-pinning-"]
    for name in ("nvidia-open", "nvidia-driver-pinning-580"):
        with pytest.raises(StackError, match=r"\[driver.sources_mixed\]"):
            check_state(of(package(name)), "distribution", foreign, {})
    check_state(of(package("nvidia-open-kernel-support")), "distribution", foreign, {})


@pytest.mark.parametrize(
    ("new", "upgraded", "removed", "kernels", "error_id"),
    [
        ({}, {"linux-image-6.1.0-9-amd64": "2"}, [], ["6.1.0-9-amd64"], "driver.kernel_would_change"),
        ({}, {"linux-image-amd64": "2"}, [], [], "driver.kernel_would_change"),
        ({"linux-image-6.1.0-10-amd64": "2"}, {}, [], ["6.1.0-9-amd64"], "driver.kernel_would_change"),
        ({}, {}, ["nvidia-smi", "docker.io"], [], "driver.packages_in_the_way"),
        # An image has no kernel yet, and headers of Debian 13 bring one.
        ({"linux-image-6.12.1-amd64": "2"}, {}, ["nvidia-smi", "update-glx"], [], ""),
        ({"linux-headers-6.1.0-9-amd64": "2"}, {}, [], ["6.1.0-9-amd64"], ""),
    ],
)
def test_what_apt_must_not_do(
    new: dict[str, str], upgraded: dict[str, str], removed: list[str], kernels: list[str], error_id: str
) -> None:
    simulation = Simulation(new, upgraded, removed, 0, 0)
    if not error_id:
        check_simulation(simulation, kernels)
        return
    with pytest.raises(StackError) as caught:
        check_simulation(simulation, kernels)
    assert caught.value.id == error_id
    assert "nvidia-smi" not in str(caught.value)
