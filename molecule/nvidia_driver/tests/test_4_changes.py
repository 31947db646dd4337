"""Reboots that are not allowed, another version, a build that fails, and the removal."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.tools.scenario import SETTINGS, hosts

On = Callable[..., str]
Play = Callable[..., Any]
HERE = Path(__file__).resolve().parent
ROOT = "/run/scene"
SCENE = f"cat >/run/scene.sh <<'END'\n{(HERE / 'scene.sh').read_text()}END\nsh /run/scene.sh {ROOT} "
OLDER = "535.261.03"


@pytest.fixture(scope="module")
def downgrade(play: Play) -> Iterator[Future[Any] | None]:
    """The older version of Debian 12's driver, which builds while the tests of the other host go on."""
    with ThreadPoolExecutor(1) as pool:
        there = "nvidia12" in hosts()
        yield pool.submit(play, "nvidia12", nvidia_driver_version=OLDER) if there else None


def test_a_host_without_a_gpu_is_left_alone(play: Play) -> None:
    done = play(",".join(hosts()), force=False)
    assert done.code == 0, done.words[-2000:]
    assert done.changed == 0
    assert done.words.count("has no NVIDIA GPU that it uses itself") == len(hosts())


@pytest.mark.parametrize(
    ("scene", "error_id", "words"),
    [
        (
            "535.309.01 550.163.01 6.12.1-test",
            "driver.reboot_needed",
            "the driver 550.163.01 is installed, and the kernel has loaded 535.309.01",
        ),
        (
            "- 550.163.01 6.12.1-test nouveau",
            "driver.reboot_needed",
            "the kernel has loaded nouveau, which owns the GPUs",
        ),
        (
            "- 550.163.01 6.12.1-test no_module",
            "driver.module_missing",
            "has no kernel module for 6.12.1-test",
        ),
    ],
)
def test_not_loaded(on: On, play: Play, downgrade: Any, scene: str, error_id: str, words: str) -> None:
    on("nvidia13", SCENE + scene)
    done = play("nvidia13", force=False, nvidia_driver_root=ROOT)
    assert done.code != 0
    assert f"[{error_id}]" in done.words, done.words[-3000:]
    assert words in done.words
    assert done.changed == 0


@pytest.mark.parametrize(
    ("variables", "error_id"),
    [
        ({"nvidia_driver_reboot": True}, "driver.reboot_of_controller"),
        ({"nvidia_driver_batch": "half"}, "driver.batch_invalid"),
        ({"nvidia_driver_batch": 0}, "driver.batch_invalid"),
    ],
)
def test_the_controller_as_a_host(tmp_path: Path, variables: dict[str, Any], error_id: str) -> None:
    root = tmp_path / "scene"
    subprocess.run(["sh", str(HERE / "scene.sh"), str(root), "-", "-", "6.12.1-test"], check=True)
    given = json.dumps({"nvidia_driver_root": str(root), **variables})
    command = ["ansible", "localhost", "--connection", "local", "--extra-vars", given]
    command += ["--module-name", "include_role", "--args", "name=mistralrs.stack.nvidia_driver tasks_from=preflight"]
    environment = {**os.environ, **SETTINGS}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode != 0
    assert f"[{error_id}]" in re.sub(r"\s+", " ", done.stdout + done.stderr)


def test_removal(on: On, play: Play) -> None:
    done = play("nvidia13", nvidia_driver_state="absent")
    assert done.code == 0, done.words[-3000:]
    left = on("nvidia13", "dpkg-query --show --showformat '${db:Status-Status} ${Package}\\n'")
    assert not re.search(r"^installed .*(nvidia|libcuda|glx-)", left, re.M)
    assert on("nvidia13", "apt-mark showhold").strip() == ""
    # /etc/dkms is of the scenario.
    found = "find /etc /usr/local -path /etc/dkms -prune -o '(' -name '*mistral*' -o -name '*nvidia*.conf' ')' -print"
    assert on("nvidia13", found).strip() == ""
    assert on("nvidia13", "dkms status").strip() == ""
    assert "linux-image" in left
    on("nvidia13", "apt-get check")
    again = play("nvidia13", nvidia_driver_state="absent")
    assert again.code == 0
    assert again.changed == 0


