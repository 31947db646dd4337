"""The driver's table: every distribution, source and GPU generation, against what repositories offer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt_output import versions_by_package
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.packages import Package, choose_version, upstream
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.refusals import check_state
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.table import GENERATION_MODULES, OPEN, PROPRIETARY
from ansible_collections.mistralrs.stack.plugins.plugin_utils._driver.choice import (
    Choice,
    Gpu,
    Wanted,
    driver_choice,
    gpus_named,
    gpus_of,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._driver.distributions import (
    DISTRIBUTIONS,
    GENERATION_BRANCHES,
)

REPOSITORIES = Path(__file__).resolve().parents[5] / "tests" / "recordings" / "repositories"
FACTS = {
    "Debian-12": ("Debian", "12.15", "12"),
    "Debian-13": ("Debian", "13.8", "13"),
    "Ubuntu-22.04": ("Ubuntu", "22.04", "22"),
    "Ubuntu-24.04": ("Ubuntu", "24.04", "24"),
    "RedHat-9": ("RedHat", "9.6", "9"),
    "Rocky-9": ("Rocky", "9.7", "9"),
    "AlmaLinux-9": ("AlmaLinux", "9.6", "9"),
}
OLD = ("Maxwell", "Pascal", "Volta")
BOTH = ("Turing", "Ampere", "Ada", "Hopper")
OPEN_ONLY = ("Grace Hopper", "Blackwell")


def choose(key: str, *generations: str, architecture: str = "x86_64", **wanted: Any) -> Choice:
    return driver_choice(*FACTS[key], architecture, gpus_named(generations), Wanted(**wanted))


def refused(key: str, *generations: str, **wanted: Any) -> StackError:
    with pytest.raises(StackError) as caught:
        choose(key, *generations, **wanted)
    assert "{" not in str(caught.value)
    return caught.value


def test_every_row_and_generation_has_its_test() -> None:
    assert set(FACTS) == set(DISTRIBUTIONS)
    assert set(GENERATION_BRANCHES) == set(GENERATION_MODULES) == {*OLD, *BOTH, *OPEN_ONLY}


@pytest.mark.parametrize("key", FACTS)
@pytest.mark.parametrize("generation", GENERATION_MODULES)
def test_nvidias_repository_runs_every_generation(key: str, generation: str) -> None:
    choice = choose(key, generation)
    assert choice.branch == ("580" if generation in OLD else "595")
    assert choice.flavour == ("proprietary" if generation in OLD else "open")
    assert choice.packages[0 if "pinning" not in choice.packages[0] else 1] == choice.kernel_package
    assert ("open" in choice.kernel_package) == (choice.flavour == "open")
    assert choice.kernel_package not in choice.other_kernel_packages


# Expected: branch and flavour, or the id of the refusal.
DISTRIBUTIONS_OWN = {
    ("Debian-12", OLD + BOTH): ("535", "proprietary"),
    ("Debian-12", ("Grace Hopper",)): "driver.flavour_unavailable",
    ("Debian-12", ("Blackwell",)): "driver.branch_too_old_for_gpu",
    ("Debian-13", OLD + BOTH): ("550", "proprietary"),
    ("Debian-13", ("Grace Hopper",)): "driver.flavour_unavailable",
    ("Debian-13", ("Blackwell",)): "driver.branch_too_old_for_gpu",
    ("Ubuntu-22.04", OLD): ("580", "proprietary"),
    ("Ubuntu-22.04", BOTH + OPEN_ONLY): ("580", "open"),
    ("Ubuntu-24.04", OLD): ("580", "proprietary"),
    ("Ubuntu-24.04", BOTH + OPEN_ONLY): ("580", "open"),
    ("RedHat-9", OLD + BOTH + OPEN_ONLY): "driver.source_unavailable",
    ("Rocky-9", OLD + BOTH + OPEN_ONLY): "driver.source_unavailable",
    ("AlmaLinux-9", OLD + BOTH + OPEN_ONLY): "driver.source_unavailable",
}


@pytest.mark.parametrize(
    ("key", "generation", "expected"),
    [(key, name, expected) for (key, names), expected in DISTRIBUTIONS_OWN.items() for name in names],
)
def test_the_distributions_own_packages(key: str, generation: str, expected: Any) -> None:
    if isinstance(expected, str):
        assert refused(key, generation, source="distribution").id == expected
    else:
        choice = choose(key, generation, source="distribution")
        assert (choice.branch, choice.flavour) == expected


def recorded(name: str) -> dict[str, list[str]]:
    return versions_by_package((REPOSITORIES / name).read_text())


@pytest.mark.parametrize(
    ("key", "branch", "version"),
    [
        ("Debian-12", "", "535.309.01"),
        ("Debian-13", "", "550.163.01"),
        ("Debian-13", "535", "535.274.02"),
    ],
)
def test_debian_has_the_packages_of_its_rows(key: str, branch: str, version: str) -> None:
    choice = choose(key, source="distribution", branch=branch)
    offered = recorded(f"{key.lower()}.txt")
    assert set(choice.packages) <= set(offered)
    found = choose_version(choice.kernel_package, offered[choice.kernel_package], "", choice.branch)
    assert upstream(found) == version
    assert choice.headers_meta in offered


def names(file: str) -> set[str]:
    lines = (REPOSITORIES / file).read_text().splitlines()
    assert lines[0].startswith("# Not run.")
    return {word for line in lines[1:] for word in line.split()}


@pytest.mark.parametrize("modules", ["open", "proprietary"])
def test_ubuntu_has_the_packages_of_its_rows(modules: str) -> None:
    choice = choose("Ubuntu-24.04", "Hopper", source="distribution", modules=modules, fabric_manager=True)
    assert choice.flavour == modules
    assert set(choice.packages) <= names("ubuntu-24.04.txt")
    assert choice.fabric_manager == "nvidia-fabricmanager-580"
    assert set(choice.components) <= names("ubuntu-24.04.txt")
    offered = choose_version(choice.kernel_package, ["580.173.02-0ubuntu0.24.04.1"], "580.173.02", "580")
    assert upstream(offered) == "580.173.02"


def test_nvidias_ubuntu_packages_lose_the_branch_in_their_names_with_590() -> None:
    known = names("nvidia-ubuntu.txt")
    for branch in ("580", "590"):
        for modules in ("open", "proprietary"):
            assert choose("Ubuntu-22.04", branch=branch, modules=modules).kernel_package in known


@pytest.mark.parametrize("key", ["RedHat-9", "Rocky-9", "AlmaLinux-9"])
@pytest.mark.parametrize(("generation", "stream"), [("Volta", "580-dkms"), ("Ampere", "580-open")])
def test_rhel_has_the_packages_and_streams_of_its_rows(key: str, generation: str, stream: str) -> None:
    choice = choose(key, generation, branch="580", fabric_manager=True)
    assert choice.manager == "dnf"
    assert choice.stream == stream
    assert f"nvidia-driver:{choice.stream}" in names("rhel-9.txt")
    assert set(choice.packages) <= names("rhel-9.txt")


@pytest.mark.parametrize(
    ("key", "architecture", "folder"),
    [
        ("Debian-12", "x86_64", "debian12/x86_64/"),
        ("Debian-13", "aarch64", "debian13/sbsa/"),
        ("Ubuntu-22.04", "aarch64", "ubuntu2204/sbsa/"),
        ("Rocky-9", "x86_64", "rhel9/x86_64/"),
    ],
)
def test_nvidias_folders_have_no_point_release_in_them(key: str, architecture: str, folder: str) -> None:
    assert choose(key, architecture=architecture).repository == folder


@pytest.mark.parametrize(
    ("key", "generations", "wanted", "error_id", "words"),
    [
        ("Debian-12", (), {"branch": "999"}, "driver.branch_unavailable", "595, 580"),
        ("Debian-12", (), {"version": "5"}, "driver.version_invalid", "'5'"),
        ("Debian-12", (), {"version": "580.1.2; rm"}, "driver.version_invalid", "rm"),
        ("Debian-12", (), {"version": "580.1.2", "branch": "595"}, "driver.version_branch_differs", "595"),
        ("Debian-12", ("Volta",), {"branch": "595"}, "driver.branch_too_new_for_gpu", "to 580 or lower"),
        ("Debian-12", ("Volta",), {"branch": "580", "modules": "open"}, "driver.flavour_unfit", "proprietary"),
        ("Debian-12", ("Blackwell",), {"modules": "proprietary"}, "driver.flavour_unfit", "open"),
        ("Debian-12", ("Volta", "Blackwell"), {}, "driver.gpus_conflict", "vfio-pci"),
        ("Debian-12", ("Hopper",), {"branch": "620", "modules": "proprietary"}, "driver.flavour_unavailable", "none"),
        ("Ubuntu-24.04", ("Blackwell",), {"source": "distribution", "branch": "535"},
         "driver.branch_too_old_for_gpu", "'nvidia_driver_branch' to 580"),
        ("Debian-13", ("Blackwell",), {"source": "distribution"},
         "driver.branch_too_old_for_gpu", "'nvidia_driver_source' to nvidia"),
        ("Debian-13", (), {"source": "distribution", "branch": "535", "modules": "open"},
         "driver.flavour_unavailable", "has none"),
    ],
)  # fmt: skip
def test_conflicts(key: str, generations: tuple[str, ...], wanted: dict[str, str], error_id: str, words: str) -> None:
    error = refused(key, *generations, **wanted)
    assert error.id == error_id
    assert words in str(error)


def test_what_is_not_supported_at_all() -> None:
    with pytest.raises(StackError, match=r"Fedora 44.*\[driver.unsupported_distribution\]"):
        driver_choice("Fedora", "44", "44", "x86_64", [], Wanted())
    with pytest.raises(StackError, match=r"\[driver.unsupported_architecture\]"):
        choose("Debian-12", architecture="ppc64le")
    with pytest.raises(StackError, match=r"'H1000'.*\[driver.gpu_unknown\]"):
        gpus_named(["H1000"])


def test_gpus_by_name_and_by_device_id() -> None:
    assert gpus_named(["hopper"]) == [Gpu("A Hopper GPU", "Hopper", "either")]
    assert gpus_named(["0x2330"])[0].generation == gpus_named(["2330"])[0].generation == "Hopper"


def test_gpus_of_virtual_machines_do_not_count() -> None:
    volta = {"name": "V100", "generation": "Volta", "modules": "proprietary", "driver_bound": "vfio-pci"}
    hopper = {"name": "H100", "generation": "Hopper", "modules": "either", "driver_bound": "nvidia"}
    assert [gpu.name for gpu in gpus_of([volta, hopper])] == ["H100"]


def test_an_unknown_gpu_is_new_and_said() -> None:
    gpus = gpus_of([{"name": "", "device_id": "FFFF", "generation": "", "modules": "open", "driver_bound": ""}])
    choice = driver_choice(*FACTS["Debian-13"], "x86_64", gpus, Wanted())
    assert choice.flavour == "open"
    assert "FFFF" in choice.warnings[0]


def test_fabric_manager_is_that_of_the_driver_or_said_to_be_missing() -> None:
    assert "nvidia-fabricmanager-580" in choose("Debian-12", branch="580", fabric_manager=True).packages
    choice = choose("Debian-13", source="distribution", fabric_manager=True)
    assert choice.fabric_manager == ""
    assert any("NVSwitch" in warning for warning in choice.warnings)
    assert choose("Debian-12", branch="580").fabric_manager == ""


@pytest.mark.parametrize("key", ["Debian-12", "Debian-13", "Ubuntu-22.04", "Ubuntu-24.04"])
def test_sources_exclude_each_other_and_never_themselves(key: str) -> None:
    sources = DISTRIBUTIONS[key].sources
    for name, source in sources.items():
        for branch in source.branches:
            flavours = ((OPEN, branch.open), (PROPRIETARY, branch.proprietary))
            for modules in [flavour for flavour, row in flavours if row and not row.problem]:
                choice = choose(key, source=name, branch=branch.name, modules=modules, fabric_manager=True)
                (other,) = [one for one in sources if one != name]
                assert choice.foreign == list(sources[other].own)
                packages = {package: Package(package, "1", "install", "installed") for package in choice.packages}
                check_state(packages, name, choice.foreign, {})
                with pytest.raises(StackError, match=r"\[driver.sources_mixed\]"):
                    check_state(packages, other, choice.own, {})
