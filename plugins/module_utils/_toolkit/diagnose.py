# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker, apt and NVIDIA's tools say when containers get no GPU, and what to do about it.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

The texts are those of Docker 20.10 to 29, NVIDIA Container Toolkit 1.13 to 1.20 and apt 2.4 to 3.0.
"""

from __future__ import annotations

import re

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._host.package_lock import busy

UNKNOWN = Fault(
    "toolkit.failed",
    "{where}: {words}.",
    "Nothing is known about this message: 'journalctl -b' and 'docker info' on the host may tell more.",
)

_RESTART = "Restart Docker ('systemctl restart docker' on the host) and run again"

# The first that fits counts, so causes stand before their consequences.
FAULTS: tuple[tuple[str, Fault], ...] = (
    (
        r"Conflicting values set for option",
        Fault(
            "toolkit.repository_twice",
            "{where}: two files below /etc/apt name NVIDIA's repository, with different keys ({words}).",
            "Remove the one that is not nvidia-container-toolkit.sources and run again.",
        ),
    ),
    (
        r"NO_PUBKEY|EXPKEYSIG|BADSIG|KEYEXPIRED|is not signed|public key is not available|Missing key|GPG error",
        Fault(
            "toolkit.repository_signature",
            "{where}: NVIDIA's repository is not signed with the pinned key ({words}).",
            "If NVIDIA announced a new key, set 'nvidia_container_toolkit_key_fingerprints' to its fingerprint;"
            " if not, somebody may be tampering with what you download.",
        ),
    ),
    (
        r"Version '.*' for '.*' was not found|no available installation candidate|Unable to locate package"
        r"|has no installation candidate|No package matching",
        Fault(
            "toolkit.version_not_offered",
            "{where}: the repository does not offer that version of the toolkit ({words}).",
            "Set 'nvidia_container_toolkit_version' to one that it has ('apt-cache policy nvidia-container-toolkit').",
        ),
    ),
    (
        r"Could not resolve|Could not connect|Connection refused|Connection timed out|Failed to fetch|404  Not Found"
        r"|does not have a Release file",
        Fault(
            "toolkit.repository_unreachable",
            "{where}: NVIDIA's repository cannot be read ({words}).",
            "Check the host's network and proxy, or set 'nvidia_container_toolkit_repository_url' to a mirror.",
        ),
    ),
    (
        r"[Dd]river/library version mismatch",
        Fault(
            "toolkit.driver_library_mismatch",
            "{where}: the loaded driver and its libraries are of different versions ({words}).",
            "Reboot the host, or stop all containers with GPUs and load the driver again.",
        ),
    ),
    (
        r"Driver Not Loaded|DRIVER_NOT_LOADED|driver not loaded|couldn't communicate with the NVIDIA driver"
        r"|nvml error: driver not loaded",
        Fault(
            "toolkit.driver_not_loaded",
            "{where}: the NVIDIA driver is not loaded ({words}).",
            "'dkms status' and 'modprobe nvidia' on the host tell why; after an installation of the driver, reboot.",
        ),
    ),
    (
        r"libnvidia-ml\.so|ERROR_LIBRARY_NOT_FOUND|could not load NVML|libcuda\.so\S* (?:not found|cannot open)",
        Fault(
            "toolkit.driver_libraries_missing",
            "{where}: the libraries of the NVIDIA driver are not found ({words}).",
            "Install the user-space half of the driver in the version that is loaded; on Debian, use the toolkit 1.20.0"
            " or newer, since older ones miss Debian's folders.",
        ),
    ),
    (
        r"NVML: Insufficient Permissions|avc: +denied",
        Fault(
            "toolkit.selinux_denied",
            "{where}: SELinux keeps containers from the GPUs ({words}).",
            "Run 'setsebool -P container_use_devices on' on the host.",
        ),
    ),
    (
        r"NVML: Unknown Error",
        Fault(
            "toolkit.gpu_cut_off",
            "{where}: the container has lost its access to the GPUs, as 'systemctl daemon-reload' does to the legacy"
            " runtime ({words}).",
            "Create the container again, and give it its GPUs through CDI (--device nvidia.com/gpu=all).",
        ),
    ),
    (
        r"unsatisfied condition: (?:cuda|driver|brand|arch)",
        Fault(
            "toolkit.image_needs_newer_driver",
            "{where}: the image is made for a newer driver ({words}).",
            "Update the driver, or use an image with an older CUDA ('mistral_image_cuda_version').",
        ),
    ),
    (
        r"device-injection failed|conflicting device",
        Fault(
            "toolkit.cdi_devices_twice",
            "{where}: two CDI specifications describe the same GPU ({words}).",
            "Keep one of /etc/cdi/nvidia.yaml and /var/run/cdi/nvidia.yaml: run this role again, or remove the older.",
        ),
    ),
    (
        r"unresolvable CDI devices",
        Fault(
            "toolkit.cdi_device_unknown",
            "{where}: Docker finds no such GPU in the CDI specifications ({words}).",
            "Run this role again, which regenerates the specification; 'nvidia-ctk cdi list' shows what there is.",
        ),
    ),
    (
        r"invalid CDI [Ss]pec.*version|unknown CDI version|unsupported CDI (?:spec )?version"
        r"|version .* is invalid|the spec version must be at least",
        Fault(
            "toolkit.cdi_schema_too_new",
            "{where}: Docker does not know the version of the CDI specification ({words}).",
            "Update Docker to 26.1 or newer.",
        ),
    ),
    (
        r'could not select device driver "cdi"|CDI (?:support )?is (?:not enabled|disabled)'
        r'|error gathering device information while adding custom device "nvidia\.com/gpu',
        Fault(
            "toolkit.cdi_not_enabled",
            "{where}: Docker's CDI feature is off ({words}).",
            f"Set 'cdi' to true under 'features' in /etc/docker/daemon.json, as this role does. {_RESTART}.",
        ),
    ),
    (
        r'could not select device driver "[^"]*" with capabilities',
        Fault(
            "toolkit.docker_without_gpus",
            "{where}: Docker was started before the NVIDIA Container Toolkit was there, or without it ({words}).",
            f"{_RESTART}.",
        ),
    ),
    (
        r"[Uu]nknown or invalid runtime name|unknown runtime specified",
        Fault(
            "toolkit.runtime_unknown",
            "{where}: the running Docker has no runtime of that name ({words}).",
            f"Set 'nvidia_container_toolkit_legacy_runtime: true'. {_RESTART}.",
        ),
    ),
    (
        r"unable to load config for runtime docker|unable to configure the Docker daemon with file",
        Fault(
            "toolkit.docker_settings_invalid",
            "{where}: Docker's settings cannot be read ({words}).",
            "Correct /etc/docker/daemon.json on the host ('dockerd --validate' checks it) and run again.",
        ),
    ),
    (
        r"unrecognized runtime '",
        Fault(
            "toolkit.container_engine_unsupported",
            "{where}: the toolkit cannot configure that container engine ({words}).",
            "Give it one that 'nvidia-ctk runtime configure --help' lists: docker, containerd or crio.",
        ),
    ),
    (
        r"/dev/nvidia\S* does not exist|no NVIDIA GPU device is present|stat /dev/nvidia\S*: no such file"
        r'|"/dev/nvidia[^"]*": no such file|lstat /dev/nvidia',
        Fault(
            "toolkit.device_nodes_missing",
            "{where}: the GPUs' device files are not there ({words}).",
            "Run 'nvidia-modprobe -c0 -u' on the host, then this role again.",
        ),
    ),
    (
        r"failed to fulfil mount request|error mounting .*: no such file or directory|failed to stat .*\.so\.",
        Fault(
            "toolkit.cdi_spec_stale",
            "{where}: the CDI specification names files that are gone ({words}).",
            "Run this role again, which regenerates the specification.",
        ),
    ),
    (
        r"No devices were found",
        Fault(
            "toolkit.no_devices",
            "{where}: the driver finds no GPU ({words}).",
            "'dmesg | grep -e NVRM -e Xid' on the host tells why.",
        ),
    ),
    (
        r"Cannot connect to the Docker daemon|Is the docker daemon running",
        Fault(
            "toolkit.docker_not_running",
            "{where}: Docker does not run ({words}).",
            "'systemctl status docker' on the host tells why.",
        ),
    ),
)


_LEVEL = re.compile(r"\btime=\S+ level=(\w+) msg=")


def _telling(text: str) -> list[str]:
    """The lines of C(text); where a tool of NVIDIA calls some of them errors, without its warnings and notes.

    It warns of every library and file that a host may well do without.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    levels = [match.group(1) if match else "" for match in map(_LEVEL.search, lines)]
    if not {"error", "fatal"} & set(levels):
        return lines
    return [line for line, level in zip(lines, levels) if level in ("", "error", "fatal")]


def last_words(text: str, pattern: str = "") -> str:
    """The line of C(text) that says most: the first that fits C(pattern), else the last; without what surrounds it."""
    lines = _telling(text)
    fitting = [line for line in lines if pattern and re.search(pattern, line)]
    # Docker's advice to read its help is not what went wrong.
    telling = [line for line in lines if not re.match(r"See '|Run '", line)]
    line = (fitting or telling[-1:] or lines[-1:] or ["no word"])[0]
    line = re.sub(r"^(?:docker: |Error response from daemon: |[EWN]: |time=\S+ level=\w+ msg=)+", "", line)
    # NVIDIA's tools quote what they say.
    line = line.strip('"').replace('\\"', '"').replace("\\n", "; ")
    return line.rstrip(".")


def explained(text: str, where: str) -> StackError:
    """The fault that the output C(text) of a tool stands for; C(where) begins the sentence."""
    in_the_way = busy(text, where)
    if in_the_way is not None:
        return in_the_way
    telling = "\n".join(_telling(text))
    for pattern, fault in FAULTS:
        if re.search(pattern, telling):
            return StackError(fault, where=where, words=last_words(text, pattern))
    return StackError(UNKNOWN, where=where, words=last_words(text))
