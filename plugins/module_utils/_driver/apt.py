# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's apt and dpkg, asked only: what is installed, offered, and would be done.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import glob
import os
import shutil
import time
from collections.abc import Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt_output import (
    Simulation,
    SourceLine,
    complaint,
    parse_packages,
    parse_simulation,
    parse_sources,
    versions_by_package,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.packages import Package
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

PACKAGES_UNMET = Fault(
    "driver.packages_unmet",
    "apt can't make the changes for the driver: {problem}.",
    "Run 'apt-get --simulate {command}' on the host to see more; a hold or a pin of yours may be in the way.",
)
REPOSITORY_UNREACHABLE = Fault(
    "driver.repository_unreachable",
    "The package lists can't be fetched: {problem}.",
    "Check the host's package sources, its proxy, and whether the repository's key has been replaced (NO_PUBKEY).",
)

LISTS = "/var/lib/apt/lists"
RunCommand = Callable[..., tuple[int, str, str]]


class Apt:
    """The host's apt and dpkg. Nothing on the host is changed: what is written goes into C(temporary).

    C(run_command) is AnsibleModule's.
    """

    def __init__(self, run_command: RunCommand, temporary: str) -> None:
        self._run_command = run_command
        self._temporary = temporary
        # Asking takes no lock and waits for none. What apt has read it keeps for the next question, not on the host.
        self._settings = {"Debug::NoLocking": "true"}
        for cache in ("pkgcache", "srcpkgcache"):
            self._settings[f"Dir::Cache::{cache}"] = os.path.join(temporary, f"{cache}.bin")

    def _run(self, *command: str) -> tuple[int, str, str]:
        words = list(command)
        if command[0].startswith("apt"):
            words[1:1] = [word for name, value in self._settings.items() for word in ("-o", f"{name}={value}")]
        environment = {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        status, out, err = self._run_command(words, environ_update=environment)
        return int(status), str(out), str(err)

    def packages(self, leftovers: bool = False) -> dict[str, Package]:
        """The installed packages by name; with C(leftovers) also those that have left settings behind."""
        form = "${Package}\t${Version}\t${db:Status-Want}\t${db:Status-Status}\n"
        return parse_packages(self._run("dpkg-query", "--show", "--showformat", form)[1], leftovers)

    def versions(self, *packages: str) -> dict[str, list[str]]:
        """The versions of each package that the repositories have, the newest first."""
        return versions_by_package(self._run("apt-cache", "madison", *packages)[1]) if packages else {}

    def names(self, prefix: str) -> set[str]:
        """The packages that the repositories have, of those whose names begin so."""
        return set(self._run("apt-cache", "pkgnames", prefix)[1].split())

    def source_lines(self) -> list[SourceLine]:
        """The package sources of the host."""
        fields = ("REPO_URI", "RELEASE", "COMPONENT", "ORIGIN", "SIGNED_BY", "SOURCESENTRY")
        form = "\t".join(f"$({field})" for field in fields)
        return parse_sources(self._run("apt-get", "indextargets", "--format", form, "Created-By: Packages")[1])

    def use_files(self, sources_file: str, sources: str, preferences_file: str, preferences: str) -> None:
        """From here on apt sees these two files in their places, in a copy of the folders they belong to."""
        for name, file, text in (
            ("sourceparts", sources_file, sources),
            ("preferencesparts", preferences_file, preferences),
        ):
            copy = os.path.join(self._temporary, name)
            if not os.path.isdir(copy):
                original = os.path.dirname(file)
                if os.path.isdir(original):
                    shutil.copytree(original, copy)
                else:
                    os.makedirs(copy)
            path = os.path.join(copy, os.path.basename(file))
            if text:
                with open(path, "w", encoding="utf-8") as out:
                    out.write(text)
            elif os.path.exists(path):
                os.unlink(path)
            self._settings[f"Dir::Etc::{name}"] = copy

    def lists_are_fresh(self, age: int) -> bool:
        """Whether the host's package lists are younger than so many seconds."""
        stamps = [os.stat(path).st_mtime for path in (f"{LISTS}/partial", LISTS) if os.path.isdir(path)]
        return bool(glob.glob(f"{LISTS}/*Release")) and time.time() - max(stamps, default=0) < age

    def fetch_lists(self) -> None:
        """Package lists for the sources as they would be. Raises C(driver.repository_unreachable)."""
        lists = os.path.join(self._temporary, "lists")
        if not os.path.isdir(lists):
            if os.path.isdir(LISTS):
                shutil.copytree(LISTS, lists, ignore=shutil.ignore_patterns("lock", "partial", "*_Translation-*"))
            os.makedirs(os.path.join(lists, "partial"), exist_ok=True)
            self._settings["Dir::State::lists"] = lists
        options = ("-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "--quiet")
        status, out, err = self._run("apt-get", *options, "update")
        text = out + err
        if status != 0 or "W: Failed to fetch" in text or "NO_PUBKEY" in text:
            raise StackError(REPOSITORY_UNREACHABLE, problem=complaint(err or out))

    def simulate(self, arguments: list[str]) -> Simulation:
        """What C(apt-get) would do with these arguments. Raises C(driver.packages_unmet)."""
        status, out, err = self._run("apt-get", "--simulate", *arguments)
        if status != 0:
            raise StackError(PACKAGES_UNMET, problem=complaint(out + err), command=" ".join(arguments))
        return parse_simulation(out, self._run("apt-get", "--assume-no", *arguments)[1])
