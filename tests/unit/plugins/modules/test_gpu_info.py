"""Hosts as directories, the stand-in of nvidia-smi really run: what is found, and every problem by its id."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu import gpu_problems
from ansible_collections.mistralrs.stack.plugins.modules import gpu_info

from tests.fakes.gpu import recording

NVIDIA = Path(__file__).resolve().parents[3] / "fakes" / "gpu"

KERNEL = "6.12.117+deb13-amd64"
OLD_KERNEL = "6.12.90+deb13-amd64"
DKMS = "/var/lib/dkms/nvidia-current-open/550.163.01"
MODULE = f"/lib/modules/{KERNEL}/updates/dkms/nvidia-current-open.ko.xz"
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
LIBRARY = {
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1": "-> /etc/alternatives/glx--libnvidia-ml.so.1",
    "/etc/alternatives/glx--libnvidia-ml.so.1": "-> /usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ml.so.1",
    "/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ml.so.1": "-> libnvidia-ml.so.550.163.01",
    "/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ml.so.550.163.01": "",
}
DEBIAN = {
    "/proc/sys/kernel/osrelease": f"{KERNEL}\n",
    f"/lib/modules/{KERNEL}/modules.builtin": "",
    f"/lib/modules/{KERNEL}/build": f"-> /usr/src/linux-headers-{KERNEL}",
    f"/usr/src/linux-headers-{KERNEL}/Makefile": "",
}
INSTALLED = {**DEBIAN, **LIBRARY, f"{DKMS}/source": "-> /usr/src/nvidia-current-open-550.163.01"}
BUILT = {**INSTALLED, MODULE: ""}
# The first lines and the error are those of Debian 13's DKMS on its kernel 6.12.117.
MAKE_LOG = f"""DKMS (dkms-3.2.2) make.log for nvidia-current-open/550.163.01 for kernel {KERNEL} (x86_64)
Mon Nov 23 10:00:00 UTC 2026

