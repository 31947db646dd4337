"""What apt would do for a driver, and what is refused."""

from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._driver import apt as plan
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError

# apt 3.0 on Debian 13, shortened.
SIMULATED = """\
Inst linux-image-6.12.118+deb13-amd64 (6.12.118-1 Debian-Security:13/stable-security [amd64])
Inst nvidia-smi [550.163.01-2] (535.274.02-1 Debian:13.8/stable [amd64])
Remv libcuda1 [550.163.01-2]
Purg nvidia-alternative [550.163.01-2]
Conf nvidia-smi (535.274.02-1 Debian:13.8/stable [amd64])
"""
SIZES = """\
0 upgraded, 4 newly installed, 1 to remove and 0 not upgraded.
Need to get 83.9 MB/95.1 MB of archives.
After this operation, 1,064 kB of additional disk space will be used.
"""


def package(name: str, version: str = "550.163.01-2", want: str = "install", status: str = "installed") -> plan.Package:
    return plan.Package(name, version, want, status)


def of(*packages: plan.Package) -> dict[str, plan.Package]:
    return {one.name: one for one in packages}


def test_simulation() -> None:
    found = plan.parse_simulation(SIMULATED, SIZES)
    assert found.new == {"linux-image-6.12.118+deb13-amd64": "6.12.118-1"}
    assert found.upgraded == {"nvidia-smi": "535.274.02-1"}
    assert found.removed == ["libcuda1", "nvidia-alternative"]
    assert found.download == 95_100_000
    assert found.disk == 1_064_000
    assert plan.parse_simulation("", "nonsense") == plan.Simulation({}, {}, [], 0, 0)


def test_packages() -> None:
    text = "a\t1\tinstall\tinstalled\nb\t2\thold\thalf-configured\nc\t3\tdeinstall\tconfig-files\nbroken line\n"
    assert plan.parse_packages(text) == of(package("a", "1"), package("b", "2", "hold", "half-configured"))
    assert plan.parse_packages(text, leftovers=True)["c"].status == "config-files"


