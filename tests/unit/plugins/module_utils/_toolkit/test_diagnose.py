from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.filter.toolkit_problem import toolkit_problem
from ansible_collections.mistralrs.stack.plugins.module_utils._toolkit.diagnose import FAULTS, explained, last_words

RECORDINGS = Path(__file__).resolve().parents[4] / "recordings" / "nvidia-ctk"

# The messages marked "here" were seen with Docker 26.1.5 and apt 3.0; the others are from the projects' issues.
MESSAGES = [
    (
        "docker_without_gpus",
        'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].',
    ),
    (
        "cdi_not_enabled",
        'docker: Error response from daemon: could not select device driver "cdi" with capabilities: [].',
    ),  # here
    (
        "cdi_not_enabled",
        "docker: Error response from daemon: error gathering device information while adding custom device"
        ' "nvidia.com/gpu=all": no such file or directory.',
    ),
    (
        "cdi_device_unknown",
        # here
        "docker: Error response from daemon: CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=7.",
    ),
    ("runtime_unknown", "docker: Error response from daemon: unknown or invalid runtime name: nvidia."),  # here
    ("gpu_cut_off", "Failed to initialize NVML: Unknown Error"),
    ("selinux_denied", "Failed to initialize NVML: Insufficient Permissions"),
    (
        "driver_library_mismatch",
        "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 565.57",
    ),
    (
        "driver_not_loaded",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA"
        " driver is installed and running.",
    ),
    (
        "driver_not_loaded",
        'time="2026-11-24T10:00:00Z" level=error msg="failed to generate CDI spec: failed to initialize NVML:'
        ' Driver Not Loaded"',
    ),
    ("driver_libraries_missing", "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system."),
    (
        "driver_libraries_missing",
        "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open",
    ),
    (
        "image_needs_newer_driver",
        "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update your driver",
    ),
    (
        "device_nodes_missing",
        'error gathering device information while adding custom device "/dev/nvidia0": no such file',
    ),
    (
        "cdi_spec_stale",
        "failed to fulfil mount request: open /run/nvidia-persistenced/socket: no such file or directory",
    ),
    ("no_devices", "No devices were found"),
    (
        "docker_settings_invalid",
        "unable to configure the Docker daemon with file /etc/docker/daemon.json: invalid character '}' looking for"
        " beginning of object key string",
    ),
    ("container_engine_unsupported", 'time="2026-11-26T23:17:26Z" level=error msg="unrecognized runtime \'nosuch\'"'),
    (
        "docker_not_running",
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
    ),
    (
        "repository_twice",
        "E: Conflicting values set for option Signed-By regarding source https://nvidia.github.io/libnvidia-container/stable/deb"
        "/amd64/ /: a.gpg != b.asc",
    ),
    ("repository_signature", "W: GPG error: http://127.0.0.1  InRelease: NO_PUBKEY DDCAE044F796ECB0"),
    ("version_not_offered", "E: Version '9.9.9-*' for 'nvidia-container-toolkit' was not found"),  # here
    ("repository_unreachable", "E: Failed to fetch https://nvidia.github.io/x  Could not resolve 'nvidia.github.io'"),
    ("failed", "something that nobody has seen"),
]


@pytest.mark.parametrize(
    ("error", "text"), MESSAGES, ids=[f"{number}-{entry[0]}" for number, entry in enumerate(MESSAGES)]
)
def test_message(error: str, text: str) -> None:
    line = toolkit_problem(text, "It does not start")
    assert line.startswith("It does not start: ")
    assert line.endswith(f"[toolkit.{error}]")
    assert "\n" not in line
    assert ".." not in line


def test_every_fault_has_a_message() -> None:
    missing = {fault.id for _pattern, fault in FAULTS} - {f"toolkit.{error}" for error, _text in MESSAGES}
    assert missing == {"toolkit.cdi_devices_twice", "toolkit.cdi_schema_too_new"}, "texts that no source was found for"