@pytest.mark.slow(reason="builds another driver")
def test_a_build_that_fails_is_quoted_and_taken_back(on: On, play: Play) -> None:
    makefile = "/usr/src/linux-headers-*-common/Makefile"
    on("nvidia13", f"sed -i '1i $(error error: planted by a test)' {makefile}")
    done = play("nvidia13")
    on("nvidia13", f"sed -i 1d {makefile}")
    assert done.code != 0
    assert "[driver.install_failed]" in done.words, done.words[-3000:]
    assert "planted by a test" in done.words
    assert "What was installed is removed again" in done.words
    left = on("nvidia13", "dpkg-query --show --showformat '${db:Status-Status} ${Package}\\n'")
    assert "nvidia-kernel-dkms" not in re.sub(r"(not-installed|config-files) \S+", "", left)
    on("nvidia13", "apt-get check")
    assert on("nvidia13", "dpkg --audit").strip() == ""
    assert on("nvidia13", "find /etc/apt -name '*mistral*' ! -name '52*'").strip() == ""


@pytest.mark.host("nvidia12")
def test_downgrade(on: On, downgrade: Future[Any]) -> None:
    done = downgrade.result()
    assert done.code == 0, done.words[-3000:]
    assert f"The driver {OLDER}" in done.words
    status = on("nvidia12", "dkms status").strip()
    assert re.fullmatch(rf"nvidia-current/{re.escape(OLDER)}, \S+, x86_64: installed", status)
    shown = on("nvidia12", "dpkg-query --show 'nvidia-*' 'libnvidia-*' libcuda1 'firmware-nvidia-*'")
    # nvidia-modprobe is a package of its own, which serves every version of the driver.
    newer = [line for line in shown.splitlines() if "535.309" in line and not line.startswith("nvidia-modprobe")]
    assert newer == []
    assert "libcuda1" in on("nvidia12", "apt-mark showhold")


@pytest.mark.host("nvidia12")
def test_the_older_version_stays(play: Play) -> None:
    done = play("nvidia12", nvidia_driver_version=OLDER)
    assert done.code == 0, done.words[-3000:]
    assert done.changed == 0
    # Without a version the one that is there is kept.
    done = play("nvidia12")
    assert done.code == 0, done.words[-3000:]
    assert done.changed == 0


@pytest.mark.slow(reason="builds another driver")
@pytest.mark.host("nvidia12")
class TestSlow:
    def test_upgrade(self, on: On, play: Play) -> None:
        newest = on("nvidia12", "apt-cache madison nvidia-kernel-dkms").split("|")[1].strip().split("-")[0]
        assert newest != OLDER
        done = play("nvidia12", nvidia_driver_version=newest)
        assert done.code == 0, done.words[-3000:]
        assert f"nvidia-current/{newest}" in on("nvidia12", "dkms status")

    def test_another_branch_replaces_the_first(self, on: On, play: Play) -> None:
        assert play("nvidia13").code == 0
        done = play("nvidia13", nvidia_driver_branch="535")
        assert done.code == 0, done.words[-3000:]
        status = on("nvidia13", "dkms status").strip()
        assert re.fullmatch(r"nvidia-tesla-535/535\.\S+, \S+, x86_64: installed", status)
        form = "${db:Status-Status} ${Package} ${Version}\\n"
        left = on("nvidia13", f"dpkg-query --show --showformat '{form}' 'libnvidia-*' 'nvidia-kernel*'")
        assert not re.search(r"^installed .* 550\.163", left, re.M), left

    def test_the_former_driver_comes_back_if_the_new_one_fails(self, on: On, play: Play) -> None:
        former = on("nvidia12", "dkms status")
        version = re.search(r"nvidia-current/([0-9.]+),", former)
        assert version
        # The new one fails at once; the former one, which was compiled here before, is not compiled a second time.
        on(
            "nvidia12",
            "mkdir -p /etc/dkms /root/compiled && "
            f"for file in /var/lib/dkms/nvidia-current/{version[1]}/*/x86_64/module/nvidia-current*.ko; do "
            "name=${file##*/nvidia-current}; cp $file /root/compiled/nvidia$name; done && "
            f"echo 'MAKE[0]=\"cp /root/compiled/*.ko .\"' >/etc/dkms/nvidia-current-{version[1]}.conf && "
            "echo 'MAKE[0]=\"echo error: planted by a test; false\"' "
            f">/etc/dkms/nvidia-current-{OLDER}.conf",
        )
        done = play("nvidia12", nvidia_driver_version=OLDER)
        on("nvidia12", "rm -r /etc/dkms/nvidia-current-*.conf /root/compiled")
        assert done.code != 0
        assert "[driver.install_failed]" in done.words, done.words[-3000:]
        assert "planted by a test" in done.words
        assert f"The former driver {version[1]} is back" in done.words
        assert on("nvidia12", "dkms status") == former
        assert f"Pin: version {version[1]}-*" in on("nvidia12", "cat /etc/apt/preferences.d/mistral-nvidia-driver")
        on("nvidia12", "apt-get check")
        done = play("nvidia12", nvidia_driver_version=version[1])
        assert (done.code, done.changed) == (0, 0), done.words[-3000:]
