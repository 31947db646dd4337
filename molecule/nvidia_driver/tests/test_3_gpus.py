"""Hosts with GPUs, which are recordings: an existing driver, GPUs that don't run, and what is set on them."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

On = Callable[..., str]
Play = Callable[..., Any]
HERE = Path(__file__).resolve().parent
HOST = "nvidia13"
ROOT = "/run/scene"
KERNEL = "6.12.1-test"
H100 = ("h100__590.48.01", "590.48.01")
T4 = ("t4__515.105.01", "515.105.01")
LOST = ("lost__535.309.01", "535.309.01")
NONE = ("no-devices__550.163.01", "550.163.01")

Plant = Callable[..., None]


@pytest.fixture(scope="module", autouse=True)
def stand_in(on: On) -> Iterator[None]:
    """The program before that of the packages in the search path; tests/fakes/gpu is mounted at /opt/nvidia."""
    program = (HERE / "nvidia-smi").read_text()
    on(HOST, f"cat >/usr/local/bin/nvidia-smi <<'END'\n{program}END\nchmod 755 /usr/local/bin/nvidia-smi")
    yield
    on(HOST, "rm -f /usr/local/bin/nvidia-smi /etc/nvidia-smi-stand-in /run/mig-* /run/nvidia-smi.log")
    on(HOST, "systemctl enable nvidia-persistenced")


@pytest.fixture
def plant(on: On) -> Plant:
    """Below a folder, a host with these GPUs and a kernel that has the driver's module."""

    def do(recording: tuple[str, str], root: str = ROOT) -> None:
        name, version = recording
        script = (HERE / "scene.sh").read_text()
        on(
            HOST,
            f"cat >/run/scene.sh <<'END'\n{script}END\n"
            f"sh /run/scene.sh {root} {version} {version} {KERNEL} && rm -r {root}/sys/bus/pci/devices/* && "
            f"python3 -B /opt/nvidia/recording.py {name} {root} && echo {name} >/etc/nvidia-smi-stand-in && "
            "echo Disabled >/run/mig-mode && rm -f /run/mig-partitions && : >/run/nvidia-smi.log",
        )

    return do


def run(play: Play, **variables: Any) -> Any:
    # The daemon itself needs the real device nodes.
    settings = {"force": False, "nvidia_driver_root": ROOT, "nvidia_driver_persistence": False}
    return play(HOST, **{**settings, **variables})


def test_an_existing_driver_that_works_stays_as_it_is(on: On, play: Play, plant: Plant) -> None:
    plant(H100)
    before = on(HOST, "dpkg --get-selections; ls -lR --full-time /etc /usr/local")
    done = run(play, nvidia_driver_state="existing", source="nvidia")
    assert done.code == 0, done.words[-3000:]
    assert f"There is 590.48.01, open of existing, for {KERNEL}." in done.words, done.words[-1000:]
    assert done.changed == 0
    assert on(HOST, "dpkg --get-selections; ls -lR --full-time /etc /usr/local") == before


@pytest.mark.parametrize(
    ("recording", "words"),
    [
        (NONE, "found none that it can run"),
        (LOST, "GPU 0000:65:00.0 is lost"),
    ],
)
def test_an_existing_driver_that_does_not_work(
    play: Play, plant: Plant, recording: tuple[str, str], words: str
) -> None:
    plant(recording)
    done = run(play, nvidia_driver_state="existing")
    assert done.code != 0
    assert "[driver.existing_not_working]" in done.words, done.words[-3000:]
    assert words in done.words
    assert done.changed == 0


def test_a_gpu_that_is_lost_after_the_installation(on: On, play: Play, plant: Plant) -> None:
    plant(LOST)
    # A kernel that is still there, and that nobody need boot, is not a reason to stop.
    on(HOST, f"mkdir -p {ROOT}/lib/modules/6.12.0-older/kernel")
    done = run(play)
    assert "has no NVIDIA module for 6.12.0-older: don" in done.words, done.words[-3000:]
    assert done.code != 0
    assert "[driver.not_working]" in done.words, done.words[-3000:]
    assert "GPU 0000:65:00.0 is lost" in done.words
    assert "the driver 535.309.01 does not run all GPUs" in done.words


def test_a_power_limit_that_the_gpu_does_not_take(play: Play, plant: Plant) -> None:
    plant(H100)
    for watts in (100, 900):
        done = run(play, nvidia_driver_power_limit=watts)
        assert done.code != 0
        assert "[driver.power_limit_out_of_range]" in done.words, done.words[-3000:]
        assert f"{watts} W, but GPU 0 (NVIDIA H100 80GB HBM3) accepts 200.0 to 700.0 W" in done.words
        assert done.changed == 0


def test_a_gpu_that_cannot_be_partitioned(play: Play, plant: Plant) -> None:
    plant(T4)
    done = run(play, nvidia_driver_mig=[{"gpu": 0, "profiles": ["1g.5gb"]}])
    assert done.code != 0
    assert "[driver.mig_impossible]" in done.words, done.words[-3000:]
    assert done.changed == 0


