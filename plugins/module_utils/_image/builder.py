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
import re
import shlex
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Callable, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.atomic import write_atomically
from ansible_collections.mistralrs.stack.plugins.module_utils._files.lock import FileLock
from ansible_collections.mistralrs.stack.plugins.module_utils._image import build_log, sbom, smoke_test
from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_log import BASE_UNREACHABLE
from ansible_collections.mistralrs.stack.plugins.module_utils._image.preflight import Network, check_git, check_reach
from ansible_collections.mistralrs.stack.plugins.module_utils._image.verification import Subject, Verification

NO_DOCKER = Fault(
    "image.docker_not_answering",
    "Docker on {host} does not answer: {why}.",
    "Run the role docker_engine first, or see 'journalctl -u docker' on the host.",
)
DISK_FULL = Fault(
    "image.disk_full",
    "The engine image needs {needed} MB on {place} of {host}, and {free} MB are free.",
    "Free some space or move Docker's data-root to a bigger disk.",
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
CONTENTS_UNREADABLE = Fault(
    "image.contents_unreadable",
    "The packages of the image that was built can't be listed on {host}: {why}.",
    "Use a mistral_image_runtime_base that has a shell and dpkg or rpm.",
)
SCAN_FAILED = Fault(
    "image.scan_failed",
    "The scanner {scanner} on {host} did not scan the image: {why}.",
    "Run '{command}' there, or set mistral_image_scan_fail_on to '' to do without the scan.",
)
VULNERABLE = Fault(
    "image.vulnerable",
    "The scanner {scanner} found vulnerabilities of severity {severity} or above in the image: {line}.",
    "The report is {report} on {host}; update the bases, or raise mistral_image_scan_fail_on.",
)

Run = Callable[..., "tuple[int, str, str]"]
INPUTS_LABEL = "io.mistralrs.stack.inputs"
_REPOSITORY = "mistralrs-stack/engine"
# What one CUDA compiler takes, in bytes (upstream's release.yml: "flash-attn hdim512 kernels peak ~5GB each").
_MEMORY_A_JOB = 5 << 30
# What one Rust compiler takes. The engine's large crate takes more, but it comes after most others.
_MEMORY_A_CPU_JOB = 2 << 30
_BUILDX_VERSION = re.compile(r"\bv?(\d+)\.(\d+)\.\d")
# With less, in bytes, a log does not go on.
_LEAST_FREE = 256 << 10
# The first buildx that has `docker build --check`.
_BUILDX_CHECKS = (0, 15)
_SEVERITIES = ("low", "medium", "high", "critical")
# Says what an image consists of; it has either dpkg or rpm.
_INVENTORY = r"""
. /etc/os-release 2>/dev/null; echo "$ID"
dpkg-query --show --showformat 'deb\t${Package}\t${Version}\t${Architecture}\n' 2>/dev/null ||
rpm --query --all --queryformat 'rpm\t%{NAME}\t%{VERSION}-%{RELEASE}\t%{ARCH}\n' 2>/dev/null
echo '# Cargo.lock'
cat /usr/share/mistralrs/Cargo.lock 2>/dev/null || true
"""


class Wanted(NamedTuple):
    """What is to be built, and how; the module image_build documents each."""

    reference: str
    inputs: str
    context: Mapping[str, str]
    labels: Mapping[str, str]
    bases: Mapping[str, str]
    arguments: Mapping[str, str]
    secrets: Mapping[str, str]
    environment: Mapping[str, str]
    git: Mapping[str, str]
    reach: Mapping[str, str]
    authorities: str
    platform: str
    jobs: int
    program: str
    version: str
    gpu: bool
    gpu_access: str
    proof_model: str
    scan_fail_on: str
    keep: int
    minimum_free_mb: int
    path: str
    host: str


class State(NamedTuple):
    """How a build is: none, running, succeeded, failed or interrupted; how many seconds it took or takes so far."""

    name: str
    seconds: float = 0.0


def jobs_for(memory: int, cores: int, for_cuda: bool = True) -> int:
    """How many compilers may run at once on a builder with so many bytes of memory."""
    return max(1, min(cores, memory // (_MEMORY_A_JOB if for_cuda else _MEMORY_A_CPU_JOB)))


class Builder:
    """One build on this host. C(run) runs a program: C(run(argv) -> (status, output, errors))."""

    def __init__(self, wanted: Wanted, run: Run, runtime: str = "/run") -> None:
        self.wanted = wanted
        self.run = run
        self.id = wanted.inputs[:16]
        self.unit = f"mistral-image-build-{self.id}"
        self.folder = os.path.join(wanted.path, "builds", self.id)
        self.images = os.path.join(wanted.path, "images")
        self.log = os.path.join(self.folder, "log")
        self.runtime = os.path.join(runtime, self.unit)
        # What there is to say besides, for those who read the play's output.
        self.warnings: list[str] = []

    # What is there

    def present(self) -> dict[str, Any]:
        """The image of these inputs, as docker describes it; empty if there is none."""
        status, out, _err = self.run(["docker", "image", "inspect", self.wanted.reference])
        found: list[dict[str, Any]] = json.loads(out) if status == 0 and out.strip() else []
        labels = (found[0].get("Config") or {}).get("Labels") or {} if found else {}
        return found[0] if labels.get(INPUTS_LABEL) == self.wanted.inputs else {}

    def is_built(self) -> bool:
        """Whether the image that the last attempt left, which has no name yet, is still there."""
        image = self._read("image").strip()
        return bool(image) and self.run(["docker", "image", "inspect", "--format", "{{.Id}}", image])[0] == 0

    def _read(self, name: str) -> str:
        try:
            with open(os.path.join(self.folder, name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def _write(self, name: str, text: str, folder: str = "", mode: int = 0o600) -> None:
        path = os.path.join(folder or self.folder, name)
        os.makedirs(os.path.dirname(path), mode=0o700 if mode & 0o077 == 0 else 0o755, exist_ok=True)
        write_atomically(path, text.encode(), mode)

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
        return {"name": self.wanted.reference, "elapsed": round(self.state().seconds), **now.as_data()}

    # Before it starts

    def _docker(self) -> tuple[str, str]:
        """The client's version and the server's platform."""
        template = "{{.Client.Version}} {{.Server.Os}}/{{.Server.Arch}}"
        status, out, err = self.run(["docker", "version", "--format", template])
        words = out.split()
        if status != 0 or len(words) != 2:
            lines = err.strip().splitlines() or ["it says nothing"]
            raise StackError(NO_DOCKER, host=self.wanted.host, why=lines[-1].rstrip("."))
        return words[0], words[1]

    def check(self) -> dict[str, str]:
        """Everything that can be known before a build begins; the bases by digest.

        Raises StackError, for each thing that is wrong one with an id of its own.
        """
        wanted = self.wanted
        version, own = self._docker()
        # Since 23.0 the client builds with buildx, a program of its own.
        major = version.split(".")[0]
        status, buildx, _err = self.run(["docker", "buildx", "version"])
        if status != 0 and (not major.isdigit() or int(major) >= 23):
            raise StackError(BUILDKIT_MISSING, version=version, host=wanted.host)
        if wanted.platform and wanted.platform != own:
            self._check_platform(own)
        self._check_room()
        network = Network(wanted.environment, wanted.authorities)
        if wanted.git:
            check_git(
                network,
                wanted.git["url"],
                wanted.git.get("tag", ""),
                wanted.git.get("commit", ""),
                wanted.secrets.get("git-credentials", ""),
            )
        check_reach(network, wanted.host, wanted.reach)
        if wanted.proof_model:
            smoke_test.check_model(wanted.proof_model, wanted.host)
        bases = {name: self._resolve(base) for name, base in wanted.bases.items()}
        found = _BUILDX_VERSION.search(buildx)
        if found and (int(found.group(1)), int(found.group(2))) >= _BUILDX_CHECKS:
            self._check_dockerfile(bases)
        return bases

    def _check_room(self) -> None:
        """That the file system of Docker's directory has the room that is asked for."""
        needed = self.wanted.minimum_free_mb
        if needed <= 0:
            return
        status, out, err = self.run(["docker", "info", "--format", "{{.DockerRootDir}}"])
        place = out.strip()
        if status != 0 or not place:
            why = (err.strip().splitlines() or ["it does not say where its images are"])[-1].rstrip(".")
            raise StackError(NO_DOCKER, host=self.wanted.host, why=why)
        about = os.statvfs(place)
        free = about.f_bavail * about.f_frsize >> 20
        if free < needed:
            raise StackError(DISK_FULL, needed=needed, place=place, host=self.wanted.host, free=free)

    def _check_dockerfile(self, bases: Mapping[str, str]) -> None:
        """Have BuildKit look at the Dockerfile without building it. What it would do otherwise is only a warning."""
        wanted = self.wanted
        _status, out, _err = self.run(
            [
                *("docker", "buildx", "--builder", "default", "build", "--call", "check,format=json"),
                *(("--platform", wanted.platform) if wanted.platform else ()),
                *[f"--build-arg={name}={base}" for name, base in bases.items()],
                "-",
            ],
            data=wanted.context.get("Dockerfile", ""),
        )
        try:
            report = json.loads(out)
        except ValueError:
            # A daemon whose BuildKit can't do that yet. The build says what is wrong.
            return
        message = str((report.get("buildError") or {}).get("message") or "")
        if message:
            error = build_log.diagnose([f"ERROR: {message}"], wanted.host, self.log, 1)
            if error.id != build_log.BUILD_FAILED.id:
                raise error
            raise StackError(DOCKERFILE_INVALID, host=wanted.host, line=" ".join(message.split()).rstrip("."))
        for warning in report.get("warnings") or []:
            lines = (warning.get("location") or {}).get("ranges") or [{}]
            number = (lines[0].get("start") or {}).get("line", "?")
            self.warnings.append(
                f"BuildKit on {wanted.host} says of line {number} of the image's Dockerfile: "
                f"{warning.get('detail') or warning.get('description')} ({warning.get('ruleName')})."
            )

    def _check_platform(self, own: str) -> None:
        _status, out, _err = self.run(["docker", "buildx", "inspect", "default"])
        match = re.search(r"^Platforms:\s*(.*)$", out, re.MULTILINE)
        known = [one.strip().rstrip("*") for one in match.group(1).split(",")] if match else [own]
        if self.wanted.platform not in known:
            raise StackError(
                CROSS_BUILDING,
                platform=self.wanted.platform,
                host=self.wanted.host,
                own=own,
                known=", ".join(known),
            )

    def _resolve(self, base: str) -> str:
        """The base by digest: the one that was recorded, else the one that the registry names now."""
        if "@sha256:" in base:
            return base
        records = self._records()
        if base in records:
            return str(records[base]["reference"])
        name = base.rpartition(":")[0] if ":" in base.rpartition("/")[2] else base
        status, out, _err = self.run(["docker", "image", "inspect", base])
        if status == 0:
            found = json.loads(out)[0]
            digests = found.get("RepoDigests") or []
            # One that was made here has no digest of a registry, and is taken as it is.
            resolved, digest = (str(digests[0]), str(digests[0])) if digests else (base, str(found.get("Id")))
        else:
            template = "{{json .Manifest}}"
            status, out, err = self.run(["docker", "buildx", "imagetools", "inspect", "--format", template, base])
            digest = str(json.loads(out).get("digest", "")) if status == 0 and out.startswith("{") else ""
            if not digest:
                digest, err = self._pulled(base)
            if not digest:
                words = err.strip().splitlines() or ["no answer"]
                raise StackError(BASE_UNREACHABLE, line=f"{base}: {words[-1].removeprefix('ERROR: ').rstrip('.')}")
            resolved = f"{name}@{digest}"
        if resolved != base:
            records[base] = {"reference": resolved, "digest": digest, "resolved": _now()}
            self._write("bases.json", json.dumps(records, indent=2) + "\n", self.images, 0o644)
        return resolved

    def _pulled(self, base: str) -> tuple[str, str]:
        """The digest of a base that is fetched, where there is no buildx to ask; and what docker said."""
        status, _out, err = self.run(["docker", "pull", "--quiet", base])
        if status != 0:
            return "", err
        _status, out, err = self.run(["docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", base])
        return out.strip().rpartition("@")[2], err

    def _records(self) -> dict[str, Any]:
        try:
            with open(os.path.join(self.images, "bases.json"), encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    # Start and stop

    def jobs(self) -> int:
        """How many compilers run at once."""
        if self.wanted.jobs > 0:
            return self.wanted.jobs
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        for_cuda = bool(self.wanted.labels.get("io.mistralrs.stack.cuda"))
        return jobs_for(memory, len(os.sched_getaffinity(0)), for_cuda)

    def start(self, bases: Mapping[str, str]) -> None:
        """Start a new attempt; the caller has the lock."""
        wanted = self.wanted
        shutil.rmtree(os.path.join(self.folder, "context"), ignore_errors=True)
        for name in ("status", "image"):
            with suppress(FileNotFoundError):
                os.remove(os.path.join(self.folder, name))
        self._rotate()
        for name, text in wanted.context.items():
            self._write(os.path.join("context", name), text, mode=0o755 if text.startswith("#!") else 0o644)
        jobs = str(self.jobs())
        arguments = {**wanted.arguments, **bases, "JOBS": jobs, "THREADS": jobs}
        environment = {
            **{key: os.environ[key] for key in ("DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT") if key in os.environ},
            "HOME": os.path.expanduser("~"),
            "DOCKER_BUILDKIT": "1",
            # A builder in a container of its own would not see bases that were made here.
            "BUILDX_BUILDER": "default",
            **arguments,
            **wanted.environment,
        }
        os.makedirs(self.runtime, mode=0o700, exist_ok=True)
        lines = "".join(f"{key}={shlex.quote(value)}\n" for key, value in environment.items())
        self._write("environment", lines, self.runtime)
        for name, text in wanted.secrets.items():
            self._write(f"secret-{name}", text, self.runtime)
        self._write("run", self._script([*arguments, *wanted.environment], bases), mode=0o700)
        self._write(
            "attempt.json",
            json.dumps({"began": time.time(), "reference": wanted.reference, "jobs": int(jobs), "bases": dict(bases)}),
        )
        # A unit that failed or was killed is forgotten, or its name would be taken.
        self.run(["systemctl", "reset-failed", f"{self.unit}.service"])
        status, _out, err = self.run(
            [
                "systemd-run",
                f"--unit={self.unit}",
                f"--description=Build of {wanted.reference}",
                "--collect",
                "--quiet",
                f"--property=RuntimeDirectory={self.unit}",
                "--property=RuntimeDirectoryMode=0700",
                "--property=UMask=0077",
                os.path.join(self.folder, "run"),
            ]
        )
        if status != 0:
            shutil.rmtree(self.runtime, ignore_errors=True)
            with suppress(FileNotFoundError):
                os.remove(os.path.join(self.folder, "attempt.json"))
            why = (err.strip().splitlines() or ["it says nothing"])[-1].rstrip(".")
            raise StackError(NOT_STARTED, host=wanted.host, why=why)

    def _script(self, arguments: list[str], bases: Mapping[str, str]) -> str:
        """The unit's program. Values of arguments come from the environment: everybody can see a command line."""
        wanted = self.wanted
        command = ["docker", "build", "--progress", "plain", "--iidfile", "image"]
        if wanted.platform:
            command += ["--platform", wanted.platform]
        for name in dict.fromkeys(arguments):
            command += ["--build-arg", name]
        labels = {**wanted.labels, INPUTS_LABEL: wanted.inputs}
        last = list(bases.values())[-1:]
        if last:
            labels["org.opencontainers.image.base.name"] = last[0]
        for name, value in sorted(labels.items()):
            command += ["--label", f"{name}={value}"]
        for name in sorted(wanted.secrets):
            command += ["--secret", f"id={name},src={self.runtime}/secret-{name}"]
        return (
            "#!/bin/sh\n"
            f"cd {shlex.quote(self.folder)} || exit 1\n"
            f"set -a\n. {shlex.quote(self.runtime)}/environment\nset +a\n"
            f"{shlex.join([*command, 'context'])} >log 2>&1\n"
            "echo $? >status.new\nmv status.new status\n"
        )

    def _rotate(self, keep: int = 5) -> None:
        """Keep the logs of earlier attempts."""
        for number in range(keep - 1, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(f"{self.log}.{number}", f"{self.log}.{number + 1}")
        with suppress(FileNotFoundError):
            os.replace(self.log, f"{self.log}.1")

    def cancel(self) -> bool:
        """Stop the unit; whether there was one."""
        if self.state().name != "running":
            return False
        self.run(["systemctl", "stop", f"{self.unit}.service"])
        with suppress(FileNotFoundError):
            os.remove(os.path.join(self.folder, "attempt.json"))
        return True

    # How it ended

    def failure(self, state: State) -> StackError:
        """Why the last attempt did not succeed."""
        if state.name == "interrupted":
            # Then neither the log's end nor docker's exit code could be written.
            about = os.statvfs(self.folder)
            if about.f_bavail * about.f_frsize < _LEAST_FREE:
                return self.unwritable("No space left on device")
            return StackError(INTERRUPTED, reference=self.wanted.reference, host=self.wanted.host, log=self.log)
        jobs = int(self._attempt().get("jobs", 1))
        return build_log.diagnose(self._read("log").splitlines(), self.wanted.host, self.log, jobs)

    def unwritable(self, why: str) -> StackError:
        """That the build's own files can't be written."""
        return StackError(FILES_UNWRITABLE, folder=self.wanted.path, host=self.wanted.host, why=why.rstrip("."))

    def tail(self, count: int = 20) -> list[str]:
        """The last lines of the build's commands."""
        return build_log.tail(self._read("log").splitlines(), count)

    def finish(self, seconds: float) -> dict[str, Any]:
        """Prove the image that was built, write what is in it, name it; the caller has the lock.

        Returns what C(docker image inspect) says and the proof.
        """
        wanted = self.wanted
        image = self._read("image").strip()
        verification = Verification(self._subject(image), self.run)
        proof = verification.proof()
        self.warnings += verification.warnings
        bill, scan = self._inventory(verification)
        status, _out, err = self.run(["docker", "tag", image, wanted.reference])
        if status != 0:
            raise StackError(NO_DOCKER, host=wanted.host, why=err.strip().rstrip("."))
        record = {
            "reference": wanted.reference,
            "id": image,
            "inputs": wanted.inputs,
            "bases": self._attempt().get("bases", {}),
            "labels": dict(wanted.labels),
            "built": _now(),
            "seconds": round(seconds),
            "proof": proof,
            "scan": scan,
            "sbom": bill,
        }
        self._write(f"{self.id}.json", json.dumps(record, indent=2) + "\n", self.images, 0o644)
        shutil.rmtree(os.path.join(self.folder, "context"), ignore_errors=True)
        for name in ("attempt.json", "status", "image", "run", "proof.toml"):
            with suppress(FileNotFoundError):
                os.remove(os.path.join(self.folder, name))
        self._prune_logs()
        return record

    def _subject(self, image: str) -> Subject:
        """What is verified."""
        wanted = self.wanted
        return Subject(
            image=image,
            labels=wanted.labels,
            platform=wanted.platform,
            program=wanted.program,
            version=wanted.version,
            gpu=wanted.gpu,
            gpu_access=wanted.gpu_access,
            proof_model=wanted.proof_model,
            host=wanted.host,
            log=self.log,
            folder=self.folder,
            name=f"mistral-image-proof-{self.id}",
        )

    def _inventory(self, verification: Verification) -> tuple[str, dict[str, Any]]:
        """Write the image's bill of materials; its path, and what a scanner says of it, if there is one."""
        status, out, err = verification.container("/bin/sh", "-c", _INVENTORY)
        packages, mark, lock = out.partition("# Cargo.lock\n")
        distribution, _newline, rows = packages.partition("\n")
        if status != 0 or not mark or not rows.strip():
            why = (err.strip().splitlines() or ["neither dpkg nor rpm lists a package"])[-1].rstrip(".")
            self._unchecked(StackError(CONTENTS_UNREADABLE, why=why, host=self.wanted.host))
        image = verification.subject.image
        version = verification.subject.label("engine_version")
        document = sbom.sbom(self.wanted.reference, image, version, lock, packages, distribution.strip())
        name = f"{self.id}.cdx.json"
        self._write(name, json.dumps(document, indent=1) + "\n", self.images, 0o644)
        path = os.path.join(self.images, name)
        return path, self._scan(path)

    def _unchecked(self, error: StackError) -> None:
        """That vulnerabilities can't be looked for: an error where some are refused, else a warning."""
        if self.wanted.scan_fail_on:
            raise error
        self.warnings.append(f"{error.sentence} {error.remedy}")

    def _scan(self, bill: str) -> dict[str, Any]:
        """What trivy or grype says of the bill of materials; empty if neither is installed."""
        report = bill.replace(".cdx.json", ".scan.json")
        commands = {
            "trivy": ["trivy", "sbom", "--quiet", "--format", "json", "--output", report, bill],
            "grype": ["grype", f"sbom:{bill}", "--quiet", "--output", f"json={report}"],
        }
        scanner = next((name for name in commands if shutil.which(name)), "")
        limit = self.wanted.scan_fail_on
        if not scanner:
            if limit:
                self.warnings.append(
                    f"The image was not scanned for vulnerabilities of severity {limit} or above: neither trivy nor "
                    f"grype is installed on {self.wanted.host}."
                )
            return {}
        status, _out, err = self.run(commands[scanner])
        why = "" if status == 0 else (err.strip().splitlines() or ["it says nothing"])[-1].rstrip(".")
        found: dict[str, int] = {}
        if not why:
            try:
                with open(report, encoding="utf-8") as file:
                    found = severities(json.load(file))
            except (OSError, ValueError, AttributeError) as error:
                why = f"its report {report} can't be read ({error})"
        if why:
            command = shlex.join(commands[scanner])
            self._unchecked(StackError(SCAN_FAILED, scanner=scanner, host=self.wanted.host, why=why, command=command))
            return {"scanner": scanner, "problem": why}
        above = [key for key in _SEVERITIES[_SEVERITIES.index(limit) :] if found.get(key)] if limit else []
        if above:
            line = ", ".join(f"{found[key]} {key}" for key in reversed(above))
            raise StackError(
                VULNERABLE, scanner=scanner, severity=limit, line=line, report=report, host=self.wanted.host
            )
        return {"scanner": scanner, "found": found, "report": report}

    def _prune_logs(self, keep: int = 10) -> None:
        """Forget all but the newest builds."""
        place = os.path.dirname(self.folder)
        with suppress(FileNotFoundError):
            found = sorted((entry for entry in os.scandir(place)), key=lambda entry: entry.stat().st_mtime)
            for entry in found[: max(0, len(found) - keep)]:
                if entry.path != self.folder and not os.path.exists(os.path.join(entry.path, "attempt.json")):
                    shutil.rmtree(entry.path, ignore_errors=True)

    # Old images

    def prunable(self) -> list[str]:
        """Names of engine images beyond the newest C(keep), without those of containers and of generations."""
        if self.wanted.keep <= 0:
            return []
        template = "{{.ID}} {{.Repository}}:{{.Tag}}"
        _status, out, _err = self.run(
            ["docker", "image", "ls", "--no-trunc", "--filter", f"reference={_REPOSITORY}", "--format", template]
        )
        rows = [tuple(line.split(" ", 1)) for line in out.splitlines() if " " in line]
        old = [(image, name) for image, name in rows if name != self.wanted.reference][max(0, self.wanted.keep - 1) :]
        if not old:
            return []
        status, out, _err = self.run(["docker", "ps", "--all", "--no-trunc", "--quiet"])
        if status != 0:
            # Without a list of containers any image may be in use.
            return []
        containers = out.split()
        used = self._generations()
        if containers:
            template = "{{.Image}} {{.Config.Image}}"
            _status, out, _err = self.run(["docker", "inspect", "--format", template, *containers])
            used += out
        return [name for image, name in old if name not in used and image not in used]

    def _generations(self) -> str:
        """All that the generations say; an image that one of them names can be wanted again."""
        texts = []
        for place, _folders, files in os.walk(os.path.join(self.wanted.path, "generations")):
            for name in files:
                with suppress(OSError), open(os.path.join(place, name), encoding="utf-8", errors="replace") as file:
                    texts.append(file.read(1 << 20))
        return "\n".join(texts)

    def prune(self) -> list[str]:
        """Remove old images; which ones. One that is in use after all is left."""
        return [name for name in self.prunable() if self.run(["docker", "image", "rm", name])[0] == 0]


def severities(report: Mapping[str, Any]) -> dict[str, int]:
    """How many vulnerabilities of each severity a report of trivy or grype has."""
    found: dict[str, int] = {}
    names = [
        vulnerability.get("Severity")
        for result in report.get("Results") or []
        for vulnerability in result.get("Vulnerabilities") or []
    ]
    names += [(match.get("vulnerability") or {}).get("severity") for match in report.get("matches") or []]
    for name in names:
        key = str(name or "unknown").lower()
        found[key] = found.get(key, 0) + 1
    return found


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