@pytest.mark.parametrize(
    ("name", "is_driver"),
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
def test_what_belongs_to_the_driver(name: str, is_driver: bool) -> None:
    assert plan.is_driver(name) is is_driver


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
    assert plan.choose_version("nvidia-kernel-dkms", known, wanted, branch) == found


@pytest.mark.parametrize(("wanted", "branch"), [("535.26", "535"), ("535.261.03-2", "535"), ("", "53")])
def test_version_that_is_not_there(wanted: str, branch: str) -> None:
    with pytest.raises(StackError) as caught:
        plan.choose_version("nvidia-kernel-dkms", ["535.309.01-0+deb12u1", "535.261.03-1"], wanted, branch)
    assert caught.value.id == "driver.version_unavailable"
    assert "535.261.03-1" in str(caught.value)


def test_rpm_versions_have_epochs() -> None:
    assert plan.upstream("3:580.95.05-1.el9") == "580.95.05"
    assert plan.matches("3:580.95.05-1.el9", "580.95.05", "580")


def test_a_build_that_failed_is_quoted() -> None:
    broken = package("nvidia-open-kernel-dkms", status="half-configured")
    with pytest.raises(StackError, match=r"too few arguments.*\[driver.dkms_failed\]"):
        plan.check_state(of(broken), "distribution", [], {broken.name: "nv-pci.c:237:9: error: too few arguments."})
    with pytest.raises(StackError, match=r"dpkg has not finished.*\[driver.packages_broken\]"):
        plan.check_state(of(broken), "distribution", [], {})


def test_foreign_packages() -> None:
    foreign = ["nvidia-open", "nvidia-driver-pinning-"]
    for name in ("nvidia-open", "nvidia-driver-pinning-580"):
        with pytest.raises(StackError, match=r"\[driver.sources_mixed\]"):
            plan.check_state(of(package(name)), "distribution", foreign, {})
    plan.check_state(of(package("nvidia-open-kernel-support")), "distribution", foreign, {})


def test_packages_of_another_branch_go() -> None:
    packages = of(
        package("nvidia-kernel-dkms"),
        package("libcuda1"),
        package("nvidia-persistenced", "550.163.01-1"),
        package("nvidia-modprobe", "570.133.07-1"),
        package("nvidia-container-toolkit", "1.20.0-1"),
        package("base-files", "13"),
    )
    gone = plan.outdated(packages, ["nvidia-kernel-dkms"], ["nvidia-persistenced"], "535.274.02")
    assert gone == ["libcuda1", "nvidia-kernel-dkms"]


def test_the_same_packages_in_another_version_stay() -> None:
    packages = of(package("nvidia-kernel-dkms"), package("libcuda1"))
    keep = ["nvidia-kernel-dkms", "libcuda1"]
    assert plan.outdated(packages, ["nvidia-kernel-dkms"], keep, "535.274.02") == []


def test_the_other_flavour_of_the_same_version_goes() -> None:
    packages = of(package("nvidia-kernel-dkms"), package("libcuda1"))
    gone = plan.outdated(packages, ["nvidia-kernel-dkms"], ["nvidia-open-kernel-dkms"], "550.163.01")
    assert gone == ["nvidia-kernel-dkms"]


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
    simulation = plan.Simulation(new, upgraded, removed, 0, 0)
    if not error_id:
        plan.check_simulation(simulation, {}, kernels)
        return
    with pytest.raises(StackError) as caught:
        plan.check_simulation(simulation, {}, kernels)
    assert caught.value.id == error_id
    assert "nvidia-smi" not in str(caught.value)


INDEX = """\
http://mirror.example/debian/\tbookworm\tmain\tDebian\t$(SIGNED_BY)\t/etc/apt/sources.list:1
http://mirror.example/debian/\tbookworm\tnon-free-firmware\tDebian\t$(SIGNED_BY)\t/etc/apt/sources.list:1
http://mirror.example/debian/\tbookworm-backports\tmain\tDebian\t$(SIGNED_BY)\t/etc/apt/sources.list:2
http://mirror.example/security/\tbookworm-security\tmain\tDebian\t/usr/share/keyrings/a.gpg\t/etc/apt/sources.list.d/s.sources:1
https://apt.example.com/\tbookworm\tmain\tArtifactory\t$(SIGNED_BY)\t/etc/apt/sources.list.d/x.list:1
http://mirror.example/debian/\tbookworm\tnon-free\tDebian\t$(SIGNED_BY)\t/etc/apt/sources.list.d/mine.sources:2
"""


def test_components_come_from_the_hosts_own_mirrors() -> None:
    own = "/etc/apt/sources.list.d/mine.sources"
    text = plan.sources_text(plan.parse_sources(INDEX), "Debian", "bookworm", ["non-free", "non-free-firmware"], own)
    assert text == (
        "# Written by the Ansible role nvidia_driver.\n"
        "Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm\nComponents: non-free\n\n"
        "Types: deb\nURIs: http://mirror.example/security/\nSuites: bookworm-security\n"
        "Components: non-free non-free-firmware\nSigned-By: /usr/share/keyrings/a.gpg\n"
    )


def test_a_host_that_has_all_components_gets_no_source() -> None:
    assert plan.sources_text(plan.parse_sources(INDEX), "Debian", "bookworm", ["main"], "/x") == ""


def test_a_host_without_its_distributions_archive() -> None:
    with pytest.raises(StackError, match=r"trixie.*\[driver.no_package_source\]"):
        plan.sources_text(plan.parse_sources(INDEX), "Debian", "trixie", ["non-free"], "/x")


@pytest.mark.parametrize(("version", "pin"), [("550.163.01", "550.163.01-*"), ("550.163.01-2", "550.163.01-2")])
def test_pin(version: str, pin: str) -> None:
    assert f"Pin: version {pin}\nPin-Priority: 1001\n" in plan.preferences_text(version)


def test_space() -> None:
    plan.check_space(None, [("/usr", 10, 10), ("/var", 10, 10)])
    plan.check_space((10, 10), [("/usr", 10, 10)])
    with pytest.raises(StackError, match=r"/boot has 5 MB.*need 44 MB.*\[driver.boot_full\]"):
        plan.check_space((5_000_000, 44_000_000), [("/usr", 1, 0)])
    with pytest.raises(StackError, match=r"/var has 5 MB.*need 900 MB.*\[driver.disk_full\]"):
        plan.check_space(None, [("/usr", 10, 10), ("/var", 5_000_000, 900_000_000)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("noise\n libcuda1 : Depends: a (= 1) but 2 is to be installed\nE: broken\n", "libcuda1 : Depends: a (= 1)"),
        ("Err:1 http://x\nE: The repository has no Release file.\n", "The repository has no Release file"),
        ("W: GPG error: NO_PUBKEY 1234\n", "GPG error: NO_PUBKEY 1234"),
        ("", "it printed nothing"),
    ],
)
def test_complaint(text: str, words: str) -> None:
    assert plan.complaint(text).startswith(words)
    assert "\n" not in plan.complaint(text)
