# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify an image before it gets its name: its user, libraries, version, the engine's own check, a model's answer.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Each step needs an answer: one that can't be read is an error, never a pass.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import engine_of
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._image import doctor, smoke_test
from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_options import Run

NOT_INSPECTED = Fault(
    "image.not_inspected",
    "Docker on {host} can't inspect the image that was built: {why}.",
    "See 'journalctl -u docker' on the host, and run the role again: the image is built from the cache.",
)
RUNS_AS_ROOT = Fault(
    "image.runs_as_root",
    "The image would run as root.",
    "This is a defect of the collection; report it.",
)
LIBRARIES_UNREADABLE = Fault(
    "image.libraries_unreadable",
    "The libraries of {program} in the image can't be listed with ldd: {why}.",
    "Check that the runtime base has a shell and ldd (package libc-bin), and that the image contains {program}.",
)
LIBRARY_MISSING = Fault(
    "image.library_missing",
    "The engine that was built needs {libraries}, which the image does not have.",
    "Use a mistral_image_runtime_base of the same distribution and CUDA as mistral_image_devel_base, or add the "
    "package to mistral_image_runtime_packages.",
)
DOES_NOT_START = Fault(
    "image.does_not_start",
    "The image that was built does not start: '{program} {argument}' ends with {status}: {line}.",
    "The image did not get its name; see the log of its build, {log} on {host}.",
)
VERSION_UNREADABLE = Fault(
    "image.version_unreadable",
    "'{program} --version' in the image prints no version number, but {line}.",
    "Check that {program} in the image is mistral.rs.",
)
VERSION_DIFFERS = Fault(
    "image.version_differs",
    "The engine that was built says that it is {found}, not {wanted}.",
    "Check mistral_image_git_url and mistral_image_commit.",
)
DOCTOR_UNREADABLE = Fault(
    "image.doctor_unreadable",
    "The report of '{program} doctor --json' in the image can't be judged: {why}.",
    "Check that {program} in the image is an unmodified mistral.rs of a version that this collection supports; if it "
    "is, report it with the command's output.",
)
BUILT_WITHOUT_CUDA = Fault(
    "image.built_without_cuda",
    "The engine was built without CUDA, but the image is for GPUs.",
    "Add cuda to mistral_image_features.",
)
BUILT_WITH_CUDA = Fault(
    "image.built_with_cuda",
    "The engine was built with CUDA, but the image is for hosts without a GPU.",
    "Remove cuda and its relatives from mistral_image_features.",
)
CHECK_FAILED = Fault(
    "image.doctor_complains",
    "The engine that was built finds something wrong with {host}: {line}.",
    "Check the driver and the container toolkit there.",
)

_LABEL = "io.mistralrs.stack."
# Libraries that the host's driver gives to a container.
_OF_THE_DRIVER = re.compile(r"lib(cuda|nvidia-\w+)\.so(\.\d+)*\Z")
# A line of ldd that names a library, found or not.
_LIBRARY = re.compile(r"^\s+\S+( => | \(0x)", re.MULTILINE)
# What ldd says of a script or of a program without libraries. Whether that starts is seen by starting it.
_NOT_DYNAMIC = re.compile(r"not a dynamic executable|statically linked")
_VERSION = re.compile(r"\b\d+\.\d+\.\d+\b")


class Subject(NamedTuple):
    """The image to verify: its id, labels and options as in the module image_build, and where the records go."""

    image: str
    labels: Mapping[str, str]
    platform: str
    program: str
    version: str
    gpu: bool
    gpu_access: str
    proof_model: str
    host: str
    log: str
    folder: str
    name: str

    def label(self, name: str) -> str:
        """One of the collection's labels."""
        return str(self.labels.get(f"{_LABEL}{name}") or "")

    @property
    def cuda(self) -> bool | None:
        """Whether the image is for GPUs; None if that isn't known: a published image that the operator chose."""
        if self.label("cuda"):
            return True
        return False if self.label("source") == "build" else None


def missing_libraries(ldd: str, driver: bool = True) -> list[str]:
    """The libraries that C(ldd) did not find; those that the driver gives to a container count where it has none."""
    names = {
        line.split("=>")[0].strip() for line in ldd.splitlines() if "not found" in line and "version `" not in line
    }
    versions = [line.strip() for line in ldd.splitlines() if "version `" in line and "not found" in line]
    return sorted(name for name in names if not (driver and _OF_THE_DRIVER.match(name))) + versions


def reported(version: str) -> str:
    """The version that an engine built as C(version) prints: commits after a release (C(0.9.2+7)) keep its number."""
    return version.partition("+")[0].removeprefix("v")


def _line(*texts: str) -> str:
    """The first line of the first text that has one, for a message."""
    for text in texts:
        if text.strip():
            return text.strip().splitlines()[0].rstrip(".")
    return "it says nothing"


