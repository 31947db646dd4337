# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The build of one image as a unit of the host's systemd, which goes on without the controller.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

A build is known by the hash of its inputs. Its files are in C(<path>/builds/<first 16 digits>/): C(context/), the
script C(run) that the unit runs, C(log) and the logs of earlier attempts (C(log.1), ...), C(attempt.json) (when it
began), and when docker has ended C(status), its exit code, and C(image), the image's id. Secrets and proxies are in
C(/run/<unit>/), which systemd removes with the unit, also if that is killed.

What the unit leaves is only an image without a name. Whoever asks next proves the image and then names it: so an image
with the name is always a whole and proven one.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Callable, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.lock import FileLock
from ansible_collections.mistralrs.stack.plugins.module_utils._image import build_files, build_log
from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_options import (
    INPUTS_LABEL,
    BuildOptions,
    Run,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._image.prune import prune_logs
from ansible_collections.mistralrs.stack.plugins.module_utils._image.publish import publish

NOT_STARTED = Fault(
    "image.build_not_started",
    "systemd of {host} did not start the build: {why}.",
    "See 'journalctl -xe' on the host.",
)
CANCELLED = Fault(
    "image.build_cancelled",
    "The build of {reference} was cancelled.",
    "What was compiled is kept; run it again to go on.",
)
INTERRUPTED = Fault(
    "image.build_interrupted",
    "The build of {reference} on {host} was ended from outside.",
    "Run it again; what was compiled is kept. The whole log is {log}.",
)
FILES_UNWRITABLE = Fault(
    "image.build_files_unwritable",
    "The log and the records of the build can't be written to {folder} on {host}: {why}.",
    "Free some space there, or see to its permissions, and run it again; what was compiled is kept.",
)

# What one CUDA compiler takes, in bytes (upstream's release.yml: "flash-attn hdim512 kernels peak ~5GB each").
_MEMORY_A_JOB = 5 << 30
# What one Rust compiler takes. The engine's large crate takes more, but it comes after most others.
_MEMORY_A_CPU_JOB = 2 << 30
# With less, in bytes, a log does not go on.
_LEAST_FREE = 256 << 10


class State(NamedTuple):
    """How a build is: none, running, succeeded, failed or interrupted; how many seconds it took or takes so far."""

    name: str
    seconds: float = 0.0


def jobs_for(memory: int, cores: int, for_cuda: bool = True) -> int:
    """How many compilers may run at once on a builder with so many bytes of memory."""
    return max(1, min(cores, memory // (_MEMORY_A_JOB if for_cuda else _MEMORY_A_CPU_JOB)))


def job_count(options: BuildOptions, memory: int = 0, cores: int = 0) -> int:
    """How many compilers run at once: as the operator said, else what memory (bytes) and cores of this host allow."""
    if options.jobs > 0:
        return options.jobs
    memory = memory or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for_cuda = bool(options.labels.get("io.mistralrs.stack.cuda"))
    return jobs_for(memory, cores or len(os.sched_getaffinity(0)), for_cuda)


def _environment(options: BuildOptions, arguments: Mapping[str, str]) -> dict[str, str]:
    """The environment of the unit's program."""
    return {
        **{key: os.environ[key] for key in ("DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT") if key in os.environ},
        "HOME": os.path.expanduser("~"),
        "DOCKER_BUILDKIT": "1",
        # A builder in a container of its own would not see bases that were made here.
        "BUILDX_BUILDER": "default",
        **arguments,
        **options.environment,
    }


def _script(options: BuildOptions, runtime: str, arguments: Iterable[str], bases: Mapping[str, str]) -> str:
    """The unit's program. Values of arguments come from the environment: everybody can see a command line."""
    command = ["docker", "build", "--progress", "plain", "--iidfile", "image"]
    if options.platform:
        command += ["--platform", options.platform]
    for name in dict.fromkeys(arguments):
        command += ["--build-arg", name]
    labels = {**options.labels, INPUTS_LABEL: options.inputs}
    last = list(bases.values())[-1:]
    if last:
        labels["org.opencontainers.image.base.name"] = last[0]
    for name, value in sorted(labels.items()):
        command += ["--label", f"{name}={value}"]
    for name in sorted(options.secrets):
        command += ["--secret", f"id={name},src={runtime}/secret-{name}"]
    return (
        "#!/bin/sh\n"
        f"cd {shlex.quote(options.folder)} || exit 1\n"
        f"set -a\n. {shlex.quote(runtime)}/environment\nset +a\n"
        f"{shlex.join([*command, 'context'])} >log 2>&1\n"
        "echo $? >status.new\nmv status.new status\n"
    )


def _unit_command(unit: str, options: BuildOptions) -> list[str]:
    """Starts the unit, whose directory below /run systemd removes with it."""
    return [
        "systemd-run",
        f"--unit={unit}",
        f"--description=Build of {options.reference}",
        "--collect",
        "--quiet",
        f"--property=RuntimeDirectory={unit}",
        "--property=RuntimeDirectoryMode=0700",
        "--property=UMask=0077",
        os.path.join(options.folder, "run"),
    ]


def _rotate(log: str, keep: int = 5) -> None:
    """Keep the logs of earlier attempts."""
    for number in range(keep - 1, 0, -1):
        with suppress(FileNotFoundError):
            os.replace(f"{log}.{number}", f"{log}.{number + 1}")
    with suppress(FileNotFoundError):
        os.replace(log, f"{log}.1")


class Builder:
    """One build on this host.

    C(run) runs a program: C(run(argv) -> (status, output, errors)); C(warn) tells the operator.
    """

    def __init__(self, options: BuildOptions, run: Run, warn: Callable[[str], None], runtime: str = "/run") -> None:
        self.options = options
        self.run = run
        self.warn = warn
        self.unit = f"mistral-image-build-{options.id}"
        self.folder = options.folder
        self.runtime = os.path.join(runtime, self.unit)

    # What is there

    def present(self) -> dict[str, Any]:
        """The image of these inputs, as docker describes it; empty if there is none."""
        status, out, _err = self.run(["docker", "image", "inspect", self.options.reference])
        found: list[dict[str, Any]] = json.loads(out) if status == 0 and out.strip() else []
        labels = (found[0].get("Config") or {}).get("Labels") or {} if found else {}
        return found[0] if labels.get(INPUTS_LABEL) == self.options.inputs else {}

    def is_built(self) -> bool:
        """Whether the image that the last attempt left, which has no name yet, is still there."""
        image = self._read("image").strip()
        return bool(image) and self.run(["docker", "image", "inspect", "--format", "{{.Id}}", image])[0] == 0

    def _read(self, name: str) -> str:
        return build_files.read(os.path.join(self.folder, name))

    def _write(self, name: str, text: str, mode: int = 0o600) -> None:
        build_files.write(os.path.join(self.folder, name), text, mode)

    def lock(self) -> FileLock:
        """The lock under which a run starts or ends this build; the others wait for it."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        return FileLock(os.path.join(self.folder, "lock"), timeout=None)

    def _attempt(self) -> dict[str, Any]:
        try:
            found = json.loads(self._read("attempt.json") or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def state(self) -> State:
        """How the last attempt is."""
        attempt = self._attempt()
        if not attempt:
            return State("none")
        seconds = max(0.0, time.time() - float(attempt.get("began", 0)))
        # First the unit and then what it wrote: the other way round it may end in between.
        _status, out, _err = self.run(["systemctl", "is-active", f"{self.unit}.service"])
        is_active = out.strip() in ("active", "activating", "deactivating", "reloading")
        status = self._read("status").strip()
        if status:
            # Whoever looks may come hours later.
            ended = os.stat(os.path.join(self.folder, "status")).st_mtime
            seconds = max(0.0, ended - float(attempt.get("began", 0)))
            return State("succeeded" if status == "0" else "failed", seconds)
        return State("running" if is_active else "interrupted", seconds)

    def progress(self) -> dict[str, Any]:
        """What is shown while it runs."""
        now = build_log.progress(self._read("log").splitlines())
        return {"name": self.options.reference, "elapsed": round(self.state().seconds), **now.as_data()}

    # Start and stop

    def start(self, bases: Mapping[str, str]) -> None:
        """Start a new attempt; the caller has the lock."""
        options = self.options
        shutil.rmtree(os.path.join(self.folder, "context"), ignore_errors=True)
        build_files.remove(self.folder, "status", "image")
        _rotate(options.log)
        for name, text in options.context.items():
            self._write(os.path.join("context", name), text, mode=0o755 if text.startswith("#!") else 0o644)
        jobs = job_count(options)
        arguments = {**options.arguments, **bases, "JOBS": str(jobs), "THREADS": str(jobs)}
        os.makedirs(self.runtime, mode=0o700, exist_ok=True)
        lines = [f"{key}={shlex.quote(value)}\n" for key, value in _environment(options, arguments).items()]
        build_files.write(os.path.join(self.runtime, "environment"), "".join(lines))
        for name, text in options.secrets.items():
            build_files.write(os.path.join(self.runtime, f"secret-{name}"), text)
        self._write("run", _script(options, self.runtime, [*arguments, *options.environment], bases), mode=0o700)
        attempt = {"began": time.time(), "reference": options.reference, "jobs": jobs, "bases": dict(bases)}
        self._write("attempt.json", json.dumps(attempt))
        self._start_unit()

    def _start_unit(self) -> None:
        # A unit that failed or was killed is forgotten, or its name would be taken.
        self.run(["systemctl", "reset-failed", f"{self.unit}.service"])
        status, _out, err = self.run(_unit_command(self.unit, self.options))
        if status != 0:
            shutil.rmtree(self.runtime, ignore_errors=True)
            build_files.remove(self.folder, "attempt.json")
            why = (err.strip().splitlines() or ["it says nothing"])[-1].rstrip(".")
            raise StackError(NOT_STARTED, host=self.options.host, why=why)

    def cancel(self) -> bool:
        """Stop the unit; whether there was one."""
        if self.state().name != "running":
            return False
        self.run(["systemctl", "stop", f"{self.unit}.service"])
        build_files.remove(self.folder, "attempt.json")
        return True

    # How it ended

    def failure(self, state: State) -> StackError:
        """Why the last attempt did not succeed."""
        options = self.options
        if state.name == "interrupted":
            # Then neither the log's end nor docker's exit code could be written.
            about = os.statvfs(self.folder)
            if about.f_bavail * about.f_frsize < _LEAST_FREE:
                return self.unwritable("No space left on device")
            return StackError(INTERRUPTED, reference=options.reference, host=options.host, log=options.log)
        jobs = int(self._attempt().get("jobs", 1))
        return build_log.diagnose(self._read("log").splitlines(), options.host, options.log, jobs)

    def unwritable(self, why: str) -> StackError:
        """That the build's own files can't be written."""
        return StackError(FILES_UNWRITABLE, folder=self.options.path, host=self.options.host, why=why.rstrip("."))

    def tail(self, count: int = 20) -> list[str]:
        """The last lines of the build's commands."""
        return build_log.tail(self._read("log").splitlines(), count)

    def finish(self, seconds: float) -> dict[str, Any]:
        """Verify and name the image that was built, and remove what only the attempt needed; the caller has the lock.

        Returns the image's record.
        """
        image, bases = self._read("image").strip(), self._attempt().get("bases", {})
        record = publish(self.options, self.run, self.warn, image, bases, seconds)
        shutil.rmtree(os.path.join(self.folder, "context"), ignore_errors=True)
        build_files.remove(self.folder, "attempt.json", "status", "image", "run", "proof.toml")
        prune_logs(self.folder)
        return record