class TestSettings:
    WANTED: dict[str, Any] = {  # noqa: RUF012
        "nvidia_driver_power_limit": 400,
        "nvidia_driver_ecc": "off",
        "nvidia_driver_mig": [{"gpu": 0, "profiles": ["3g.40gb", "3g.40gb"]}],
    }
    PARTITION = "mig --id=0 --create-gpu-instance=3g.40gb,3g.40gb --default-compute-instance"

    def test_they_are_set_now_and_at_every_boot(self, on: On, play: Play, plant: Plant) -> None:
        plant(H100)
        on(HOST, "echo Enabled >/run/mig-mode")
        done = run(play, **self.WANTED)
        assert done.code == 0, done.words[-3000:]
        said = on(HOST, "cat /run/nvidia-smi.log").splitlines()
        assert sorted(set(said)) == sorted(["--power-limit=400", "--id=0 --ecc-config=0", self.PARTITION])
        assert on(HOST, "systemctl is-enabled mistral-gpu-settings").strip() == "enabled"
        assert on(HOST, "systemctl is-active mistral-gpu-settings").strip() == "active"

    def test_a_second_run_sets_nothing(self, on: On, play: Play) -> None:
        on(HOST, ": >/run/nvidia-smi.log")
        done = run(play, **self.WANTED)
        assert done.code == 0, done.words[-3000:]
        assert done.changed == 0
        assert on(HOST, "cat /run/nvidia-smi.log") == ""

    def test_partitions_that_are_there_are_left_alone(self, on: On) -> None:
        on(HOST, "touch /run/mig-partitions; : >/run/nvidia-smi.log; systemctl restart mistral-gpu-settings")
        assert self.PARTITION not in on(HOST, "cat /run/nvidia-smi.log")
        said = on(HOST, "journalctl --no-pager --unit mistral-gpu-settings --output cat")
        assert "GPU 0 is partitioned already and left as it is." in said

    def test_a_gpu_that_needs_a_reset_first_does_not_stop_the_boot(self, on: On) -> None:
        on(HOST, "rm -f /run/mig-partitions; echo Disabled >/run/mig-mode; : >/run/nvidia-smi.log")
        on(HOST, "systemctl restart mistral-gpu-settings")
        said = on(HOST, "cat /run/nvidia-smi.log").splitlines()
        assert "--id=0 --multi-instance-gpu=1" in said
        assert self.PARTITION not in said

    def test_without_settings_nothing_is_set_at_the_next_boot(self, on: On, play: Play) -> None:
        done = run(play)
        assert done.code == 0, done.words[-3000:]
        assert on(HOST, "find /etc/systemd /usr/local/sbin -name 'mistral-gpu-settings*'") == ""
        assert run(play).changed == 0


def bed(*words: str) -> str:
    command = [*shlex.split(os.environ["BED"]), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def power_on_again() -> None:
    """A container that reboots stops; what starts it again imitates the machine's firmware."""
    deadline = time.monotonic() + 120
    while f"{HOST}: Debian 13, running" in bed("status"):
        assert time.monotonic() < deadline, "the host did not reboot"
        time.sleep(0.5)
    bed("reboot", HOST)


def test_a_reboot_that_is_allowed_loads_the_driver(on: On, play: Play, plant: Plant) -> None:
    root = "/var/lib/scene"
    plant(H100, root)
    # Until the reboot another driver is loaded. A container has its machine's boot id, which stays.
    on(
        HOST,
        f"cp -r {root} /run/before && cd /run/before && sed -i s/590.48.01/580.95.05/ proc/driver/nvidia/version "
        f"sys/module/nvidia/version && mount --bind /run/before {root} && "
        "cat /proc/sys/kernel/random/uuid >/run/boot_id && mount --bind /run/boot_id /proc/sys/kernel/random/boot_id",
    )
    # Commands reach a container before its systemd has mounted and emptied /tmp, unlike a host that they reach by SSH.
    on(HOST, "ln -sf /dev/null /etc/tmpfiles.d/tmp.conf && systemctl mask tmp.mount")
    begun = on(HOST, "ps -o lstart= 1")
    done = run(play, nvidia_driver_root=root)
    assert done.code != 0
    assert "the driver 590.48.01 is installed, and the kernel has loaded 580.95.05" in done.words, done.words[-3000:]
    assert on(HOST, "ps -o lstart= 1") == begun
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(power_on_again)
        done = run(play, nvidia_driver_root=root, nvidia_driver_reboot=True)
        again.result()
    assert done.code == 0, done.words[-3000:]
    assert "Hosts with a driver change 1 at a time." in done.words
    assert on(HOST, "ps -o lstart= 1") != begun
    done = run(play, nvidia_driver_root=root, nvidia_driver_reboot=True)
    assert (done.code, done.changed) == (0, 0), done.words[-3000:]
    assert "Hosts with a driver change" not in done.words
    on(HOST, f"rm -r {root}")
