from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._toolkit.cdi_spec import (
    foreign,
    listed,
    missing_devices,
    parse,
    stale_reasons,
)

RECORDINGS = Path(__file__).resolve().parents[4] / "recordings" / "nvidia-ctk"
GPU = "GPU-d37e67a5-91dd-3774-a5cb-99096249601a"
MIG = "MIG-11111111-91dd-3774-a5cb-99096249601a"
# In the form of cdi-8xh100-1.17.8.yaml (keys in alphabetical order, maps in lists begin with a dash); what one host may
# have is written.
SPEC = f"""---
cdiVersion: 0.7.0
containerEdits:
  additionalGids:
  - 44
  deviceNodes:
  - hostPath: /dev/nvidiactl
    path: /dev/nvidiactl
  - path: /dev/nvidia-uvm
  env:
  - NVIDIA_CTK_LIBCUDA_DIR=/usr/lib/x86_64-linux-gnu
  - NVIDIA_VISIBLE_DEVICES=void
  hooks:
  - args:
    - nvidia-cdi-hook
    - create-symlinks
    - --link
    - libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  mounts:
  - containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.550.163.01
    hostPath: /usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.550.163.01
    options:
    - ro
  - containerPath: /run/nvidia-persistenced/socket
    hostPath: /run/nvidia-persistenced/socket
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: "0"
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: {GPU}
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: all
kind: nvidia.com/gpu
"""
PATHS = (
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/usr/bin/nvidia-cdi-hook",
    "/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.550.163.01",
    "/run/nvidia-persistenced/socket",
    "/dev/nvidia0",
)
DOCUMENT = {
    "cdiVersion": "0.5.0",
    "kind": "nvidia.com/gpu",
    "devices": [{"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}]}}],
    "containerEdits": {"mounts": [{"hostPath": "/lib/libcuda.so.535.54", "containerPath": "/lib/libcuda.so.535.54"}]},
}


def test_what_a_specification_says() -> None:
    spec = parse(SPEC)
    assert (spec.kind, spec.version) == ("nvidia.com/gpu", "0.7.0")
    assert spec.devices == ("0", GPU, "all")
    assert spec.host_paths == PATHS
    assert spec.drivers == ("550.163.01",)


def test_json_says_the_same() -> None:
    for text in (json.dumps(DOCUMENT), json.dumps(DOCUMENT, indent=2)):
        spec = parse(text)
        assert (spec.kind, spec.version, spec.devices, spec.drivers) == ("nvidia.com/gpu", "0.5.0", ("0",), ("535.54",))
        assert set(spec.host_paths) == {"/dev/nvidia0", "/lib/libcuda.so.535.54"}


@pytest.mark.parametrize("text", ["", "{", "\0", "kind", SPEC[:300], "- - - -", "[]", '{"devices": 3}'])
def test_what_is_cut_off_is_stale(text: str) -> None:
    assert stale_reasons(parse(text), "550.163.01", [GPU], lambda path: True)


@pytest.mark.parametrize(
    ("driver", "uuids", "gone", "old", "reason"),
    [
        ("550.163.01", [GPU], (), False, None),
        ("", [], (), False, None),
        ("580.95.05", [GPU], (), False, "it is for the driver 550.163.01, and 580.95.05 is loaded"),
        ("550.163.01", [GPU, "GPU-2"], (), False, "it lacks GPU-2"),
        ("550.163.01", [MIG], (), False, f"it has {GPU}, which the host does not have"),
        ("550.163.01", [GPU], ("/dev/nvidia0",), False, "/dev/nvidia0 it names are gone"),
        ("550.163.01", [GPU], PATHS, False, "/dev/nvidiactl and 5 more files it names are gone"),
        ("550.163.01", [GPU], (), True, "it is older than the toolkit"),
    ],
)
def test_staleness(driver: str, uuids: list[str], gone: tuple[str, ...], old: bool, reason: str | None) -> None:
    reasons = stale_reasons(parse(SPEC), driver, uuids, lambda path: path not in gone, old)
    assert reasons == [] if reason is None else reason in reasons


def test_names_by_index_only() -> None:
    assert missing_devices(["0", "1", "all"], ["GPU-a", "GPU-b"]) == []
    assert missing_devices(["0", "all"], ["GPU-a", "GPU-b"]) == ["GPU-b"]
    assert missing_devices(["0:0", "0:1", "all"], ["MIG-a", "MIG-b"]) == []
    assert missing_devices([], ["GPU-a"]) == ["GPU-a"]


def test_list() -> None:
    output = f"INFO[0000] Found 3 CDI devices\nnvidia.com/gpu=0\nnvidia.com/gpu={GPU}\nnvidia.com/gpu=all\n"
    assert listed(output) == ["nvidia.com/gpu=0", f"nvidia.com/gpu={GPU}", "nvidia.com/gpu=all"]


def test_files_of_others() -> None:
    texts = {"/etc/cdi/nvidia.yaml": SPEC, "/etc/cdi/mine.json": json.dumps(DOCUMENT), "/etc/cdi/x.yaml": "kind: a/b\n"}
    assert foreign(texts, ["/etc/cdi/nvidia.yaml"]) == ["/etc/cdi/mine.json"]


EIGHT = [f"GPU-01000100-0000-0000-0000-{number:012}" for number in range(8)]
FOUND = {
    "/usr/bin/nvidia-cdi-hook",
    "/usr/bin/nvidia-smi",
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    *(f"/dev/nvidia{number}" for number in range(8)),
    *(f"/usr/lib/x86_64-linux-gnu/lib{name}.so.550.163.01" for name in ("cuda", "nvidia-ml", "nvidia-ptxjitcompiler")),
}


@pytest.mark.parametrize(("version", "more"), [("1.17.8", set()), ("1.20.2", {"/dev/null"})])
def test_what_nvidia_ctk_wrote(version: str, more: set[str]) -> None:
    spec = parse((RECORDINGS / f"cdi-8xh100-{version}.yaml").read_text())
    assert (spec.kind, spec.version, spec.drivers) == ("nvidia.com/gpu", "0.5.0", ("550.163.01",))
    assert spec.devices == (*(str(number) for number in range(8)), *EIGHT, "all")
    assert set(spec.host_paths) == FOUND | more
    assert stale_reasons(spec, "550.163.01", EIGHT, lambda path: True) == []


@pytest.mark.parametrize("version", ["1.17.8", "1.20.2"])
def test_what_nvidia_ctk_wrote_becomes_stale(version: str) -> None:
    spec = parse((RECORDINGS / f"cdi-8xh100-{version}.yaml").read_text())
    lost = stale_reasons(spec, "580.95.05", EIGHT[:7], lambda path: path != "/dev/nvidia7")
    assert lost == [
        "it is for the driver 550.163.01, and 580.95.05 is loaded",
        f"it has {EIGHT[7]}, which the host does not have",
        "/dev/nvidia7 it names are gone",
    ]
    assert stale_reasons(spec, "", [*EIGHT, GPU], lambda path: True) == [f"it lacks {GPU}"]


@pytest.mark.parametrize("version", ["1.17.8", "1.20.2"])
def test_what_nvidia_ctk_listed(version: str) -> None:
    answers = (RECORDINGS / f"cdi-list-and-errors-{version}.txt").read_text().split("$ nvidia-ctk ")
    names = sorted(f"nvidia.com/gpu={name}" for name in (*map(str, range(8)), *EIGHT, "all"))
    lists = [listed(answer) for answer in answers if answer.startswith("cdi list")]
    # With no file, with one, and with a second one that is invalid.
    assert lists == [[], names, names]


def test_device_numbers_that_the_kernel_gave_anew() -> None:
    spec = parse((RECORDINGS / "cdi-8xh100-1.20.2.yaml").read_text())
    assert {*spec.numbers} >= {("/dev/nvidia0", 195, 0), ("/dev/nvidia7", 195, 7), ("/dev/nvidiactl", 195, 255)}
    now = {path: (major, minor) for path, major, minor in spec.numbers}

    def reasons(**changed: tuple[int, int] | None) -> list[str]:
        numbers = {**now, **{f"/dev/{name}": value for name, value in changed.items()}}
        return stale_reasons(spec, "550.163.01", EIGHT, lambda path: True, number=numbers.get)

    assert reasons() == []
    assert reasons(nvidia3=None) == [], "that it is gone is another reason"
    assert reasons(nvidia3=(195, 4)) == ["the device number of /dev/nvidia3 has changed"]
    assert reasons(nvidiactl=(1, 3), nvidia0=(1, 3)) == ["the device number of /dev/nvidia0 (and 1 more) has changed"]
    # 1.17.8 does not say the numbers of most; what it says nothing of is not compared.
    older = parse((RECORDINGS / "cdi-8xh100-1.17.8.yaml").read_text())
    assert stale_reasons(older, "550.163.01", EIGHT, lambda path: True, number=lambda path: (1, 3)) == []


def test_device_numbers_in_json() -> None:
    node = {"path": "/dev/nvidia-uvm", "hostPath": "/dev/nvidia-uvm", "major": 511, "minor": 1}
    document = {**DOCUMENT, "containerEdits": {"deviceNodes": [node]}}
    assert parse(json.dumps(document)).numbers == (("/dev/nvidia-uvm", 511, 1),)
