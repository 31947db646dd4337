"""A build on a host that answers from a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._image import preflight
from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_options import BuildOptions
from ansible_collections.mistralrs.stack.plugins.module_utils._image.builder import Builder

OPTIONS = BuildOptions(
    reference="mistralrs-stack/engine:1",
    inputs="0123456789abcdef0123",
    context={"Dockerfile": "FROM x\n", "run.sh": "#!/bin/sh\n"},
    labels={"io.mistralrs.stack.cuda": "12.8.1", "io.mistralrs.stack.engine_version": "0.9.2"},
    bases={"DEVEL_IMAGE": "nvidia/cuda:12.8.1-devel-ubuntu22.04"},
    arguments={"SOURCE_GIT": "https://example.org/x.git"},
    secrets={"git-credentials": "https://u:s3cret@example.org\n"},
    environment={"HTTPS_PROXY": "http://u:pr0xy@proxy:3128"},
    git={},
    reach={},
    authorities="",
    platform="linux/amd64",
    jobs=0,
    program="mistralrs",
    version="0.9.2",
    gpu=False,
    gpu_access="cdi",
    proof_model="",
    scan_fail_on="",
    keep=2,
    minimum_free_mb=0,
    path="",
    host="b1",
)


class Host:
    """Answers commands by the first entry whose words are in the command."""

    def __init__(self, *answers: tuple[str, tuple[int, str, str]]) -> None:
        self.answers = list(answers)
        self.asked: list[list[str]] = []

    def __call__(self, command: list[str], data: str = "") -> tuple[int, str, str]:
        self.asked.append(command)
        text = " ".join(command)
        return next((answer for words, answer in self.answers if words in text), (0, "", ""))


DOCKER = ("docker version", (0, "26.1.5 linux/amd64\n", ""))

DIGEST = f"sha256:{'1' * 64}"
RECORDINGS = Path(__file__).resolve().parents[4] / "recordings"
# With the feature cuda, libcuda, and no GPU: so it is for an image that is proven without one.
DOCTOR = (RECORDINGS / "mistralrs-0.8.1-cuda" / "doctor-without-gpu.json").read_text()
VERIFIED = (
    (".Config.User", (0, "65532\n", "")),
    ("ldd", (0, "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n", "")),
    ("--version", (0, "mistralrs 0.9.2\n", "")),
    ("doctor", (0, DOCTOR, "")),
)
CONTENTS = ("os-release", (0, "debian\ndeb\tlibc6\t2.41-12\tamd64\n# Cargo.lock\n", ""))


class Build:
    """What one build is asked for, its host, and what its operator was told."""

    def __init__(self, options: BuildOptions, host: Host, runtime: Path) -> None:
        self.options = options
        self.host = host
        self.warnings: list[str] = []
        self.builder = Builder(options, host, self.warnings.append, str(runtime))

    def check(self) -> dict[str, str]:
        return preflight.check(self.options, self.host, self.warnings.append)

    def finish(self) -> Build:
        """The build after its image was verified and named."""
        self.host.answers += [*VERIFIED, CONTENTS]
        with self.builder.job.lock():
            self.builder.start({"DEVEL_IMAGE": f"nvidia/cuda@{DIGEST}"})
            Path(self.options.folder, "image").write_text("sha256:9\n")
            self.builder.finish(5)
        return self


@pytest.fixture
def new_build(tmp_path: Path) -> Callable[..., Build]:
    """Makes a build below C(tmp_path) from the host's answers and changes of the options."""

    def make(*answers: tuple[str, tuple[int, str, str]], below: str = "", **changes: Any) -> Build:
        folder = tmp_path / below
        return Build(OPTIONS._replace(path=str(folder / "mistral"), **changes), Host(*answers, DOCKER), folder / "run")

    return make


@pytest.fixture
def finished(new_build: Callable[..., Build]) -> Callable[..., Build]:
    """Makes a build whose image was verified and named."""
    return lambda *answers, **changes: new_build(*answers, **changes).finish()
