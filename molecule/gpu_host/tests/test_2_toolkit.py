"""NVIDIA's container toolkit on a host with stand-in GPUs: what the role leaves, what it refuses, what it repairs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from .toolkit_host import (
    DRIVER,
    GPUS,
    LIBRARIES,
    REPOSITORY,
    Play,
    check_image,
    docker_pid,
    in_container,
    module,
    on_host,
    running_since,
)

# Those of tests/fakes/gpu/driver/nvml.c on GPU 0.
MIG = ["MIG-99999999-8888-7777-6666-555555555555", "MIG-99999999-8888-7777-6666-444444444444"]
NODES = 'for node in /dev/nvidia*; do [ -c "$node" ] && echo "$node"; done'
SHARED_NODES = ["/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidiactl"]
PACKAGES = {
    "libnvidia-container-tools",
    "libnvidia-container1",
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
}
SPEC = "/var/run/cdi/nvidia.yaml"
STATIC_SPEC = "/etc/cdi/nvidia.yaml"
STATE = (
    "cat /etc/docker/daemon.json; ls /etc/apt/sources.list.d; sha256sum /etc/apt/keyrings/nvidia*;"
    f" stat -c %Y.%i {SPEC}; systemctl show --property MainPID docker; dpkg --list '*nvidia*'"
)
role = Play("toolkit.yml", STATE)


def versions() -> set[str]:
    return set(on_host("dpkg-query --show --showformat '${Version}\\n' " + " ".join(sorted(PACKAGES))).split())


def spec_mark() -> str:
    return on_host(f"stat -c %i.%Y {SPEC}")


def test_packages_are_held_in_the_exact_version() -> None:
    assert versions() == {"1.20.0-1"}
    assert set(on_host("apt-mark showhold").split()) >= PACKAGES
    # What unattended-upgrades would do.
    upgrade = on_host("apt-get --simulate dist-upgrade")
    assert " newly installed" in upgrade
    assert not [line for line in upgrade.splitlines() if line.startswith("Inst ") and "nvidia" in line]


def test_the_key_is_the_pinned_one_and_only_for_its_repository() -> None:
    source = on_host("cat /etc/apt/sources.list.d/nvidia-container-toolkit.sources")
    assert "Signed-By: /etc/apt/keyrings/nvidia-container-toolkit.asc" in source
    assert on_host("cat /etc/apt/keyrings/nvidia-container-toolkit.asc") == (REPOSITORY / "gpgkey").read_text().strip()
    told = subprocess.run(
        ["gpg", "--show-keys", "--with-colons", str(REPOSITORY / "gpgkey")], capture_output=True, text=True, check=True
    )
    assert (REPOSITORY / "fingerprint").read_text() in told.stdout
    on_host("apt-get update --error-on=any")


def test_settings_of_others_are_untouched() -> None:
    settings = json.loads(on_host("cat /etc/docker/daemon.json"))
    assert settings["labels"] == ["rack=7"]
    assert settings["max-concurrent-downloads"] == 2
    assert settings["features"] == {"buildkit": True, "cdi": True}
    assert "runtimes" not in settings


def test_the_programs_are_nvidias_own() -> None:
    assert on_host("nvidia-ctk --version").startswith("NVIDIA Container Toolkit CLI version 1.20.0")
    listed = on_host("nvidia-ctk --quiet cdi list").split()
    assert listed == sorted(f"nvidia.com/gpu={name}" for name in ("0", "1", *GPUS, "all"))
    spec = module("cdi_spec", driver_version=DRIVER, devices=GPUS)
    assert (spec["changed"], spec["devices"]) == (False, listed)


@pytest.mark.parametrize(("device", "numbers"), [("0", [0]), ("1", [1]), (GPUS[1], [1]), ("all", [0, 1])])
def test_a_container_gets_exactly_the_gpus_it_was_given(device: str, numbers: list[int]) -> None:
    said = in_container(f"{NODES}; nvidia-smi -L", "--device", f"nvidia.com/gpu={device}").splitlines()
    nodes = [line for line in said if line.startswith("/dev/")]
    assert sorted(nodes) == sorted([f"/dev/nvidia{number}" for number in numbers] + SHARED_NODES)
    # As nvidia-smi says it there, by NVML, from the device files that are there.
    expected = [f"GPU {place}: NVIDIA RTX A5000 (UUID: {GPUS[number]})" for place, number in enumerate(numbers)]
    assert [line for line in said if line.startswith("GPU ")] == expected


def test_a_container_gets_the_drivers_libraries() -> None:
    files = [f"{LIBRARIES}/libcuda.so.{DRIVER}", f"{LIBRARIES}/libnvidia-ml.so.{DRIVER}", "/usr/bin/nvidia-smi"]
    script = "while read -r _ _ _ _ path options _; do echo $path $options; done </proc/self/mountinfo"
    mounts = dict(line.split(" ", 1) for line in in_container(script, "--device", "nvidia.com/gpu=0").splitlines())
    for path in files:
        assert mounts[path].startswith("ro,nosuid,nodev"), mounts
    # What the hooks of nvidia-cdi-hook make: links by the libraries' own names, and the linker's cache.
    links = f"for name in libcuda.so.1 libcuda.so libnvidia-ml.so.1; do test -e {LIBRARIES}/$name && echo $name; done"
    said = in_container(f"{links}; test -s /etc/ld.so.cache && echo cache", "--device", "nvidia.com/gpu=0").split()
    assert said == ["libcuda.so.1", "libcuda.so", "libnvidia-ml.so.1", "cache"]


def test_a_container_without_gpus_gets_nothing() -> None:
    assert in_container(f"{NODES}; command -v nvidia-smi; echo end") == "end"


def test_only_one_specification() -> None:
    assert on_host(f"ls {SPEC} {STATIC_SPEC} 2>/dev/null || true") == SPEC


def test_vulnerable_version() -> None:
    role.refused("toolkit.version_vulnerable", "CVE-2025-23266", "1.17.8", nvidia_container_toolkit_version="1.17.4")


def test_version_that_is_none() -> None:
    role.refused("toolkit.bad_version", "latest", nvidia_container_toolkit_version="latest")


def test_wrong_fingerprint() -> None:
    wrong = "C95B321B61E88C1809C4F759DDCAE044F796ECB0"
    right = (REPOSITORY / "fingerprint").read_text()
    role.refused("repository.key_mismatch", wrong, right, nvidia_container_toolkit_key_fingerprints=[wrong])


def test_no_gpu() -> None:
    before = on_host(STATE)
    done = role.run(mistral_gpu_info={"gpus": [], "driver": {"loaded": ""}})
    assert done.code == 0
    assert "has no NVIDIA GPU" in done.words
    assert "changed=0" in done.text
    assert on_host(STATE) == before


@pytest.fixture
def saved_settings() -> Iterator[None]:
    on_host("cp -p /etc/docker/daemon.json /root/daemon.json")
    yield
    on_host("cp -p /root/daemon.json /etc/docker/daemon.json")


@pytest.mark.usefixtures("saved_settings")
def test_invalid_daemon_settings() -> None:
    on_host("""printf '{\\n  "labels": ["rack=7"],\\n}\\n' >/etc/docker/daemon.json""")
    role.refused("docker.daemon_json_invalid", "/etc/docker/daemon.json", "not valid JSON at line")


@pytest.fixture
def mixed_source() -> Iterator[str]:
    path = "/etc/apt/sources.list.d/all-of-it.list"
    on_host(
        f"printf 'deb [trusted=yes] http://127.0.0.1:8099/stable/deb/amd64 /\\n"
        f"deb http://deb.example.org/debian trixie main\\n' >{path}"
    )
    yield path
    on_host(f"rm {path}")


def test_source_among_others(mixed_source: str) -> None:
    role.refused("toolkit.repository_mixed", mixed_source)


@pytest.fixture
def sleeper() -> Iterator[str]:
    """A container that waits for a named pipe, for ever."""
    script = "exec 3<>/dev/tty; read -r line <&3"
    name = on_host(f"docker run --detach --tty --network none {check_image()} sh -c '{script}'")
    assert on_host(f"docker inspect --format '{{{{.State.Running}}}}' {name}") == "true"
    yield name
    on_host(f"docker rm --force {name}")


def test_repairs_and_leaves_alone(sleeper: str) -> None:
    """CDI off, two specifications for another driver, a forgotten source: one run repairs them, the next none."""
    on_host(
        "python3 - <<'END'\n"
        "import json\n"
        "path = '/etc/docker/daemon.json'\n"
        "settings = json.load(open(path))\n"
        "del settings['features']['cdi']\n"
        "json.dump(settings, open(path, 'w'), indent=2)\n"
        "END\n"
        "systemctl restart docker\n"
        f"sed -i s/{DRIVER}/535.216.03/ {SPEC} && mkdir -p /etc/cdi && cp {SPEC} {STATIC_SPEC}\n"
        "echo 'deb [signed-by=/usr/share/keyrings/gone.gpg] https://nvidia.github.io/nvidia-docker/debian10/amd64 /'"
        " >/etc/apt/sources.list.d/libnvidia-container.list"
    )
    began, pid, mark = running_since(sleeper), docker_pid(), spec_mark()
    assert role.works() > 0
    assert running_since(sleeper) == began, "a container was stopped"
    assert docker_pid() != pid, "Docker had to be restarted"
    settings = json.loads(on_host("cat /etc/docker/daemon.json"))
    assert settings["features"] == {"buildkit": True, "cdi": True}
    assert spec_mark() != mark
    assert DRIVER in on_host(f"cat {SPEC}")
    assert on_host("ls /etc/cdi") == "nvidia.yaml.replaced"
    assert (
        on_host("ls /etc/apt/sources.list.d/*.disabled") == "/etc/apt/sources.list.d/libnvidia-container.list.disabled"
    )
    on_host("apt-get update --error-on=any")

    pid, mark = docker_pid(), spec_mark()
    assert role.works() == 0
    assert (docker_pid(), spec_mark(), running_since(sleeper)) == (pid, mark, began)


@pytest.mark.usefixtures("saved_settings")
def test_containers_are_not_stopped_unasked(request: pytest.FixtureRequest) -> None:
    on_host(
        "python3 - <<'END'\n"
        "import json\n"
        "path = '/etc/docker/daemon.json'\n"
        "settings = json.load(open(path))\n"
        "del settings['features']['cdi'], settings['live-restore']\n"
        "json.dump(settings, open(path, 'w'), indent=2)\n"
        "END\n"
        "systemctl restart docker"
    )
    try:
        request.getfixturevalue("sleeper")
        role.refused("toolkit.restart_stops_containers", "live restore is off")
    finally:
        # Without CDI it could not be started again by Docker itself.
        on_host(
            "cp -p /root/daemon.json /etc/docker/daemon.json; systemctl restart docker; docker start mistral-engine"
        )


def test_downgrade_and_upgrade() -> None:
    mark = spec_mark()
    assert role.works(nvidia_container_toolkit_version="1.19.1") > 0
    assert versions() == {"1.19.1-1"}
    assert set(on_host("apt-mark showhold").split()) >= PACKAGES
    assert spec_mark() != mark, "what an older toolkit describes is described by itself"
    assert "1.19.1" in on_host("nvidia-ctk --version")

    # The oldest that the role installs has no service, and so writes no specification by itself.
    old = {"nvidia_container_toolkit_version": "1.17.8"}
    assert role.works(**old) > 0
    assert versions() == {"1.17.8-1"}
    assert on_host(f"ls {SPEC} {STATIC_SPEC} 2>/dev/null || true") == STATIC_SPEC
    assert GPUS[1] in in_container("nvidia-smi -L", "--device", "nvidia.com/gpu=1")
    assert role.works(**old) == 0

    assert role.works() > 0
    assert versions() == {"1.20.0-1"}
    assert set(on_host("apt-mark showhold").split()) >= PACKAGES
    assert on_host(f"ls {SPEC} {STATIC_SPEC} 2>/dev/null || true") == SPEC
    assert role.works() == 0


def test_a_docker_too_old_for_cdi() -> None:
    too_new = {"__nvidia_container_toolkit_docker_minimum": "99.0"}
    role.refused("toolkit.docker_too_old", "26.1.5", "99.0", "nvidia_container_toolkit_legacy_runtime", **too_new)


def test_the_legacy_runtime_beside_it() -> None:
    pid = docker_pid()
    assert role.works(nvidia_container_toolkit_legacy_runtime=True) > 0
    assert docker_pid() == pid, "Docker takes runtimes up without a restart"
    assert "nvidia" in json.loads(on_host("docker info --format '{{json .Runtimes}}'"))
    # NVIDIA's own way of saying it to Docker would change nothing.
    settings = on_host("cat /etc/docker/daemon.json")
    assert json.loads(on_host("nvidia-ctk --quiet runtime configure --runtime docker --dry-run")) == json.loads(
        settings
    )
    # NVIDIA's runtime makes the same of the variable as Docker does of --device.
    gpu = ("--runtime", "nvidia", "--env", "NVIDIA_VISIBLE_DEVICES=1")
    said = in_container(f"{NODES}; nvidia-smi -L", *gpu)
    assert "/dev/nvidia1" in said.split()
    assert "/dev/nvidia0" not in said.split()
    assert GPUS[1] in said
    assert not module("gpu_container_check", access="runtime", gpus=2, devices=GPUS).get("failed")


def test_version_that_is_not_offered() -> None:
    done = role.run(nvidia_container_toolkit_version="9.9.9")
    assert done.code != 0
    assert "[toolkit.version_not_offered]" in done.words, done.text[-2000:]
    assert versions() == {"1.20.0-1"}


@pytest.fixture
def nvml() -> Iterator[None]:
    """What NVML says of the GPUs is as it was after the test."""
    yield
    on_host("rm -f /run/stand-in-nvml")
    assert module("cdi_spec", driver_version=DRIVER, devices=GPUS)["path"] == SPEC


@pytest.mark.usefixtures("nvml")
def test_a_gpu_was_divided() -> None:
    on_host("echo mig >/run/stand-in-nvml")
    devices = [*MIG, GPUS[1]]
    first = module("cdi_spec", driver_version=DRIVER, devices=devices)
    assert first["changed"]
    assert f"it lacks {', '.join(MIG)}" in first["reasons"]
    assert {f"nvidia.com/gpu={name}" for name in (*MIG, "0:0", "0:1")} <= set(first["devices"])
    assert not module("cdi_spec", driver_version=DRIVER, devices=devices)["changed"]
    caps = 'for node in /dev/nvidia-caps/*; do echo "$node"; done'
    said = in_container(f"{NODES}; {caps}", "--device", f"nvidia.com/gpu={MIG[1]}").split()
    assert set(said) - set(SHARED_NODES) == {
        "/dev/nvidia0",
        "/dev/nvidia-caps/nvidia-cap21",
        "/dev/nvidia-caps/nvidia-cap22",
    }


@pytest.mark.usefixtures("nvml")
def test_a_lost_gpu() -> None:
    lost = module("cdi_spec", driver_version=DRIVER, devices=[*GPUS, MIG[0]])
    assert lost["error_id"] == "toolkit.cdi_devices_missing"
    assert MIG[0] in lost["msg"]


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("not-loaded", "toolkit.driver_not_loaded"),
        ("mismatch", "toolkit.driver_library_mismatch"),
        ("no-devices", "toolkit.no_devices"),
    ],
)
@pytest.mark.usefixtures("nvml")
def test_a_driver_that_does_not_answer(state: str, error: str) -> None:
    on_host(f"echo {state} >/run/stand-in-nvml")
    failed = module("cdi_spec", driver_version="535.216.03", devices=GPUS)
    assert failed["error_id"] == error, failed
    assert GPUS[0] in on_host(f"cat {SPEC}"), "the old specification stays"


@pytest.fixture
def kernel_modules() -> Iterator[str]:
    """The list of the kernel's modules, which the toolkit's service looks at; nothing watches it meanwhile."""
    modules = "/lib/modules/$(uname -r)/modules.dep"
    on_host(f"systemctl stop nvidia-cdi-refresh.path; rm {SPEC}")
    yield modules
    on_host(f"echo updates/dkms/nvidia.ko: >{modules}; systemctl start nvidia-cdi-refresh.path")
    assert module("cdi_spec", driver_version=DRIVER, devices=GPUS)["path"] == SPEC


@pytest.mark.parametrize("name", ["nvidia-current-open", "nvidia-tesla-535"])
def test_debians_names_of_the_driver(kernel_modules: str, name: str) -> None:
    """NVIDIA's service waits for modules that are called nvidia or nvidia-current; the role adds these."""
    on_host(f"echo updates/dkms/{name}.ko.xz: >{kernel_modules}")
    assert module("cdi_spec", driver_version=DRIVER, devices=GPUS).get("reasons") == ["there is none"]


