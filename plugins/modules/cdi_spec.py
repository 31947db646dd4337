#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: cdi_spec
short_description: Ensure one CDI specification that describes the NVIDIA GPUs of the host
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - The Container Device Interface (CDI) tells Docker what a container with GPUs needs. This module looks at the
    existing specification and regenerates it only if it is missing or no longer fits the host. It no longer fits if it
    is for another version of the driver, lacks a GPU or MIG device or lists one that is gone, names files that are gone
    or devices whose numbers have changed, or is older than the toolkit.
  - Where the toolkit's own service generates it (since version 1.18), the module starts that service; elsewhere it
    calls C(nvidia-ctk). A specification in the other of the two places is set aside, since it would hide the right one.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - In check mode the difference shows only the reasons, since the new specification is not generated.
  idempotent:
    support: full
options:
  driver_version:
    description:
      - The version of the driver that is loaded. If empty, it is not compared.
    type: str
    default: ""
  devices:
    description:
      - The UUIDs of all GPUs; for a GPU that is partitioned, those of its MIG devices instead. If empty, they are not
        compared.
    type: list
    elements: str
    default: []
  program:
    description:
      - The program C(nvidia-ctk), by name or path.
    type: str
    default: nvidia-ctk
  unit:
    description:
      - The systemd service that generates the specification. It is used if it is installed and not masked, and
        C(nvidia-ctk) is 1.18 or newer.
    type: str
    default: nvidia-cdi-refresh.service
  path:
    description:
      - The specification to write where there is no such service.
    type: path
    default: /etc/cdi/nvidia.yaml
  unit_path:
    description:
      - The specification that the service writes, unless its settings file O(unit_settings) names another.
    type: path
    default: /var/run/cdi/nvidia.yaml
  unit_settings:
    description:
      - The service's file of environment variables.
    type: path
    default: /etc/nvidia-container-toolkit/nvidia-cdi-refresh.env
"""

EXAMPLES = r"""
- name: Gather facts about the GPUs
  mistralrs.stack.gpu_info:
  register: looked

- name: Ensure that there is a CDI specification for them
  mistralrs.stack.cdi_spec:
    driver_version: "{{ looked.gpu_info.driver.loaded }}"
    devices: "{{ looked.gpu_info.gpus | map(attribute='uuid') }}"
"""

RETURN = r"""
path:
  description: The specification that is in effect.
  returned: success
  type: str
  sample: /var/run/cdi/nvidia.yaml
reasons:
  description: Why it was regenerated, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ["it is for the driver 535.216.03, and 550.163.01 is loaded"]
set_aside:
  description: The specification that was renamed because it hid or doubled this one, or would be in check mode.
  returned: success
  type: str
  sample: /etc/cdi/nvidia.yaml
devices:
  description: The names of the devices in it, for C(docker run --device).
  returned: success, but not in check mode if it has to be generated
  type: list
  elements: str
  sample: [nvidia.com/gpu=0, nvidia.com/gpu=all]
error_id:
  description: Identifies what went wrong.
  returned: failure
  type: str
  sample: toolkit.driver_not_loaded
