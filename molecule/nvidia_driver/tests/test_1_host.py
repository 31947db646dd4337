"""What the hosts say of themselves after the role ran: the module, the holds, the pin, nouveau, and no side effects."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

On = Callable[..., str]
HOSTS = {"nvidia12": ("535", "nvidia-current"), "nvidia13": ("550", "nvidia-current")}
PINNED = ("nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-ml1", "libnvidia-ptxjitcompiler1")


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.host(name)) for name in sorted(HOSTS)])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def versions(on: On, host: str) -> dict[str, str]:
    listed = on(host, "dpkg-query --show --showformat '${Package} ${Version} ${db:Status-Abbrev}\\n'")
    return {name: version for name, version, *_status in map(str.split, listed.splitlines())}


def test_dkms_has_built_the_module_for_the_headers(on: On, host: str) -> None:
    branch, module = HOSTS[host]
    kernels = on(host, "ls /lib/modules").split()
    assert len(kernels) == 1
    status = on(host, "dkms status").strip().splitlines()
    assert len(status) == 1
    assert re.fullmatch(rf"{module}/{branch}\.[0-9.]+, {re.escape(kernels[0])}, x86_64: installed", status[0])
    assert on(host, f"modinfo -k {kernels[0]} -F version {module}").startswith(f"{branch}.")
    assert on(host, f"modinfo -k {kernels[0]} -F vermagic {module}").split()[0] == kernels[0]


def test_every_package_of_the_driver_has_one_version_and_is_held(on: On, host: str) -> None:
    found = versions(on, host)
    driver = {name.split(":")[0]: found[name] for name in PINNED}
    assert len(set(driver.values())) == 1, driver
    held = set(on(host, "apt-mark showhold").split())
    assert set(PINNED) <= {name.split(":")[0] for name in held}
    assert not [name for name in held if name.startswith(("linux-", "dkms"))]


def test_apt_would_neither_upgrade_nor_remove_the_driver(on: On, host: str) -> None:
    simulated = on(host, "apt-get --simulate dist-upgrade")
    assert not re.search(r"^(Inst|Remv) \S*(nvidia|libcuda)", simulated, re.M)
    policy = on(host, "apt-cache policy nvidia-kernel-dkms")
    installed, candidate = (re.search(rf"{word}: (\S+)", policy) for word in ("Installed", "Candidate"))
    assert installed
    assert candidate
    assert installed[1] == candidate[1]
    assert on(host, "apt-get check") is not None


def test_unattended_upgrades_leave_the_driver_alone_but_not_the_toolkit(on: On, host: str) -> None:
    dumped = on(host, "apt-config dump Unattended-Upgrade::Package-Blacklist")
    patterns = re.findall(r'"([^"]+)";', dumped)
    # The program matches each pattern at the beginning of a name.
    for name in (*PINNED, "firmware-nvidia-gsp"):
        assert any(re.match(pattern, name) for pattern in patterns if pattern), name
    for name in ("nvidia-container-toolkit", "libnvidia-container1", "linux-image-amd64"):
        assert not any(re.match(pattern, name) for pattern in patterns if pattern), name


def test_nouveau_is_off(on: On, host: str) -> None:
    settings = on(host, "modprobe --showconfig")
    assert "blacklist nouveau" in settings
    assert "options nouveau modeset=0" in settings
    disks = on(host, "ls /boot").split()
    for disk in [name for name in disks if name.startswith("initrd.img-")]:
        assert "etc/modprobe.d/mistral-nouveau.conf" in on(host, f"lsinitramfs /boot/{disk}")


def test_no_desktop_came_along(on: On, host: str) -> None:
    names = set(versions(on, host))
    assert not [name for name in names if re.match(r"xserver|libgl1|mesa|libllvm|nvidia-driver$|nvidia-settings", name)]


def test_no_kernel_was_exchanged(on: On, host: str) -> None:
    assert "upgrade linux-image" not in on(host, "cat /var/log/dpkg.log")


def test_the_host_is_not_degraded(on: On, host: str) -> None:
    # The persistence daemon fails without a loaded driver, so it is enabled, but not started.
    assert on(host, "systemctl is-enabled nvidia-persistenced").strip() == "enabled"
    assert on(host, "systemctl --failed --no-legend").strip() == ""


def test_sources_are_those_of_the_host(on: On, host: str) -> None:
    text = on(host, "cat /etc/apt/sources.list.d/mistral-nvidia-driver.sources")
    mine = set(re.findall(r"^URIs: (\S+?)/?$", text, re.M))
    hosts_own = set(re.findall(r"^deb (?:\[[^\]]*\] )?(\S+?)/? ", on(host, "cat /etc/apt/sources.list"), re.M))
    assert mine == hosts_own
    assert " main" not in text


def test_the_result_says_what_there_is(on: On, play: Callable[..., Any], host: str) -> None:
    done = play(host)
    assert (done.code, done.changed) == (0, 0), done.words[-3000:]
    version = versions(on, host)["nvidia-kernel-dkms"].split("-")[0]
    kernel = on(host, "ls /lib/modules").strip()
    assert f"There is {version}, proprietary of distribution, for {kernel}." in done.words, done.words[-1000:]