def test_a_service_that_waits_for_the_driver(kernel_modules: str) -> None:
    on_host(f"echo kernel/drivers/video/fbdev/nvidia/nvidiafb.ko: >{kernel_modules}")
    skipped = module("cdi_spec", driver_version=DRIVER, devices=GPUS)
    assert skipped["error_id"] == "toolkit.cdi_refresh_skipped"


@pytest.fixture
def masked_unit() -> Iterator[None]:
    on_host("systemctl mask nvidia-cdi-refresh.service")
    yield
    on_host("systemctl unmask nvidia-cdi-refresh.service")


@pytest.mark.parametrize(
    ("state", "error"), [("not-loaded", "toolkit.driver_not_loaded"), ("mismatch", "toolkit.driver_library_mismatch")]
)
@pytest.mark.usefixtures("nvml", "masked_unit")
def test_a_driver_that_does_not_answer_without_the_service(state: str, error: str) -> None:
    """Here nvidia-ctk itself says what is wrong."""
    on_host(f"echo {state} >/run/stand-in-nvml")
    failed = module("cdi_spec", driver_version="535.216.03", devices=GPUS)
    assert failed["error_id"] == error, failed


@pytest.mark.usefixtures("nvml", "masked_unit")
def test_without_the_service() -> None:
    made = module("cdi_spec", driver_version=DRIVER, devices=GPUS)
    assert (made["changed"], made["path"], made["set_aside"]) == (True, STATIC_SPEC, SPEC)
    assert not module("cdi_spec", driver_version=DRIVER, devices=GPUS)["changed"]


def test_specification_of_somebody_else() -> None:
    on_host(f"mkdir -p /etc/cdi && cp {SPEC} /etc/cdi/mine.yaml")
    try:
        assert module("cdi_spec", driver_version=DRIVER, devices=GPUS)["error_id"] == "toolkit.cdi_spec_foreign"
    finally:
        on_host("rm /etc/cdi/mine.yaml")


def test_messages_of_the_real_docker() -> None:
    unknown = on_host(f"docker run --rm --network none --device nvidia.com/gpu=7 {check_image()} true 2>&1 || true")
    assert "unresolvable CDI devices nvidia.com/gpu=7" in unknown
    assert module("gpu_container_check", gpus=3)["error_id"] == "toolkit.container_without_gpus"
    none = on_host(f"docker run --rm --network none --runtime none {check_image()} true 2>&1 || true")
    assert "unknown or invalid runtime name: none" in none
    assert module("gpu_container_check", devices=MIG)["error_id"] == "toolkit.container_without_gpus"
