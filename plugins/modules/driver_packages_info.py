#!/usr/bin/python
# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: driver_packages_info
short_description: Find out what apt would do to install NVIDIA's driver
version_added: 0.2.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Looks at the packages of the host, simulates the installation of a driver with the package sources and pins that it
    would get, and fails with one sentence if that would harm the host or could not work.
  - Nothing on the host is changed. Package lists that the host does not have yet are fetched into a temporary folder.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
    details: Nothing is ever changed.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  choice:
    description: The driver, as the filter P(mistralrs.stack.driver_choice#filter) returns it.
    type: dict
    required: true
  kernels:
    description:
      - The installed kernels, as the module M(mistralrs.stack.gpu_info) returns them.
      - Headers are asked for the running and the newest one.
    type: list
    elements: dict
    default: []
  kernel:
    description: The release of the running kernel.
    type: str
    default: ""
  force:
    description: Whether the running kernel does not count, as when an image is built.
    type: bool
    default: false
  state:
    description: V(absent) asks for what has to be removed instead.
    type: str
    choices: [present, absent]
    default: present
  codename:
    description: The suite of the distribution.
    type: str
    default: ""
  sources:
    description:
      - The text of the package source with the driver.
      - If it is empty the missing components of the distribution's archive are added to the host's own sources.
    type: str
    default: ""
  sources_file:
    description: Where this source will be.
    type: path
    required: true
  preferences_file:
    description: Where the pin will be.
    type: path
    required: true
  lists_age:
    description: For how many seconds package lists are taken as they are.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: See what installing the driver would do
  mistralrs.stack.driver_packages_info:
    choice: "{{ ansible_facts | mistralrs.stack.driver_choice(source='distribution') }}"
    codename: "{{ ansible_facts['distribution_release'] }}"
    sources_file: /etc/apt/sources.list.d/mistral-nvidia-driver.sources
    preferences_file: /etc/apt/preferences.d/mistral-nvidia-driver
    force: true
"""

RETURN = r"""
needed:
  description: Whether packages have to be installed, changed or removed.
  returned: success
  type: bool
version:
  description: The version of the driver, without the packages' revision; empty if there is none and none is wanted.
  returned: success
  type: str
  sample: 550.163.01
former:
  description: The version of the driver that is there; empty if there is none.
  returned: success
  type: str
former_packages:
  description: The packages of that driver, each as name=version.
  returned: success
  type: list
  elements: str
arguments:
  description: The arguments of C(apt-get) that were simulated; empty if nothing is to be done.
  returned: success
  type: list
  elements: str
new:
  description: The packages that would be installed, with their versions.
  returned: success
  type: dict
upgraded:
  description: The packages whose version would change, with their new versions.
  returned: success
  type: dict
removed:
  description: The packages that would be removed.
  returned: success
  type: list
  elements: str
download:
  description: The bytes that would be fetched.
  returned: success
  type: int
unheld:
  description: Installed packages of the driver that are not held.
  returned: success
  type: list
  elements: str
held:
  description: Installed packages of the driver that are held.
  returned: success
  type: list
  elements: str
sources:
  description: The text for O(sources_file); empty if the host has everything already.
  returned: success
  type: str
preferences:
  description: The text for O(preferences_file).
  returned: success
  type: str
notes:
  description: What the operator should know.
  returned: success
  type: list
  elements: str
error_id:
  description: Identifies what is wrong.
  returned: failure
  type: str
  sample: driver.version_unavailable
"""

import glob
import os
import shutil
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._driver import apt as plan
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu import host_state
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.pci import Tree
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module

LISTS = "/var/lib/apt/lists"
INSTALL = ["--no-install-recommends", "--allow-downgrades", "--allow-change-held-packages", "install"]
UNINSTALLERS = ("/usr/bin/nvidia-uninstall", "/usr/local/bin/nvidia-uninstall")
# What a build of the modules takes in /var/lib/dkms while it runs; measured with 535 and 550: 0.4 GB.
BUILD = 600 * 10**6
# Initial RAM disks of Debian and Ubuntu take 40 to 150 MB; where there is none yet, this much is asked for.
RAM_DISK = 100 * 10**6
# What stays free of each file system.
RESERVE = 100 * 10**6


class Host:
    """The host's package manager, asked only."""

    def __init__(self, module: AnsibleModule, temporary: str) -> None:
        self.module = module
        self.temporary = temporary
        # Asking takes no lock and waits for none. What apt has read it keeps for the next question, not on the host.
        self.settings = {"Debug::NoLocking": "true"}
        for cache in ("pkgcache", "srcpkgcache"):
            self.settings[f"Dir::Cache::{cache}"] = os.path.join(temporary, f"{cache}.bin")
        self.environment = {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}

    def run(self, *command: str) -> tuple[int, str, str]:
        words = list(command)
        if command[0].startswith("apt"):
            words[1:1] = [word for name, value in self.settings.items() for word in ("-o", f"{name}={value}")]
        status, out, err = self.module.run_command(words, environ_update=self.environment)
        return int(status), str(out), str(err)

    def packages(self, leftovers: bool = False) -> dict[str, plan.Package]:
        form = "${Package}\t${Version}\t${db:Status-Want}\t${db:Status-Status}\n"
        return plan.parse_packages(self.run("dpkg-query", "--show", "--showformat", form)[1], leftovers)

    def source_lines(self) -> list[plan.SourceLine]:
        fields = ("REPO_URI", "RELEASE", "COMPONENT", "ORIGIN", "SIGNED_BY", "SOURCESENTRY")
        form = "\t".join(f"$({field})" for field in fields)
        return plan.parse_sources(self.run("apt-get", "indextargets", "--format", form, "Created-By: Packages")[1])

    def with_files(self, sources_file: str, sources: str, preferences_file: str, preferences: str) -> None:
        """From here on apt sees these two files in their places, in a copy of the folders they belong to."""
        for name, file, text in (
            ("sourceparts", sources_file, sources),
            ("preferencesparts", preferences_file, preferences),
        ):
            folder = os.path.join(self.temporary, name)
            if not os.path.isdir(folder):
                place = os.path.dirname(file)
                if os.path.isdir(place):
                    shutil.copytree(place, folder)
                else:
                    os.makedirs(folder)
            path = os.path.join(folder, os.path.basename(file))
            if text:
                with open(path, "w", encoding="utf-8") as out:
                    out.write(text)
            elif os.path.exists(path):
                os.unlink(path)
            self.settings[f"Dir::Etc::{name}"] = folder

    def fetch_lists(self) -> None:
        """Package lists for the sources as they would be, in a temporary folder."""
        lists = os.path.join(self.temporary, "lists")
        if not os.path.isdir(lists):
            if os.path.isdir(LISTS):
                shutil.copytree(LISTS, lists, ignore=shutil.ignore_patterns("lock", "partial", "*_Translation-*"))
            os.makedirs(os.path.join(lists, "partial"), exist_ok=True)
            self.settings["Dir::State::lists"] = lists
        quiet = [
            "-o",
            "APT::Sandbox::User=root",
            "-o",
            "Acquire::Languages=none",
        ]
        status, out, err = self.run("apt-get", *quiet, "--quiet", "update")
        text = out + err
        if status != 0 or "W: Failed to fetch" in text or "NO_PUBKEY" in text:
            raise StackError(plan.REPOSITORY_UNREACHABLE, problem=plan.complaint(err or out))

    def simulate(self, arguments: list[str]) -> plan.Simulation:
        status, out, err = self.run("apt-get", "--simulate", *arguments)
        if status != 0:
            command = " ".join(arguments)
            raise StackError(plan.PACKAGES_UNMET, problem=plan.complaint(out + err), command=command)
        return plan.parse_simulation(out, self.run("apt-get", "--assume-no", *arguments)[1])


def text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def lists_are_fresh(age: int) -> bool:
    stamps = [os.stat(path).st_mtime for path in (f"{LISTS}/partial", LISTS) if os.path.isdir(path)]
    return bool(glob.glob(f"{LISTS}/*Release")) and time.time() - max(stamps, default=0) < age


def free(path: str) -> int:
    info = os.statvfs(path)
    return info.f_bavail * info.f_frsize


def check_space(simulation: plan.Simulation, arguments: list[str]) -> None:
    brings_kernel = any(name.startswith("linux-image-") for name in simulation.new)
    boot = None
    if os.path.ismount("/boot"):
        disks = [os.stat(path).st_size for path in glob.glob("/boot/initrd.img-*")]
        # A new one is written beside the old one, one kernel after the other.
        needed = max(disks, default=RAM_DISK) * 11 // 10 + (RAM_DISK if brings_kernel else 0)
        boot = (free("/boot"), needed)
    needs = {
        "/usr": simulation.disk,
        "/var/lib/dkms": BUILD if any("dkms" in argument for argument in arguments) else 0,
        "/var/cache/apt/archives": simulation.download,
    }
    # Folders of one file system share its free space.
    systems: dict[int, tuple[str, int, int]] = {}
    for folder, needed in needs.items():
        place = folder
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        device = os.stat(place).st_dev
        name, room, sum_ = systems.get(device, (folder, free(place), RESERVE))
        systems[device] = (name, room, sum_ + needed)
    plan.check_space(boot, list(systems.values()))


def headers_for(host: Host, params: dict[str, Any], known: set[str], packages: dict[str, plan.Package]) -> list[str]:
    """The packages with the headers of the running and the newest kernel that aren't there yet."""
    choice = params["choice"]
    installed = {kernel["release"]: kernel for kernel in params["kernels"]}
    wanted = [plan.newest(release for release in installed)] if installed else []
    if not params["force"] or params["kernel"] in installed:
        wanted.append(params["kernel"])
    found = []
    for release in dict.fromkeys(release for release in wanted if release):
        package = choice["headers"].format(release=release)
        if package in packages or package in found:
            continue
        if installed.get(release, {}).get("headers"):
            continue
        if package not in known:
            raise StackError(plan.HEADERS_UNAVAILABLE, release=release, package=package)
        found.append(package)
    return found


def missing_sources(host: Host, params: dict[str, Any]) -> str:
    """The source of the components that the host's own sources lack."""
    choice = params["choice"]
    distribution = choice["distribution"].split("-")[0]

    def text() -> str:
        wanted = (distribution, params["codename"], choice["components"], params["sources_file"])
        return plan.sources_text(host.source_lines(), *wanted)

    try:
        return text()
    except StackError:
        # apt tells only of sources whose lists it has, and a fresh host has none yet.
        host.fetch_lists()
        return text()


def present(host: Host, params: dict[str, Any]) -> dict[str, Any]:
    choice = params["choice"]
    packages = host.packages()
    tree = Tree("/")
    _registered, builds = host_state.dkms(tree)
    errors = {name: builds[0].error or "see " + builds[0].log for name in packages if builds and "dkms" in name}
    plan.check_state(packages, choice["source"], choice["foreign"], errors)
    for path in UNINSTALLERS:
        if os.path.exists(path):
            raise StackError(plan.RUNFILE_INSTALLED, path=path)

    sources = params["sources"] or missing_sources(host, params)
    kernel_package = choice["kernel_package"]
    there = packages.get(kernel_package)
    others = [packages[name] for name in choice["other_kernel_packages"] if name in packages]
    former = plan.upstream(there.version) if there else plan.upstream(others[0].version) if others else ""
    satisfied = there is not None and plan.matches(there.version, choice["version"], choice["branch"])
    version = there.version if there and satisfied else ""
    running = [kernel for kernel in params["kernels"] if kernel["running"]]
    newest = plan.newest(kernel["release"] for kernel in params["kernels"])
    headers_there = (
        all(kernel["headers"] for kernel in params["kernels"] if kernel["running"] or kernel["release"] == newest)
        and (params["force"] or bool(running))
        and bool(params["kernels"])
    )
    complete = satisfied and not others and all(name in packages for name in choice["packages"]) and headers_there

    result: dict[str, Any] = {"notes": [], "former": former, "arguments": [], "new": {}, "upgraded": {}, "removed": []}
    result["download"] = 0
    if not complete:
        version, simulation, arguments = simulated(host, params, packages, sources, version)
        result |= {
            "arguments": arguments,
            "new": simulation.new,
            "upgraded": simulation.upgraded,
            "removed": simulation.removed,
            "download": simulation.download,
        }
        kernels = sorted(name for name in simulation.new if name.startswith("linux-image-"))
        if kernels:
            result["notes"].append(f"the headers bring the kernel {', '.join(kernels)} with them")
    wanted = choice["version"] if "-" in choice["version"] else plan.upstream(version)
    mine = sorted(
        package.name
        for package in packages.values()
        if (package.is_driver and former and plan.upstream(package.version) == former)
        or package.name in choice["packages"]
    )
    result |= {
        "needed": bool(result["arguments"]),
        "version": plan.upstream(version),
        "former_packages": [f"{name}={packages[name].version}" for name in mine],
        "unheld": [name for name in mine if packages[name].want != "hold"],
        "held": [name for name in mine if packages[name].want == "hold"],
        "sources": sources,
        "preferences": plan.preferences_text(wanted),
    }
    return result


def simulated(
    host: Host, params: dict[str, Any], packages: dict[str, plan.Package], sources: str, version: str
) -> tuple[str, plan.Simulation, list[str]]:
    """The version that comes, what apt would do, and the arguments that make it do so."""
    choice = params["choice"]
    files = (params["sources_file"], sources, params["preferences_file"])
    host.with_files(*files, "")
    if text_of(params["sources_file"]) != sources or not lists_are_fresh(params["lists_age"]):
        host.fetch_lists()
    kernel_package = choice["kernel_package"]
    known = plan.versions_of(host.run("apt-cache", "madison", kernel_package)[1])
    if not version:
        version = plan.choose_version(kernel_package, known, choice["version"], choice["branch"])
    available = set(host.run("apt-cache", "pkgnames", "linux-headers-")[1].split())
    headers = headers_for(host, params, available, packages)
    kernels = [kernel["release"] for kernel in params["kernels"]]
    wanted = choice["version"] if "-" in choice["version"] else plan.upstream(version)
    host.with_files(*files, plan.preferences_text(wanted))

    # apt leaves held packages where they are unless they are named.
    held = sorted(name for name, package in packages.items() if package.is_driver and package.want == "hold")
    versions = plan.versions_by_package(host.run("apt-cache", "madison", *held)[1]) if held else {}
    moves = {name: one for name, found in versions.items() for one in reversed(found) if plan.matches(one, wanted, "")}
    moves[kernel_package] = version
    names = [f"{name}={moves[name]}" for name in moves]
    names += [name for name in choice["packages"] if name not in moves]
    tries = [[*INSTALL, *names, *headers]]
    meta = choice["headers_meta"]
    if meta not in packages:
        # It brings the headers of later kernels; where it would bring a kernel it is left out.
        with_meta = [*INSTALL, *names, *headers, meta]
        tries = [with_meta] if not kernels else [with_meta, *tries]
    for number, arguments in enumerate(tries):
        last = number == len(tries) - 1
        try:
            simulation = host.simulate(arguments)
            coming = {**simulation.new, **simulation.upgraded}
            keep = {*choice["packages"], *coming}
            old = plan.outdated(
                packages, [*choice["other_kernel_packages"], kernel_package], keep, plan.upstream(version)
            )
            if old:
                arguments = [*arguments, *(f"{name}-" for name in old)]
                simulation = host.simulate(arguments)
            plan.check_simulation(simulation, packages, kernels)
        except StackError:
            if last:
                raise
            continue
        check_space(simulation, arguments)
        done = not (simulation.new or simulation.upgraded or simulation.removed)
        return version, simulation, [] if done else arguments
    raise AssertionError("there is always a last try")


def absent(host: Host, params: dict[str, Any]) -> dict[str, Any]:
    packages = host.packages(leftovers=True)
    driver = sorted(name for name, package in packages.items() if package.is_driver)
    arguments = []
    simulation = plan.Simulation({}, {}, [], 0, 0)
    if driver:
        names = [*driver, *(name for name in plan.COMPANIONS if name in packages and name not in driver)]
        arguments = ["--allow-change-held-packages", "purge", *names]
        simulation = host.simulate(arguments)
        plan.check_simulation(simulation, packages, [])
    return {
        "notes": [],
        "needed": bool(driver),
        "version": "",
        "former": "",
        "former_packages": [f"{name}={packages[name].version}" for name in driver],
        "arguments": arguments,
        "new": {},
        "upgraded": {},
        "removed": simulation.removed,
        "download": 0,
        "unheld": [],
        "held": [name for name in driver if packages[name].want == "hold"],
        "sources": "",
        "preferences": "",
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    temporary = tempfile.mkdtemp(prefix="driver_packages_info.")
    try:
        host = Host(module, temporary)
        result = (present if module.params["state"] == "present" else absent)(host, module.params)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return {"changed": False, **result}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "choice": {"type": "dict", "required": True},
            "kernels": {"type": "list", "elements": "dict", "default": []},
            "kernel": {"type": "str", "default": ""},
            "force": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "codename": {"type": "str", "default": ""},
            "sources": {"type": "str", "default": ""},
            "sources_file": {"type": "path", "required": True},
            "preferences_file": {"type": "path", "required": True},
            "lists_age": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    run_module(module, run)


if __name__ == "__main__":
    main()