def test_the_words_are_those_that_matter() -> None:
    text = "Reading package lists...\nE: Version '9.9.9-*' for 'x' was not found\nE: Sub-process failed\n"
    assert "(Version '9.9.9-*' for 'x' was not found)" in str(explained(text, "x"))
    assert last_words("docker: Error response from daemon: no.\nSee 'docker run --help'.\n") == "no"
    assert last_words("") == "no word"


def test_patterns_are_valid() -> None:
    for pattern, fault in FAULTS:
        assert re.compile(pattern)
        assert re.match(r"toolkit\.[a-z_]+\Z", fault.id)


def recorded(version: str, command: str, file: str = "cdi-list-and-errors") -> str:
    """What nvidia-ctk said to a command of the recording."""
    text = (RECORDINGS / f"{file}-{version}.txt").read_text()
    return next(one for one in text.split("$ nvidia-ctk ") if one.startswith(f"{command}\n")).partition("\n")[2]


@pytest.mark.parametrize("version", ["1.17.8", "1.20.2"])
@pytest.mark.parametrize("command", ["cdi generate   # no driver", "cdi generate   # no driver, mode auto"])
def test_nvidia_ctk_without_a_driver(version: str, command: str) -> None:
    fault = explained(recorded(version, command), "The GPUs could not be described")
    assert fault.id == "toolkit.driver_libraries_missing"
    # The error, and none of the warnings before it.
    assert "(failed to generate CDI spec: failed to create device CDI specs: " in str(fault)
    assert "failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND)" in str(fault)
    assert "Failed to locate nvidia-cdi-hook" not in str(fault)


@pytest.mark.parametrize("version", ["1.17.8", "1.20.2"])
def test_nvidia_ctk_and_a_specification_it_does_not_know(version: str) -> None:
    said = recorded(version, "cdi list   # with a second file 'cdiVersion: 9.9'").partition("\nnvidia.com")[0]
    fault = explained(said, "The CDI specifications cannot be read")
    assert fault.id == "toolkit.cdi_schema_too_new"
    assert '(cdi.d/bad.yaml: [failed to load CDI Spec invalid CDI Spec: invalid version "9.9"])' in str(fault)


@pytest.mark.parametrize("version", ["1.17.8", "1.20.2"])
@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("failed to initialize NVML: Driver Not Loaded", "driver_not_loaded"),
        ("failed to initialize NVML: Driver/library version mismatch", "driver_library_mismatch"),
        ("failed to initialize NVML: Insufficient Permissions", "selinux_denied"),
        ("something that nobody has seen", "failed"),
    ],
)
def test_warnings_of_a_whole_run_are_not_its_error(version: str, words: str, error: str) -> None:
    """What nvidia-ctk warned of while it worked, and the sentence of NVML's (nvmlErrorString) at its end."""
    log = (RECORDINGS / f"cdi-generate-{version}.log").read_text()
    line = f'time="2026-11-26T23:17:26Z" level=error msg="failed to generate CDI spec: {words}"\n'
    fault = explained(log + line, "x")
    assert fault.id == f"toolkit.{error}"
    assert f"failed to generate CDI spec: {words}" in str(fault)
    assert "Could not locate" not in str(fault)


@pytest.mark.parametrize("version", ["1.17.8", "1.20.2"])
@pytest.mark.parametrize(
    ("command", "error", "words"),
    [
        ("--runtime=nosuch", "container_engine_unsupported", "(unrecognized runtime 'nosuch')"),
        (
            "--runtime=docker --config=dj/broken.json   # the file is '{broken'",
            "docker_settings_invalid",
            "(unable to load config for runtime docker: invalid character 'b' looking for beginning of object key",
        ),
    ],
)
def test_nvidia_ctk_and_settings_it_cannot_change(version: str, command: str, error: str, words: str) -> None:
    fault = explained(recorded(version, f"runtime configure {command}", "runtime-configure"), "x")
    assert fault.id == f"toolkit.{error}"
    assert words in str(fault)