"""

import glob
import os
import re
import stat
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module
from ansible_collections.mistralrs.stack.plugins.module_utils._toolkit.cdi_spec import (
    KIND,
    foreign,
    listed,
    missing_devices,
    parse,
    stale_reasons,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._toolkit.diagnose import explained

MISSING = Fault(
    "toolkit.not_installed",
    "There is no program {program} on this host to describe its GPUs with.",
    "Install the NVIDIA Container Toolkit first.",
)
FOREIGN = Fault(
    "toolkit.cdi_spec_foreign",
    "{foreign} describes the same devices as {path}, so Docker uses neither.",
    "Remove it, or move it out of that folder, and run again; nothing was changed.",
)
SKIPPED = Fault(
    "toolkit.cdi_refresh_skipped",
    "The service {unit} ran, but did not write {path}: {words}.",
    "It waits for the driver: 'systemctl status {unit}' on the host names the condition that is not met.",
)
INCOMPLETE = Fault(
    "toolkit.cdi_devices_missing",
    "After {path} was regenerated, 'nvidia-ctk cdi list' still does not list {missing}.",
    "If a GPU is gone, run 'nvidia-smi -L' and 'dmesg | grep -e NVRM -e Xid' on the host to see why.",
)
NOT_WRITTEN = Fault(
    "toolkit.cdi_spec_not_written",
    "The CDI specification {path} could not be changed: {problem}.",
    "Check the file system it lies on: its space, and whether it is mounted read-only.",
)


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def status(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def device_number(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (os.major(found.st_rdev), os.minor(found.st_rdev)) if stat.S_ISCHR(found.st_mode) else None


def check_complete(path: str, names: list[str], wanted: list[str]) -> None:
    """That the specification has each wanted device. Raises StackError."""
    plain = [name.partition("=")[2] for name in names]
    missing = missing_devices(plain, wanted) or ([] if "all" in plain else ["all"])
    if missing:
        raise StackError(INCOMPLETE, path=path, missing=", ".join(f"{KIND}={name}" for name in missing))


class CdiSpec:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.unit = module.params["unit"]
        self.has_unit = self._unit_is_there() and self._toolkit_is_for_the_unit()
        unit_path = self._unit_path()
        self.path = unit_path if self.has_unit else module.params["path"]
        self.other = module.params["path"] if self.has_unit else unit_path

    def _systemctl(self, *words: str) -> tuple[int, str, str]:
        program = self.module.get_bin_path("systemctl")
        if program is None:
            return 1, "", "no systemctl"
        rc, out, err = self.module.run_command([program, *words])
        return int(rc), str(out), str(err)

    def _unit_property(self, name: str) -> str:
        _rc, out, _err = self._systemctl("show", f"--property={name}", "--value", self.unit)
        return out.strip()

    def _unit_is_there(self) -> bool:
        # systemd remembers a unit whose file is gone, as after a downgrade, until it is reloaded.
        fragment = self._unit_property("FragmentPath")
        return self._unit_property("LoadState") == "loaded" and os.path.exists(fragment)

    def _toolkit_is_for_the_unit(self) -> bool:
        """Whether C(nvidia-ctk) knows the variable in which the service names the file.

        Packages of 1.18 and 1.19 leave the service behind, as a settings file, when they are replaced by an older one.
        """
        program = self.module.get_bin_path(self.module.params["program"])
        said = str(self.module.run_command([program, "--version"])[1]) if program else ""
        found = re.search(r"version (\d+)\.(\d+)", said)
        return found is None or (int(found[1]), int(found[2])) >= (1, 18)

    def _unit_path(self) -> str:
        settings = read(self.module.params["unit_settings"])
        named = re.findall(r"^\s*NVIDIA_CTK_CDI_OUTPUT_FILE_PATH=[\"']?([^\"'\s]+)", settings, re.MULTILINE)
        return str(named[-1] if named else self.module.params["unit_path"])

    def older_than(self, program: str) -> bool:
        """Whether the toolkit was installed after the specification was made."""
        try:
            return os.stat(self.path).st_mtime < os.stat(os.path.realpath(program)).st_ctime
        except OSError:
            return False

    def check_others(self) -> None:
        """Refuse files of others that describe the same devices."""
        folders = {os.path.dirname(self.path), os.path.dirname(self.other)}
        files = [path for folder in folders for end in ("yaml", "json") for path in glob.glob(f"{folder}/*.{end}")]
        found = foreign({path: read(path) for path in files}, [self.path, self.other])
        if found:
            raise StackError(FOREIGN, foreign=" and ".join(found), path=self.path)

    def make(self, program: str) -> None:
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        # Loads nvidia_uvm and makes the device files, which nothing else does on a host without a display.
        probe = self.module.get_bin_path("nvidia-modprobe")
        if probe and not os.path.exists("/dev/nvidia-uvm"):
            self.module.run_command([probe, "-c0", "-u"])
        if self.has_unit:
            self._make_by_unit()
        else:
            self._make_by_program(program)

    def _make_by_unit(self) -> None:
        before = status(self.path)
        if self._unit_property("NeedDaemonReload") == "yes":
            self._systemctl("daemon-reload")
        self._systemctl("reset-failed", self.unit)
        # A restart, since the service counts as active once it has run.
        rc, _out, err = self._systemctl("restart", self.unit)
        journal = self.module.get_bin_path("journalctl")
        words = ""
        if rc != 0 or status(self.path) == before:
            if journal:
                command = [journal, "--unit", self.unit, "--lines", "20", "--output", "cat", "--no-pager"]
                words = str(self.module.run_command(command)[1])
            if rc != 0:
                raise explained(words or err, f"The service {self.unit} failed")
            last = [line.strip() for line in words.splitlines() if "condition" in line.lower()][-1:]
            raise StackError(
                SKIPPED, unit=self.unit, path=self.path, words=(last or ["it says nothing"])[0].rstrip(".")
            )

    def _make_by_program(self, program: str) -> None:
        folder = os.path.dirname(self.path)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".cdi-") as stage:
            staged = os.path.join(stage, "nvidia.yaml")
            rc, out, err = self.module.run_command([program, "cdi", "generate", f"--output={staged}"])
            if rc != 0 or not os.path.exists(staged):
                raise explained(err or out, "The GPUs could not be described for containers")
            os.chmod(staged, 0o644)
            self.module.atomic_move(staged, self.path)

    def run(self) -> dict[str, Any]:
        params = self.module.params
        program = self.module.get_bin_path(params["program"])
        before = read(self.path)
        reasons = ["there is none"]
        if before:
            reasons = stale_reasons(
                parse(before),
                params["driver_version"],
                params["devices"],
                os.path.exists,
                program is not None and self.older_than(program),
                device_number,
            )
        set_aside = self.other if os.path.exists(self.other) else ""
        result: dict[str, Any] = {
            "changed": bool(reasons or set_aside),
            "path": self.path,
            "reasons": reasons,
            "set_aside": set_aside,
        }
        self.check_others()
        if self.module.check_mode:
            if reasons and self.module._diff:
                result["diff"] = {"prepared": "".join(f"{self.path}: {reason}\n" for reason in reasons)}
            if not reasons and program:
                result["devices"] = self.names(program)
            return result
        if program is None:
            raise StackError(MISSING, program=params["program"])
        if reasons:
            self.make(program)
        if set_aside:
            # Docker reads only files that end in .yaml and .json.
            os.replace(set_aside, f"{set_aside}.replaced")
        if reasons and self.module._diff:
            result["diff"] = {
                "before_header": self.path,
                "after_header": self.path,
                "before": before,
                "after": read(self.path),
            }
        result["devices"] = self.names(program)
        check_complete(self.path, result["devices"], params["devices"])
        return result

    def names(self, program: str) -> list[str]:
        rc, out, err = self.module.run_command([program, "cdi", "list"])
        if rc != 0:
            raise explained(err or out, "The CDI specifications cannot be read")
        return [name for name in listed(out) if name.startswith(f"{KIND}=")]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "driver_version": {"type": "str", "default": ""},
            "devices": {"type": "list", "elements": "str", "default": []},
            "program": {"type": "str", "default": "nvidia-ctk"},
            "unit": {"type": "str", "default": "nvidia-cdi-refresh.service"},
            "path": {"type": "path", "default": "/etc/cdi/nvidia.yaml"},
            "unit_path": {"type": "path", "default": "/var/run/cdi/nvidia.yaml"},
            "unit_settings": {"type": "path", "default": "/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env"},
        },
        supports_check_mode=True,
    )
    spec = CdiSpec(module)
    run_module(
        module,
        lambda _module: spec.run(),
        lambda path, reason: StackError(NOT_WRITTEN, path=path or spec.path, problem=reason),
    )


if __name__ == "__main__":
    main()