class Verification:
    """Verifies one image. C(run) runs a program: C(run(argv) -> (status, output, errors))."""

    def __init__(self, subject: Subject, run: Run) -> None:
        self.subject = subject
        self.run = run
        # An image without CUDA is not started with GPUs, also where the host has some.
        self.gpu = subject.gpu and subject.cuda is not False
        self.warnings: list[str] = []

    def options(self, gpu: bool) -> list[str]:
        """Options of docker for a container as the engine will run: without rights, root file system or network."""
        access: tuple[str, ...] = ("--device", "nvidia.com/gpu=all")
        if self.subject.gpu_access == "runtime":
            access = ("--runtime", "nvidia", "--env", "NVIDIA_VISIBLE_DEVICES=all")
            access += ("--env", "NVIDIA_DRIVER_CAPABILITIES=compute,utility")
        return [
            *("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--tmpfs", "/tmp:mode=1777"),
            *(access if gpu else ()),
            *(("--platform", self.subject.platform) if self.subject.platform else ()),
        ]

    def container(self, entrypoint: str, *arguments: str, gpu: bool = False) -> tuple[int, str, str]:
        """Run a program in the image."""
        return self.run(
            [
                *("docker", "run", "--rm", "--workdir", "/tmp", *self.options(gpu)),
                *(("--entrypoint", entrypoint) if entrypoint else ()),
                self.subject.image,
                *arguments,
            ]
        )

    def proof(self) -> dict[str, Any]:
        """Verify the image; what it said. Raises StackError if it isn't what was wanted."""
        subject = self.subject
        proof: dict[str, Any] = {"user": self._user(), "version": "", "doctor": {}, "gpu": self.gpu}
        ldd = self._libraries()
        if "libcuda.so.1 => not found" in ldd and not self.gpu:
            # It can't be started without the driver, but all that it needs besides is there.
            if subject.proof_model:
                self.warnings.append(
                    f"The image was not tried with {subject.proof_model}: the engine needs the NVIDIA driver to start, "
                    f"and it is started on {subject.host} without a GPU."
                )
            return {**proof, "skipped": "the engine needs the NVIDIA driver to start, and the builder has no GPU"}
        proof["version"] = self._version()
        generation = subject.label("command_generation")
        if generation and not engine_of(generation).doctor:
            # Its build scripts link libcudart with CUDA (mistralrs-quant/build.rs:134 at v0.6.0).
            if subject.cuda and _LIBRARY.search(ldd) and "libcudart.so" not in ldd:
                raise StackError(BUILT_WITHOUT_CUDA)
        else:
            proof["doctor"] = self._doctor()
        if subject.proof_model:
            proof["completion"] = smoke_test.prove(
                self.run,
                smoke_test.Subject(
                    image=subject.image,
                    version=subject.label("engine_version") or subject.version,
                    model=subject.proof_model,
                    options=self.options(self.gpu),
                    gpu=self.gpu,
                    host=subject.host,
                ),
                subject.folder,
                subject.name,
            )
        return proof

    def _user(self) -> str:
        command = ["docker", "image", "inspect", "--format", "{{.Config.User}}", self.subject.image]
        status, out, err = self.run(command)
        if status != 0:
            raise StackError(NOT_INSPECTED, host=self.subject.host, why=_line(err, out))
        user = out.strip()
        if user.partition(":")[0] in ("", "0", "root"):
            raise StackError(RUNS_AS_ROOT)
        return user

    def _libraries(self) -> str:
        """What ldd says of the program; empty if that is a script or has no libraries."""
        program = self.subject.program
        script = f'ldd "$(command -v {shlex.quote(program)})"'
        _status, out, err = self.container("/bin/sh", "-c", script)
        missing = missing_libraries(out + err, driver=self.subject.cuda is not False)
        if missing:
            raise StackError(LIBRARY_MISSING, libraries=", ".join(missing))
        if _LIBRARY.search(out):
            return out
        if _NOT_DYNAMIC.search(out + err):
            return ""
        raise StackError(LIBRARIES_UNREADABLE, program=program, why=_line(err, out))

    def _asked(self, *arguments: str) -> str:
        status, out, err = self.container("", *arguments, gpu=self.gpu)
        if status != 0:
            raise StackError(
                DOES_NOT_START,
                program=self.subject.program,
                argument=" ".join(arguments),
                status=status,
                line=_line(err, out),
                log=self.subject.log,
                host=self.subject.host,
            )
        return out

    def _version(self) -> str:
        said = self._asked("--version").strip()
        found = _VERSION.search(said)
        if not found:
            raise StackError(VERSION_UNREADABLE, program=self.subject.program, line=_line(said))
        wanted = reported(self.subject.version)
        if wanted and found.group(0) != wanted:
            raise StackError(VERSION_DIFFERS, found=found.group(0), wanted=wanted)
        return said

    def _doctor(self) -> dict[str, Any]:
        """What the engine's own check says."""
        subject = self.subject
        out = self._asked("doctor", "--json")
        try:
            report = doctor.report_of(out)
        except ValueError as error:
            raise StackError(DOCTOR_UNREADABLE, program=subject.program, why=f"{error}".rstrip(".")) from None
        built = bool(report.build["cuda"])
        if subject.cuda is not None and built != subject.cuda:
            raise StackError(BUILT_WITHOUT_CUDA if subject.cuda else BUILT_WITH_CUDA)
        verdict = doctor.verdict(report, self.gpu and built)
        if verdict.failures:
            raise StackError(CHECK_FAILED, host=subject.host, line="; ".join(verdict.failures))
        self.warnings += [f"The engine's own check on {subject.host} reports: {line}." for line in verdict.warnings]
        return report.as_data()
