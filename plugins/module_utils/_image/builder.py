# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The build of one image as a unit of the host's systemd, which goes on without the controller.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

A build is known by the hash of its inputs. Its files are in C(<path>/builds/<first 16 digits>/): those of every job,
C(context/), the logs of earlier attempts (C(log.1), ...), and when docker has ended C(image), the image's id. Secrets
and proxies are in C(/run/<unit>/), which systemd removes with the unit, also if that is killed.

What the unit leaves is only an image without a name. Whoever asks next proves the image and then names it: so an image
with the name is always a whole and proven one.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files import text_files
from ansible_collections.mistralrs.stack.plugins.module_utils._image import build_log
from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_options import (
    INPUTS_LABEL,
    BuildOptions,
    Run,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._image.prune import prune_logs
from ansible_collections.mistralrs.stack.plugins.module_utils._image.publish import publish
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job import Job, State
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.launch import STOP_SECONDS, NotStarted, Unit

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
    "The build of {reference} on {host} was killed from outside.",
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


def _program(options: BuildOptions, private: str, arguments: Iterable[str], bases: Mapping[str, str]) -> str:
    """What the unit runs. Values of arguments come from the environment: everybody can see a command line."""
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
        command += ["--secret", f"id={name},src={private}/secret-{name}"]
    return f"set -a\n. {shlex.quote(private)}/environment\nset +a\n{shlex.join([*command, 'context'])}"


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
        unit = f"mistral-image-build-{options.id}"
        self.job = Job(options.folder, Unit(unit, f"Build of {options.reference}", run, runtime))

    # What is there

    def present(self) -> dict[str, Any]:
        """The image of these inputs, as docker describes it; empty if there is none."""
        status, out, _err = self.run(["docker", "image", "inspect", self.options.reference])
        found: list[dict[str, Any]] = json.loads(out) if status == 0 and out.strip() else []
        labels = (found[0].get("Config") or {}).get("Labels") or {} if found else {}
        return found[0] if labels.get(INPUTS_LABEL) == self.options.inputs else {}

    def is_built(self) -> bool:
        """Whether the image that the last attempt left, which has no name yet, is still there."""
        image = self.job.read("image").strip()
        return bool(image) and self.run(["docker", "image", "inspect", "--format", "{{.Id}}", image])[0] == 0

    def progress(self) -> dict[str, Any]:
        """What is shown while it runs."""
        now = build_log.progress(self.job.read("log").splitlines())
        return {"name": self.options.reference, "elapsed": round(self.job.state().seconds), **now.as_data()}

    # Start and stop

    def start(self, bases: Mapping[str, str]) -> None:
        """Start a new attempt; the caller has the lock."""
        options = self.options
        context = self.job.path("context")
        shutil.rmtree(context, ignore_errors=True)
        self.job.remove("image")
        _rotate(options.log)
        for name, text in options.context.items():
            text_files.write(os.path.join(context, name), text, mode=0o755 if text.startswith("#!") else 0o644)
        jobs = job_count(options)
        arguments = {**options.arguments, **bases, "JOBS": str(jobs), "THREADS": str(jobs)}
        lines = [f"{key}={shlex.quote(value)}\n" for key, value in _environment(options, arguments).items()]
        secrets = {f"secret-{name}": text.encode() for name, text in options.secrets.items()}
        private = {"environment": "".join(lines).encode(), **secrets}
        program = _program(options, self.job.launcher.private, [*arguments, *options.environment], bases)
        try:
            self.job.start(program, private, reference=options.reference, jobs=jobs, bases=dict(bases))
        except NotStarted as error:
            raise StackError(NOT_STARTED, host=options.host, why=error) from None

    def cancel(self) -> bool:
        """Stop the unit; whether there was one."""
        if self.job.state().name != "running":
            return False
        self.job.launcher.stop(STOP_SECONDS)
        self.job.remove("attempt.json")
        return True

    # How it ended

    def failure(self, state: State) -> StackError:
        """Why the last attempt did not succeed."""
        options = self.options
        if state.name == "interrupted":
            # Then neither the log's end nor docker's exit code could be written.
            about = os.statvfs(self.job.folder)
            if about.f_bavail * about.f_frsize < _LEAST_FREE:
                return self.unwritable("No space left on device")
            return StackError(INTERRUPTED, reference=options.reference, host=options.host, log=options.log)
        jobs = int(self.job.attempt().get("jobs", 1))
        return build_log.diagnose(self.job.read("log").splitlines(), options.host, options.log, jobs)

    def unwritable(self, why: str) -> StackError:
        """That the build's own files can't be written."""
        return StackError(FILES_UNWRITABLE, folder=self.options.path, host=self.options.host, why=why.rstrip("."))

    def tail(self, count: int = 20) -> list[str]:
        """The last lines of the build's commands."""
        return build_log.tail(self.job.read("log").splitlines(), count)

    def finish(self, seconds: float) -> dict[str, Any]:
        """Verify and name the image that was built, and remove what only the attempt needed; the caller has the lock.

        Returns the image's record.
        """
        image, bases = self.job.read("image").strip(), self.job.attempt().get("bases", {})
        record = publish(self.options, self.run, self.warn, image, bases, seconds)
        shutil.rmtree(self.job.path("context"), ignore_errors=True)
        self.job.remove("attempt.json", "status", "image", "run", "proof.toml")
        prune_logs(self.job.folder)
        return record