Building module(s)
# command: make -j2 KERNEL_UNAME={KERNEL} modules
warning: the compiler differs from the one used to build the kernel
  CC [M]  {DKMS}/build/nvidia/nv-pci.o
{DKMS}/build/nvidia/nv-pci.c:237:9: error: too few arguments to function \u2018pci_resize_resource\u2019
make[4]: *** [/usr/src/linux-headers/scripts/Makefile.build:229: nvidia/nv-pci.o] Error 1
"""
T4, H100, A100S = "t4__515.105.01", "h100__590.48.01", "a100-three__535.309.01"
NO_DRIVER = "no-driver__550.163.01"

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(
        name: str = "",
        files: Mapping[str, str] | None = None,
        replace: tuple[str, str] = ("", ""),
        without: str = "",
        **options: Any,
    ) -> dict[str, Any]:
        text = (recording.FOLDER / f"{name}.txt").read_text() if name else ""
        if replace[0]:
            assert replace[0] in text
            text = text.replace(*replace)
        changed = tmp_path / "recording.txt"
        changed.write_text(text)
        monkeypatch.setenv("NVIDIA_SMI_RECORDING", str(changed))
        root = tmp_path / "root"
        root.mkdir()
        host = {**recording.parse(text).files, **(files or {})}
        recording.plant({path: text for path, text in host.items() if not without or without not in path}, root)
        arguments = {
            "root": str(root),
            "nvidia_smi": str(NVIDIA / "nvidia-smi"),
            "_ansible_remote_tmp": str(tmp_path),
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            gpu_info.main()
        result = dict(json.loads(capsys.readouterr().out))
        assert result.get("failed") or not result["changed"]
        return result

    return call


def ids(result: dict[str, Any]) -> list[str]:
    return [problem["id"] for problem in result["gpu_info"]["problems"]]


def test_host_without_gpu(run: Run) -> None:
    info = run(files=DEBIAN, nvidia_smi="/bin/false")["gpu_info"]
    assert info["gpus"] == []
    assert info["problems"] == []
    assert info["driver"] == {"loaded": "", "installed": "", "flavour": "", "cuda": ""}
    assert info["kernels"] == [{"release": KERNEL, "headers": True, "module": False, "running": True}]


def test_everything_of_a_healthy_gpu(run: Run) -> None:
    info = run(H100, {**DEBIAN, SECURE_BOOT: "\6\0\0\0\0"})["gpu_info"]
    assert info["problems"] == []
    assert info["gpus"] == [
        {
            "index": 0,
            "name": "NVIDIA H100 80GB HBM3",
            "uuid": "GPU-00000000-0000-0000-0000-000000000000",
            "bus_id": "0000:00:09.0",
            "device_id": "2330",
            "generation": "Hopper",
            "compute_capability": "9.0",
            "memory_total": 81559 << 20,
            "memory_free": 81081 << 20,
            "memory_reserved": 479 << 20,
            "memory_nominal": 80 << 30,
            "unified_memory": False,
            "modules": "either",
            "driver_bound": "nvidia",
            "persistence": True,
            "power_limit": 700.0,
            "power_limit_min": 200.0,
            "power_limit_max": 700.0,
            "ecc": {"current": "Enabled", "pending": "Enabled"},
            "mig": {"current": "Disabled", "pending": "Disabled", "devices": []},
            "pcie": {"generation": 5, "generation_max": 5, "width": 16, "width_max": 16},
            "fabric": {"state": "Completed", "status": "Success"},
            "recovery_action": "",
        }
    ]
    assert info["driver"] == {"loaded": "590.48.01", "installed": "590.48.01", "flavour": "open", "cuda": "13.1"}
    assert info["secure_boot"] is False
    assert info["nouveau_loaded"] is False
    assert info["kernel"] == KERNEL


def test_documented_is_what_is_returned(run: Run) -> None:
    import yaml

    documented = yaml.safe_load(gpu_info.RETURN)["gpu_info"]

    def compare(value: Any, spec: Any, path: str) -> None:
        if isinstance(value, dict):
            assert set(value) == set(spec["contains"]), path
            for key, part in value.items():
                compare(part, spec["contains"][key], f"{path}.{key}")
        elif isinstance(value, list):
            assert spec["type"] == "list"
            for part in value:
                compare(part, {**spec, "type": spec["elements"]}, path)

    compare(run("a100-mig__535.54.03", BUILT)["gpu_info"], documented, "gpu_info")
    compare(documented["sample"], documented, "sample")


def test_mig_devices_have_their_uuids(run: Run) -> None:
    (gpu,) = run("a100-mig__535.54.03")["gpu_info"]["gpus"]
    assert [device["gpu_instance_id"] for device in gpu["mig"]["devices"]] == [3, 4, 5, 6]
    assert gpu["mig"]["devices"][2] == {
        "gpu_instance_id": 5,
        "compute_instance_id": 0,
        "memory_total": 19968 << 20,
        "memory_free": 19955 << 20,
        "uuid": "MIG-00000002-1111-5222-8333-444444444444",
    }


def test_versions_with_a_notice_behind_them(run: Run) -> None:
    info = run("h200-mig__610.43.02")["gpu_info"]
    assert info["driver"]["cuda"] == "13.3"
    assert info["gpus"][0]["power_limit"] == 700.0
    assert info["gpus"][0]["mig"]["devices"][0]["uuid"].startswith("MIG-")
    assert info["problems"] == []


def test_unified_memory_is_the_host_s(run: Run) -> None:
    (gpu,) = run("gb10__580.126.09")["gpu_info"]["gpus"]
    assert gpu["unified_memory"]
    assert gpu["bus_id"] == "000f:01:00.0"
    assert (gpu["memory_total"], gpu["memory_free"]) == (125513840 << 10, 110000000 << 10)


def test_nvlink_and_nvswitch(run: Run, tmp_path: Path) -> None:
    switch = "/sys/bus/pci/devices/0000:05:00.0"
    files = {f"{switch}/vendor": "0x10de", f"{switch}/class": "0x068000", f"{switch}/device": "0x22a3"}
    info = run(H100, files)["gpu_info"]
    assert (info["nvswitches"], info["nvlink"], len(info["gpus"])) == (1, True, 1)


@pytest.mark.parametrize(("name", "expected"), [(A100S, True), ("a5000-two__590.44.01", False), (T4, None)])
def test_nvlink_as_the_driver_tells_it(run: Run, name: str, expected: bool | None) -> None:
    assert run(name)["gpu_info"]["nvlink"] is expected


def test_other_functions_and_vendors_are_no_gpus(run: Run) -> None:
    audio, other = "/sys/bus/pci/devices/0000:01:00.1", "/sys/bus/pci/devices/0000:02:00.0"
    files = {
        f"{audio}/vendor": "0x10de",
        f"{audio}/class": "0x040300",
        f"{audio}/device": "0x22ba",
        f"{other}/vendor": "0x1002",
        f"{other}/class": "0x030000",
        f"{other}/device": "0x744c",
    }
    assert run(files=files)["gpu_info"]["gpus"] == []


def test_driver_not_installed_is_no_problem(run: Run) -> None:
    info = run(NO_DRIVER, DEBIAN)["gpu_info"]
    assert info["problems"] == []
    assert info["gpus"][0]["name"] == "Tesla T4"
    assert info["gpus"][0]["index"] == 0
    assert info["gpus"][0]["memory_nominal"] == 16 << 30


def test_installed_driver_through_debian_s_links(run: Run) -> None:
    info = run(NO_DRIVER, BUILT)["gpu_info"]
    assert info["driver"] == {"loaded": "", "installed": "550.163.01", "flavour": "open", "cuda": ""}
    assert info["kernels"] == [{"release": KERNEL, "headers": True, "module": True, "running": True}]


@pytest.mark.parametrize(
    ("licence", "flavour"), [("NVIDIA", "proprietary"), ("Dual MIT/GPL", "open")], ids=["proprietary", "open"]
)
def test_flavour_by_the_module_s_licence(run: Run, licence: str, flavour: str) -> None:
    module = f"\x7fELF...\0license={licence}\0description=x\0"
    files = {**DEBIAN, **LIBRARY, f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko": module}
    assert run(NO_DRIVER, files)["gpu_info"]["driver"]["flavour"] == flavour


def test_module_built_elsewhere_is_found_by_modules_dep(run: Run) -> None:
    place = "kernel/nvidia-580srv-open/nvidia.ko.zst"
    dep = f"{place}:\nkernel/nvidia-580srv-open/nvidia-uvm.ko.zst: {place}\nkernel/gone/nvidia.ko:\n"
    files = {**DEBIAN, f"/lib/modules/{KERNEL}/{place}": "", f"/lib/modules/{KERNEL}/modules.dep": dep}
    assert run(files=files)["gpu_info"]["kernels"][0]["module"] is True


def test_stale_modules_dep_and_other_modules_are_no_driver(run: Run) -> None:
    files = {
        **DEBIAN,
        f"/lib/modules/{KERNEL}/updates/nvidia-uvm.ko": "",
        f"/lib/modules/{KERNEL}/modules.dep": "kernel/gone/nvidia.ko:\nupdates/nvidia-uvm.ko:\n",
    }
    assert run(files=files)["gpu_info"]["kernels"][0]["module"] is False


def test_directory_of_a_removed_kernel_is_no_kernel(run: Run) -> None:
    files = {**DEBIAN, f"/lib/modules/{OLD_KERNEL}/updates/dkms/nvidia.ko": ""}
    assert [kernel["release"] for kernel in run(files=files)["gpu_info"]["kernels"]] == [KERNEL]


def pending(kind: str) -> tuple[str, str]:
    old = f"<pending_{kind}>%s</pending_{kind}>"
    return (old % "Disabled", old % "Enabled") if kind == "mig" else (old % "Enabled", old % "Disabled")


VFIO = "/sys/bus/pci/devices/0000:00:1e.0/driver"
EXTRA = "/sys/bus/pci/devices/0000:b1:00.0"
SECOND = {f"{EXTRA}/vendor": "0x10de", f"{EXTRA}/class": "0x030200", f"{EXTRA}/device": "0x20b2"}
V100 = ("0x1eb8", "0x1db5")
OPEN = {"/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.163.01  Release"}
XID_119 = "NVRM: Xid (PCI:0000:00:1e): 119, pid=42, name=mistralrs, Timeout waiting for RPC from GSP!"
NEWER = {
    f"/lib/modules/{KERNEL}/modules.builtin": "",
    f"/lib/modules/{OLD_KERNEL}/modules.builtin": "",
    "/proc/sys/kernel/osrelease": OLD_KERNEL,
}


class Case(NamedTuple):
    """C(words) are in the message; C(files) come to those of the recording, C(replace) changes its text."""

    id: str
    gpu: str
    words: str
    recording: str
    files: dict[str, str] = {}  # noqa: RUF012
    replace: tuple[str, str] = ("", "")


CASES = [
    Case("driver.library_mismatch", "", "is 560.35.05, but the installed libraries are 565.57.01", "mismatch__565.57"),
    Case("driver.not_loaded", "", "550.163.01 is installed", NO_DRIVER, BUILT),
    Case(
        "driver.older_kernel_runs", "", f"has a module for kernel {KERNEL}", NO_DRIVER, {**LIBRARY, MODULE: "", **NEWER}
    ),
    Case("driver.no_module_for_kernel", "", "Install the driver's kernel modules", NO_DRIVER, {**DEBIAN, **LIBRARY}),
    Case("driver.nouveau_loaded", "", "nouveau", NO_DRIVER, {**BUILT, "/sys/module/nouveau/refcnt": "1"}),
    Case(
        "driver.headers_missing",
        "",
        f"dkms autoinstall -k {KERNEL}",
        NO_DRIVER,
        {**INSTALLED, f"/lib/modules/{KERNEL}/build": "-> /usr/src/gone"},
    ),
    Case(
        "driver.module_not_built",
        "",
        "nv-pci.c:237:9: error: too few arguments to function",
        NO_DRIVER,
        {**INSTALLED, f"{DKMS}/build/make.log": MAKE_LOG},
    ),
    Case("driver.module_not_built", "", "it was not tried", NO_DRIVER, INSTALLED),
    Case("driver.secure_boot_key", "", "mokutil --import", NO_DRIVER, {**BUILT, SECURE_BOOT: "\6\0\0\0\1"}),
    Case("driver.smi_failed", "", "exit code 255: Failed to initialize NVML", "unknown-error__550.163.01"),
    Case("driver.smi_failed", "", "exit code 9", NO_DRIVER, {"/sys/module/nvidia/version": "550.163.01"}),
    Case("driver.smi_unreadable", "", "complete XML", T4, {}, ("</nvidia_smi_log>", "")),
    Case("driver.no_permission", "", "Insufficient Permissions", "no-permission__550.163.01"),
    Case("driver.nvml_missing", "", "libnvidia-ml.so", "no-library__550.163.01"),
    Case("gpu.lost", "0000:65:00.0", "Xid 79", "lost__535.309.01"),
    Case("gpu.lost", "0000:65:00.0", "Unknown Error", "lost__535.309.01", {"/dev/kmsg": ""}),
    Case(
        "gpu.lost",
        "0000:00:1e.0",
        "nvidia-smi says so",
        T4,
        {},
        ("<remapped_rows>N/A", "<fan_speed>GPU is lost</fan_speed><remapped_rows>N/A"),
    ),
    Case(
        "gpu.lost",
        "",
        "exit code 15",
        "unknown-error__550.163.01",
        {},
        ("? 255\nFailed to initialize NVML: Unknown Error", "? 15"),
    ),
    Case("driver.wrong_flavour", "0000:00:1e.0", "(Tesla V100-SXM2-32GB)", "no-devices__550.163.01", OPEN, V100),
    Case(
        "driver.wrong_flavour",
        "0000:00:1e.0",
        "which needs open ones",
        "no-devices__550.163.01",
        {},
        ("0x1eb8", "0x2901"),
    ),
    Case("gpu.none_found_by_driver", "", "on the PCI bus: 1", "no-devices__550.163.01"),
    Case("gpu.count_differs", "0000:b1:00.0", "PCI bus: 4, but the driver has 3; missing: 0000:b1:00.0", A100S, SECOND),
    Case("gpu.inforom_corrupt", "0000:17:00.0", "infoROM", "inforom__535.309.01"),
    Case("gpu.inforom_corrupt", "", "infoROM", "unknown-error__550.163.01", {}, ("? 255", "? 14")),
    Case("gpu.mig_pending", "0000:00:09.0", "MIG is Disabled and will be Enabled", H100, {}, pending("mig")),
    Case(
        "gpu.mig_without_instances",
        "0000:00:09.0",
        "no instances",
        H100,
        {},
        (
            "<current_mig>Disabled</current_mig>\n\t\t\t<pending_mig>Disabled<",
            "<current_mig>Enabled</current_mig>\n\t\t\t<pending_mig>Enabled<",
        ),
    ),
    Case("gpu.ecc_pending", "0000:00:1e.0", "ECC is Enabled and will be Disabled", T4, {}, pending("ecc")),
    Case("gpu.recovery_needed", "0000:00:09.0", "'Node Reboot'", H100, {}, ("action>None<", "action>Node Reboot<")),
    Case(
        "gpu.recovery_needed",
        "0000:17:00.0",
        "--gpu-reset -i 0000:17:00.0",
        A100S,
        {},
        ("required>No<", "required>Yes<"),
    ),
    Case("gpu.recovery_needed", "", "'GPU Reset'", "unknown-error__550.163.01", {}, ("? 255", "? 16")),
    Case("gpu.row_remap_failed", "0000:00:09.0", "defective row", H100, {}, ("failure>No<", "failure>Yes<")),
    Case("gpu.row_remap_pending", "0000:00:09.0", "next reset", H100, {}, ("row_pending>No<", "row_pending>Yes<")),
    Case(
        "gpu.fabric_not_ready", "0000:00:09.0", "'In Progress'", H100, {}, ("Completed</state>", "In Progress</state>")
    ),
    Case("gpu.fabric_not_ready", "0000:00:09.0", "(Failure)", H100, {}, ("Success</status>", "Failure</status>")),
    Case(
        "gpu.bound_to_vfio",
        "0000:00:1e.0",
        "vfio-pci",
        NO_DRIVER,
        {**DEBIAN, VFIO: "-> ../../../bus/pci/drivers/vfio-pci"},
    ),
    Case("gpu.unknown_device", "0000:00:1e.0", "10de:3fff", NO_DRIVER, DEBIAN, ("0x1eb8", "0x3fff")),
    Case(
        "gpu.xid",
        "0000:00:1e.0",
        "Xid 119 in the last 24 hours, its system processor does not answer (pid=42",
        T4,
        {"/dev/kmsg": f"3,1,5,-;{XID_119}\n"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.id}-{case.recording}")
def test_problem(run: Run, case: Case) -> None:
    problems = run(case.recording, case.files, case.replace)["gpu_info"]["problems"]
    found = [problem for problem in problems if problem["id"] == case.id]
    assert found, problems
    assert found[0]["gpu"] == case.gpu
    assert case.words in found[0]["message"]
    assert found[0]["message"].endswith(f" [{case.id}]")
    # One cause, one problem; several GPUs may have it.
    assert {problem["id"] for problem in problems} == {case.id}
    assert len({problem["gpu"] for problem in problems}) == len(problems)


def test_every_fault_is_produced_by_a_case() -> None:
    faults = {fault.id for fault in vars(gpu_problems).values() if isinstance(fault, Fault)}
    elsewhere = {"driver.smi_missing", "driver.smi_hangs"}
    assert faults == {case.id for case in CASES} | elsewhere


def test_program_that_is_missing(run: Run) -> None:
    result = run(T4, nvidia_smi="/nowhere/nvidia-smi")
    assert ids(result) == ["driver.smi_missing"]
    assert "/nowhere/nvidia-smi" in result["gpu_info"]["problems"][0]["message"]


def test_program_that_hangs_is_given_up(run: Run, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nsleep 60 &\nwait\n")
    program.chmod(0o755)
    start = time.monotonic()
    result = run(T4, nvidia_smi=str(program), timeout=0.3)
    assert time.monotonic() - start < 3
    assert ids(result) == ["driver.smi_hangs"]
    assert "within 0.3 seconds" in result["gpu_info"]["problems"][0]["message"]


@pytest.mark.parametrize("timeout", [0, -1, "nan", "inf"])
def test_timeout_that_is_none(run: Run, timeout: float) -> None:
    result = run(timeout=timeout)
    assert result["error_id"] == "driver.timeout_invalid"
    assert "timeout" in result["msg"]


def test_xids_of_yesterday_and_harmless_ones_are_no_problem(run: Run) -> None:
    harmless = "".join(f"3,1,5,-;{XID_119.replace('119', str(number))}\n" for number in (13, 31, 43, 63, 92, 94))
    log = {"/proc/uptime": "90000.5 1.0", "/dev/kmsg": f"3,1,5000000,-;{XID_119}\n{harmless}"}
    assert ids(run(T4, log)) == []


def test_gpu_that_came_back_is_not_lost(run: Run) -> None:
    log = {"/dev/kmsg": f"3,1,5,-;{XID_119.replace('119', '79')}\n"}
    assert ids(run(T4, log)) == ["gpu.xid"]


def test_old_kernel_without_headers_is_nobody_s_business(run: Run) -> None:
    files = {**BUILT, f"/lib/modules/{OLD_KERNEL}/modules.builtin": ""}
    result = run(T4, files, without="libnvidia-ml.so.550")
    assert len(result["gpu_info"]["kernels"]) == 2
    assert ids(result) == []


def test_newest_kernel_without_module_is_told_before_the_reboot(run: Run) -> None:
    newer = "6.12.200+deb13-amd64"
    files = {**DEBIAN, f"{DKMS}/source": "", MODULE: "", f"/lib/modules/{newer}/modules.builtin": ""}
    result = run(T4, files)
    assert ids(result) == ["driver.headers_missing"]
    assert newer in result["gpu_info"]["problems"][0]["message"]


def test_links_stay_below_the_root(run: Run, tmp_path: Path) -> None:
    outside = tmp_path / "libnvidia-ml.so.1.2.3"
    outside.touch()
    files = {
        "/usr/lib64/libnvidia-ml.so.1": f"-> {'../' * 20}{outside}",
        "/usr/lib/libnvidia-ml.so.1": "-> libnvidia-ml.so.1",
    }
    assert run(NO_DRIVER, files)["gpu_info"]["driver"]["installed"] == ""


def test_driver_that_only_answers_is_loaded(run: Run) -> None:
    info = run(T4, LIBRARY, ("libnvidia-ml.so.515.105.01", "other"), without="nvidia/version")["gpu_info"]
    assert info["driver"]["loaded"] == "515.105.01"
    assert [problem["id"] for problem in info["problems"]] == ["driver.library_mismatch"]


def test_gpu_that_is_driven_has_the_right_flavour(run: Run) -> None:
    assert ids(run("p4-vgpu__513.46", {"/sys/module/nvidia/taint": "OE"})) == []


def test_what_the_next_boot_lacks_does_not_explain_this_one(run: Run) -> None:
    newer = "6.12.200+deb13-amd64"
    result = run(NO_DRIVER, {**BUILT, f"/lib/modules/{newer}/modules.builtin": ""})
    assert ids(result) == ["driver.headers_missing", "driver.not_loaded"]
