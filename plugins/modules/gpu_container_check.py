#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_container_check
short_description: Start a container with the GPUs and check that it sees them
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Starts a short-lived container with GPUs, without network and capabilities, and compares the GPUs in it with those
    of the host.
  - Nothing is pulled. If no image is given, a small one is made of the host's own shell and C library.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: none
    details:
      - The module is skipped in check mode.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  image:
    description:
      - The image of the container, which must contain C(sh). If empty, one is made of files of the host.
    type: str
    default: ""
  devices:
    description:
      - The UUIDs of the GPUs or MIG devices that must be visible in the container. If empty, O(gpus) counts.
    type: list
    elements: str
    default: []
  gpus:
    description:
      - The minimum number of device files C(/dev/nvidiaN) in the container.
    type: int
    default: 1
  access:
    description:
      - How the container gets the GPUs.
    type: str
    default: cdi
    choices:
      cdi: With C(--device nvidia.com/gpu=all).
      runtime: With C(--runtime nvidia), the legacy runtime.
  docker:
    description:
      - Docker's client, by name or path.
    type: str
    default: docker
"""

EXAMPLES = r"""
- name: Prove that containers get the GPUs
  mistralrs.stack.gpu_container_check:
    gpus: 2
"""

RETURN = r"""
image:
  description: The image that was used.
  returned: success
  type: str
  sample: mistralrs-stack/gpu-check:3f0c9a1b2d4e
nodes:
  description: The device files that the container has.
  returned: success
  type: list
  elements: str
  sample: [/dev/nvidia0, /dev/nvidiactl]
devices:
  description: The UUIDs that C(nvidia-smi -L) found in the container.
  returned: success
  type: list
  elements: str
  sample: [GPU-d37e67a5-91dd-3774-a5cb-99096249601a]
error_id:
  description: Identifies what went wrong.
  returned: failure
  type: str
  sample: toolkit.cdi_device_unknown
"""

import hashlib
import os
import re
import tarfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module
from ansible_collections.mistralrs.stack.plugins.module_utils._toolkit.diagnose import explained

INCOMPLETE = Fault(
    "toolkit.container_without_gpus",
    "A container that was given all GPUs lacks some: it has {found}, but {expected} is needed.",
    "Compare 'nvidia-ctk cdi list', what Docker can give, with 'nvidia-smi -L', what the host has.",
)
NO_DOCKER = Fault(
    "toolkit.docker_client_missing",
    "There is no program {docker} on this host to start a container with.",
    "Install Docker first, with the role docker_engine for instance.",
)
NO_IMAGE = Fault(
    "toolkit.check_image_not_made",
    "No image for the check could be made of the host's files: {problem}.",
    "Set 'nvidia_container_toolkit_check_image' to an image that has a shell.",
)

REPOSITORY = "mistralrs-stack/gpu-check"
# Programs that may be in the image: nvidia-smi itself comes from the host through CDI, and needs libraries to run.
LIBRARIES = ("libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libc.so.6")
SCRIPT = """
for node in /dev/nvidia*; do [ -c "$node" ] && echo "node=$node"; done
if command -v nvidia-smi >/dev/null; then nvidia-smi -L; else echo no-nvidia-smi; fi
"""


def needed_libraries(module: AnsibleModule, program: str) -> list[str]:
    """The shell's libraries, and those beside them that NVIDIA's tools need."""
    ldd = module.get_bin_path("ldd")
    if ldd is None:
        raise StackError(NO_IMAGE, problem="there is no program ldd")
    _rc, out, _err = module.run_command([ldd, program], environ_update={"LC_ALL": "C"})
    paths = re.findall(r"(/\S+) \(0x", str(out))
    folders = [os.path.dirname(path) for path in paths if os.path.basename(path).startswith("libc.so")]
    paths += [f"{folder}/{name}" for folder in folders for name in LIBRARIES]
    return [path for path in dict.fromkeys(paths) if os.path.exists(path)]


def make_image(module: AnsibleModule, docker: str) -> tuple[str, bool]:
    """The image from the host's own files, and whether it had to be made."""
    shell = os.path.realpath("/bin/sh")
    files = [("bin/sh", shell)] + [(path.lstrip("/"), path) for path in needed_libraries(module, shell)]
    facts = [f"{name} {os.stat(path).st_size} {os.stat(path).st_mtime_ns}" for name, path in files]
    tag = f"{REPOSITORY}:{hashlib.sha256(chr(10).join(facts).encode()).hexdigest()[:12]}"
    if module.run_command([docker, "image", "inspect", "--format", "ok", tag])[0] == 0:
        return tag, False
    archive = os.path.join(module.tmpdir, "gpu-check.tar")
    with tarfile.open(archive, "w") as tar:
        for folder in ("bin", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "tmp", "usr", "usr/bin"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, path in files:
            real = os.path.realpath(path)
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = os.stat(real).st_size, 0o755
            with open(real, "rb") as file:
                tar.addfile(entry, file)
    rc, out, err = module.run_command(
        [docker, "import", "--change", "ENV PATH=/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin", archive, tag]
    )
    os.unlink(archive)
    if rc != 0:
        raise explained(err or out, "The image for the check could not be made")
    return tag, True


def run(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    docker = module.get_bin_path(params["docker"])
    if docker is None:
        raise StackError(NO_DOCKER, docker=params["docker"])
    image, changed = params["image"], False
    if not image:
        image, changed = make_image(module, docker)
    access = ["--device", "nvidia.com/gpu=all"]
    if params["access"] == "runtime":
        access = ["--runtime", "nvidia", "--env", "NVIDIA_VISIBLE_DEVICES=all"]
        access += ["--env", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"]
    command = [docker, "run", "--rm", "--pull", "never", "--network", "none", "--cap-drop", "ALL"]
    command += ["--security-opt", "no-new-privileges", "--entrypoint", "sh", *access, image, "-c", SCRIPT]
    rc, out, err = module.run_command(command)
    if rc != 0:
        # nvidia-smi says what is wrong on its standard output.
        raise explained(err if err.strip() else out, "A container with the GPUs does not start as it should")
    nodes = re.findall(r"^node=(.+)$", out, re.MULTILINE)
    uuids = re.findall(r"UUID: ((?:GPU|MIG)-[^)]+)\)", out)
    cards = [node for node in nodes if re.match(r"/dev/nvidia\d+$", node)]
    wanted = params["devices"]
    if len(cards) < params["gpus"]:
        found = ", ".join(cards) or "no device file of a GPU"
        raise StackError(INCOMPLETE, found=found, expected=f"{params['gpus']} of them")
    if "no-nvidia-smi" not in out.splitlines():
        lost = [uuid for uuid in wanted if uuid not in uuids]
        if lost:
            raise StackError(INCOMPLETE, found=", ".join(uuids) or "no GPU", expected=", ".join(lost))
    return {"changed": changed, "image": image, "nodes": nodes, "devices": uuids}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "image": {"type": "str", "default": ""},
            "devices": {"type": "list", "elements": "str", "default": []},
            "gpus": {"type": "int", "default": 1},
            "access": {"type": "str", "default": "cdi", "choices": ["cdi", "runtime"]},
            "docker": {"type": "str", "default": "docker"},
        },
        supports_check_mode=False,
    )
    run_module(module, run, lambda path, reason: StackError(NO_IMAGE, problem=f"{path} {reason}".strip()))


if __name__ == "__main__":
    main()
