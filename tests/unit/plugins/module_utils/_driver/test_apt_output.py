"""What dpkg and apt print."""

from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt_output import (
    Simulation,
    complaint,
    parse_packages,
    parse_simulation,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.packages import Package

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


def package(name: str, version: str = "550.163.01-2", want: str = "install", status: str = "installed") -> Package:
    return Package(name, version, want, status)


def of(*packages: Package) -> dict[str, Package]:
    return {one.name: one for one in packages}


def test_simulation() -> None:
    found = parse_simulation(SIMULATED, SIZES)
    assert found.new == {"linux-image-6.12.118+deb13-amd64": "6.12.118-1"}
    assert found.upgraded == {"nvidia-smi": "535.274.02-1"}
    assert found.removed == ["libcuda1", "nvidia-alternative"]
    assert found.download == 95_100_000
    assert found.disk == 1_064_000
    assert parse_simulation("", "nonsense") == Simulation({}, {}, [], 0, 0)


def test_packages() -> None:
    text = "a\t1\tinstall\tinstalled\nb\t2\thold\thalf-configured\nc\t3\tdeinstall\tconfig-files\nbroken line\n"
    assert parse_packages(text) == of(package("a", "1"), package("b", "2", "hold", "half-configured"))
    assert parse_packages(text, leftovers=True)["c"].status == "config-files"


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
    assert complaint(text).startswith(words)
    assert "\n" not in complaint(text)
