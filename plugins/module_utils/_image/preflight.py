# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that can be known about a build before it begins.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._image import build_log, smoke_test
from ansible_collections.mistralrs.stack.plugins.module_utils._image.bases import Bases
from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_options import BuildOptions, Run
from ansible_collections.mistralrs.stack.plugins.module_utils._image.host_faults import DISK_FULL
from ansible_collections.mistralrs.stack.plugins.module_utils._image.network import Network, check_git, check_reach

NO_DOCKER = Fault(
    "image.docker_not_answering",
    "Docker on {host} does not answer: {why}.",
    "Run the role docker_engine first, or see 'journalctl -u docker' on the host.",
)
BUILDKIT_MISSING = Fault(
    "image.buildkit_missing",
    "Docker {version} on {host} has no buildx, without which it can't build with BuildKit.",
    "Install the package docker-buildx (Debian, Ubuntu) or docker-buildx-plugin (Docker's own repository).",
)
CROSS_BUILDING = Fault(
    "image.cross_building",
    "The image is for {platform}, but {host} is {own} and its buildx can't build for others ({known}).",
    "Build on a host of that architecture, or set up emulation (package qemu-user-static), which is many times slower.",
)
DOCKERFILE_INVALID = Fault(
    "image.dockerfile_invalid",
    "BuildKit on {host} does not accept the image's Dockerfile: {line}.",
    "If a variable of the role is not the reason, this is a defect of the collection; report it.",
)

_BUILDX_VERSION = re.compile(r"\bv?(\d+)\.(\d+)\.\d")
# The first buildx that has `docker build --check`.
_BUILDX_CHECKS = (0, 15)


def check(options: BuildOptions, run: Run, warn: Callable[[str], None]) -> dict[str, str]:
    """Check all that can be known before a build begins; its bases by digest.

    C(run) runs a program: C(run(argv) -> (status, output, errors)); C(warn) tells the operator. Raises StackError, for
    each thing that is wrong one with an id of its own.
    """
    version, own = _docker(options, run)
    # Since 23.0 the client builds with buildx, a program of its own.
    major = version.split(".")[0]
    status, buildx, _err = run(["docker", "buildx", "version"])
    if status != 0 and (not major.isdigit() or int(major) >= 23):
        raise StackError(BUILDKIT_MISSING, version=version, host=options.host)
    if options.platform and options.platform != own:
        _check_platform(options, run, own)
    _check_room(options, run)
    network = Network(options.environment, options.authorities)
    if options.git:
        check_git(
            network,
            options.git["url"],
            options.git.get("tag", ""),
            options.git.get("commit", ""),
            options.secrets.get("git-credentials", ""),
        )
    check_reach(network, options.host, options.reach)
    if options.proof_model:
        smoke_test.check_model(options.proof_model, options.host)
    resolver = Bases(options.images, run)
    bases = {name: resolver.resolve(base) for name, base in options.bases.items()}
    found = _BUILDX_VERSION.search(buildx)
    if found and (int(found.group(1)), int(found.group(2))) >= _BUILDX_CHECKS:
        _check_dockerfile(options, run, warn, bases)
    return bases


def _docker(options: BuildOptions, run: Run) -> tuple[str, str]:
    """The client's version and the server's platform."""
    template = "{{.Client.Version}} {{.Server.Os}}/{{.Server.Arch}}"
    status, out, err = run(["docker", "version", "--format", template])
    words = out.split()
    if status != 0 or len(words) != 2:
        lines = err.strip().splitlines() or ["it says nothing"]
        raise StackError(NO_DOCKER, host=options.host, why=lines[-1].rstrip("."))
    return words[0], words[1]


def _check_room(options: BuildOptions, run: Run) -> None:
    """That the file system of Docker's directory has the room that is asked for."""
    needed = options.minimum_free_mb
    if needed <= 0:
        return
    status, out, err = run(["docker", "info", "--format", "{{.DockerRootDir}}"])
    place = out.strip()
    if status != 0 or not place:
        why = (err.strip().splitlines() or ["it does not say where its images are"])[-1].rstrip(".")
        raise StackError(NO_DOCKER, host=options.host, why=why)
    about = os.statvfs(place)
    free = about.f_bavail * about.f_frsize >> 20
    if free < needed:
        raise StackError(DISK_FULL, needed=needed, place=place, host=options.host, free=free)


def _check_dockerfile(options: BuildOptions, run: Run, warn: Callable[[str], None], bases: Mapping[str, str]) -> None:
    """Have BuildKit look at the Dockerfile without building it. What it would do otherwise is only a warning."""
    _status, out, _err = run(
        [
            *("docker", "buildx", "--builder", "default", "build", "--call", "check,format=json"),
            *(("--platform", options.platform) if options.platform else ()),
            *[f"--build-arg={name}={base}" for name, base in bases.items()],
            "-",
        ],
        data=options.context.get("Dockerfile", ""),
    )
    try:
        report = json.loads(out)
    except ValueError:
        # A daemon whose BuildKit can't do that yet. The build says what is wrong.
        return
    message = str((report.get("buildError") or {}).get("message") or "")
    if message:
        error = build_log.diagnose([f"ERROR: {message}"], options.host, options.log, 1)
        if error.id != build_log.BUILD_FAILED.id:
            raise error
        raise StackError(DOCKERFILE_INVALID, host=options.host, line=" ".join(message.split()).rstrip("."))
    for warning in report.get("warnings") or []:
        lines = (warning.get("location") or {}).get("ranges") or [{}]
        number = (lines[0].get("start") or {}).get("line", "?")
        warn(
            f"BuildKit on {options.host} says of line {number} of the image's Dockerfile: "
            f"{warning.get('detail') or warning.get('description')} ({warning.get('ruleName')})."
        )


def _check_platform(options: BuildOptions, run: Run, own: str) -> None:
    """That buildx can build for the platform that is asked for; C(own) is the server's."""
    _status, out, _err = run(["docker", "buildx", "inspect", "default"])
    match = re.search(r"^Platforms:\s*(.*)$", out, re.MULTILINE)
    known = [one.strip().rstrip("*") for one in match.group(1).split(",")] if match else [own]
    if options.platform not in known:
        raise StackError(
            CROSS_BUILDING,
            platform=options.platform,
            host=options.host,
            own=own,
            known=", ".join(known),
        )
