"""Each broken state or bad wish gets its own id and sentence, before anything is changed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tools.scenario import hosts

HERE = Path(__file__).resolve().parent
ROOT = "/run/scene"
SCENE = f"cat >/run/scene.sh <<'END'\n{(HERE / 'scene.sh').read_text()}END\nsh /run/scene.sh {ROOT} "
HOST_13 = "nvidia13"
HOST_12 = "nvidia12"

PACKAGE = (
    "mkdir -p /run/{name}/DEBIAN && cd /run/{name} && "
    "printf 'Package: {name}\\nVersion: 1\\nArchitecture: all\\nMaintainer: a test\\nDescription: stands for one\\n' "
    ">DEBIAN/control && {more} dpkg-deb --build --root-owner-group . /run/{name}.deb && "
)
INSTALLED = PACKAGE.format(name="nvidia-driver-cuda", more="") + "dpkg --install /run/nvidia-driver-cuda.deb"
UNFINISHED = (
    PACKAGE.format(
        name="unfinished", more="printf '#!/bin/sh\\nexit 1\\n' >DEBIAN/postinst && chmod 755 DEBIAN/postinst &&"
    )
    + "{ dpkg --install /run/unfinished.deb || true; }"
)
# The headers stay, and make stops at their first line.
BREAK_HEADERS = "sed -i '1i $(error error: planted by a test)' /usr/src/linux-headers-*-common/Makefile; "
MEND_HEADERS = "sed -i 1d /usr/src/linux-headers-*-common/Makefile; "
DKMS_FAILED = (
    BREAK_HEADERS + "DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet --no-install-recommends install "
    "nvidia-tesla-535-kernel-dkms </dev/null; test $? = 100"
)
DKMS_MENDED = (
    MEND_HEADERS + "apt-get --yes purge nvidia-tesla-535-kernel-dkms nvidia-tesla-535-kernel-support "
    "nvidia-tesla-535-alternative firmware-nvidia-tesla-535-gsp </dev/null"
)

# apt fails at it, for longer than all others take.
SLOW = ("build that failed",)
BUILDS = pytest.mark.slow(reason="builds another driver")

# Name: host, how the state is made, the role's variables, the id, and what the sentence has to say.
CASES: dict[str, tuple[str, dict[str, Any], str, list[str]]] = {
    "unknown branch": (HOST_13, {"branch": "999"}, "driver.branch_unavailable", ["999", "550, 535"]),
    "version of another branch": (
        HOST_13,
        {"version": "550.163.01", "branch": "535"},
        "driver.version_branch_differs",
        ["550.163.01", "535"],
    ),
    "no version": (HOST_13, {"version": "latest"}, "driver.version_invalid", ["'latest'"]),
    "version nowhere": (
        HOST_13,
        {"version": "550.1.1"},
        "driver.version_unavailable",
        ["nvidia-kernel-dkms 550.1.1", "550.163.01"],
    ),
    "gpu too new": (
        HOST_13,
        {"gpus": ["Blackwell"]},
        "driver.branch_too_old_for_gpu",
        ["Blackwell", "570", "550", "'nvidia_driver_source' to nvidia"],
    ),
    "gpu too old": (
        HOST_13,
        {"gpus": ["Volta"], "source": "nvidia", "branch": "620"},
        "driver.branch_too_new_for_gpu",
        ["Volta", "580"],
    ),
    "gpus that no driver runs": (
        HOST_13,
        {"gpus": ["Volta", "Blackwell"], "source": "nvidia", "branch": "580"},
        "driver.gpus_conflict",
        ["Volta", "Blackwell"],
    ),
    "modules that the gpu does not take": (
        HOST_13,
        {"gpus": ["Volta"], "source": "nvidia", "modules": "open"},
        "driver.flavour_unfit",
        ["Volta", "proprietary"],
    ),
    "no gpu": (HOST_13, {"gpus": ["Banana"]}, "driver.gpu_unknown", ["'Banana'", "Hopper"]),
    "modules that don't compile": (
        HOST_13,
        {"modules": "open"},
        "driver.flavour_unavailable",
        ["pci_resize_resource", "550"],
    ),
    "modules that can't be installed": (HOST_12, {"modules": "open"}, "driver.flavour_unavailable", ["firmware"]),
    "gpu that needs modules that don't compile": (
        HOST_13,
        {"gpus": ["Grace Hopper"]},
        "driver.flavour_unavailable",
        ["Grace Hopper", "open"],
    ),
    "no room in /boot": (
        HOST_13,
        {
            "branch": "535",
            "scene": "mount -t tmpfs -o size=5m tmpfs /boot",
            "undo": "umount /boot",
        },
        "driver.boot_full",
        ["/boot", "5 MB", "initial RAM disks need"],
    ),
    "packages of the other source": (
        HOST_13,
        {"scene": INSTALLED, "undo": "dpkg --purge nvidia-driver-cuda"},
        "driver.sources_mixed",
        ["nvidia-driver-cuda", "'distribution'"],
    ),
    "dpkg not finished": (
        HOST_13,
        {"scene": UNFINISHED, "undo": "dpkg --purge --force-all unfinished"},
        "driver.packages_broken",
        ["unfinished", "dpkg --configure -a"],
    ),
    "driver of the run file": (
        HOST_13,
        {"scene": "touch /usr/bin/nvidia-uninstall", "undo": "rm /usr/bin/nvidia-uninstall"},
        "driver.runfile_installed",
        ["/usr/bin/nvidia-uninstall"],
    ),
    "existing driver that is not loaded": (
        HOST_13,
        {"root": ROOT, "force": False, "state": "existing", "scene": SCENE + "- - 6.1.99-foreign"},
        "driver.existing_not_working",
        ["'existing'"],
    ),
    "headers nowhere": (
        HOST_13,
        {"root": ROOT, "force": False, "scene": SCENE + "- - 6.1.99-foreign no_headers"},
        "driver.headers_unavailable",
        ["6.1.99-foreign"],
    ),
    "repository that does not answer": (
        HOST_13,
        {
            "branch": "535",
            "sources": "Types: deb\nURIs: http://127.0.0.1:9/debian\nSuites: x/\nTrusted: yes\n",
        },
        "driver.repository_unreachable",
        ["127.0.0.1"],
    ),
    "build that failed": (
        HOST_13,
        {"scene": DKMS_FAILED, "undo": DKMS_MENDED},
        "driver.dkms_failed",
        ["nvidia-tesla-535-kernel-dkms", "planted by a test"],
    ),
    "secure boot": (
        HOST_13,
        {"root": ROOT, "force": False, "scene": SCENE + "- - 6.12.1-test secure_boot"},
        "driver.secure_boot_not_enrolled",
        ["Secure Boot", "mokutil --import", "console"],
    ),
    "partitions of a gpu that is not there": (
        HOST_13,
        {
            "root": ROOT,
            "force": False,
            "scene": SCENE + "- - 6.12.1-test",
            "mig": [{"gpu": 7, "profiles": ["3g.40gb"]}],
        },
        "driver.mig_impossible",
        ["GPU 7"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(play: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the role said to each case."""
    results = tmp_path_factory.mktemp("refusals")
    cases = [
        {"name": name, "host": host, **case}
        for name, (host, case, _id, _words) in CASES.items()
        if host in hosts() and (name not in SLOW or "SLOW" in os.environ)
    ]
    done = play(",".join(hosts()), "refusals.yml", cases=cases, results=str(results))
    assert done.code == 0, done.words[-3000:]
    assert done.changed == 0
    found = {}
    for host in hosts():
        found.update(json.loads((results / f"{host}.json").read_text()))
    return found


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[
                pytest.mark.host(host),
                *([BUILDS] if name in SLOW else []),
            ],
        )
        for name, (host, *_rest) in CASES.items()
    ],
)
def test_refused(said: dict[str, str], name: str) -> None:
    _host, _case, error_id, words = CASES[name]
    sentence = re.sub(r"\s+", " ", said[name])
    assert sentence.endswith(f"[{error_id}]"), sentence
    for word in words:
        assert word in sentence, sentence


def test_a_distribution_without_a_row(play: Callable[..., Any]) -> None:
    done = play(HOST_13, "../../shared/unsupported_distribution.yml", role_under_test="nvidia_driver")
    # Without a GPU there is nothing to refuse.
    assert done.code == 0
    done = play(
        HOST_13,
        "../../shared/unsupported_distribution.yml",
        role_under_test="nvidia_driver",
        nvidia_driver_force=True,
    )
    assert done.code != 0
    assert "does not support Slackware" in done.words
    assert "[driver.unsupported_distribution]" in done.words
    assert done.changed == 0
