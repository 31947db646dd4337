"""The builder: states, how it starts, what it leaves."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._image import builder as subject

NewBuild = Callable[..., Any]
DIGEST = f"sha256:{'1' * 64}"


@pytest.mark.parametrize(("gib", "cores", "jobs"), [(4, 8, 1), (12, 8, 2), (64, 32, 12), (64, 4, 4)], ids=str)
def test_jobs(gib: int, cores: int, jobs: int) -> None:
    # The third is upstream's own figure for a machine with 64 GB.
    assert subject.jobs_for(gib << 30, cores) == jobs


@pytest.mark.parametrize(("cuda", "jobs"), [("12.8.1", 1), ("", 3)])
def test_rust_takes_less_memory_than_cuda(new_build: NewBuild, cuda: str, jobs: int) -> None:
    labels = {**new_build().options.labels, "io.mistralrs.stack.cuda": cuda}
    assert subject.job_count(new_build(labels=labels).options, memory=7 << 30, cores=8) == jobs
    assert subject.job_count(new_build(labels=labels, jobs=5).options) == 5


def test_a_build_is_started_without_secrets_in_sight(new_build: NewBuild) -> None:
    build = new_build()
    with build.builder.job.lock():
        build.builder.start({"DEVEL_IMAGE": f"nvidia/cuda@{DIGEST}"})
    started = next(command for command in build.host.asked if command[0] == "systemd-run")
    assert "--unit=mistral-image-build-0123456789abcdef" in started
    script = Path(build.options.folder, "run").read_text()
    for secret in ("s3cret", "pr0xy"):
        assert secret not in script
        assert secret not in " ".join(started)
    for path in Path(build.builder.job.launcher.private).iterdir():
        assert path.stat().st_mode & 0o077 == 0
    environment = Path(build.builder.job.launcher.private, "environment").read_text()
    assert f"DEVEL_IMAGE=nvidia/cuda@{DIGEST}" in environment
    assert "HTTPS_PROXY=http://u:pr0xy@proxy:3128" in environment
    assert "--build-arg HTTPS_PROXY " in script
    assert f"--label io.mistralrs.stack.inputs={build.options.inputs}" in script
    assert os.access(Path(build.options.folder, "context", "run.sh"), os.X_OK)


def test_states(new_build: NewBuild) -> None:
    active = ("is-active", (0, "active\n", ""))
    build = new_build(active)
    assert build.builder.job.state().name == "none"
    build.builder.start({})
    assert build.builder.job.state().name == "running"
    # The unit is gone and docker's word is not there: somebody killed it.
    build.host.answers.insert(0, ("is-active", (3, "inactive\n", "")))
    assert build.builder.job.state().name == "interrupted"
    assert build.builder.failure(build.builder.job.state()).id == "image.build_interrupted"
    Path(build.options.folder, "status").write_text("0\n")
    assert build.builder.job.state().name == "succeeded"
    Path(build.options.folder, "status").write_text("1\n")
    Path(build.options.log).write_text("#12 9.1 error: No space left on device\n")
    assert build.builder.failure(build.builder.job.state()).id == "image.build_disk_full"
    assert build.builder.tail() == ["error: No space left on device"]


def test_logs_are_kept_by_count(new_build: NewBuild) -> None:
    build = new_build()
    for number in range(8):
        build.builder.start({})
        Path(build.options.log).write_text(str(number))
    logs = {path.name: path.read_text() for path in Path(build.options.folder).glob("log*")}
    assert logs == {"log": "7", "log.1": "6", "log.2": "5", "log.3": "4", "log.4": "3", "log.5": "2"}


def test_cancel(new_build: NewBuild) -> None:
    build = new_build(("is-active", (0, "active\n", "")))
    assert not build.builder.cancel()
    build.builder.start({})
    assert build.builder.cancel()
    assert ["systemctl", "stop", "mistral-image-build-0123456789abcdef.service"] in build.host.asked
    assert build.builder.job.state().name == "none"


def test_systemd_refuses(new_build: NewBuild) -> None:
    build = new_build(("systemd-run", (1, "", "Failed to start transient service unit: no.\n")))
    with pytest.raises(StackError, match="transient service unit: no") as caught:
        build.builder.start({})
    assert caught.value.id == "image.build_not_started"
    assert build.builder.job.state().name == "none"
    assert not Path(build.builder.job.launcher.private).exists()


def record_of(build: Any) -> dict[str, Any]:
    return dict(json.loads(Path(build.options.images, f"{build.options.id}.json").read_text()))


def test_an_image_is_verified_recorded_and_named(new_build: NewBuild) -> None:
    build = new_build().finish()
    record = record_of(build)
    assert record["bases"] == {"DEVEL_IMAGE": f"nvidia/cuda@{DIGEST}"}
    assert record["proof"]["version"] == "mistralrs 0.9.2"
    assert record["proof"]["doctor"]["build"]["cuda"] is True
    assert build.host.asked[-1] == ["docker", "tag", "sha256:9", build.options.reference]
    assert build.warnings == []
    bill = json.loads(Path(record["sbom"]).read_text())
    assert [component["name"] for component in bill["components"]] == ["libc6"]


def test_an_image_that_is_refused_gets_no_name(new_build: NewBuild) -> None:
    build = new_build(("doctor", (0, "", "")))
    with pytest.raises(StackError) as caught:
        build.finish()
    assert caught.value.id == "image.doctor_unreadable"
    assert not any("tag" in command for command in build.host.asked)


def test_a_second_run_waits_for_the_lock_of_a_build(new_build: NewBuild) -> None:
    build = new_build()
    first = build.builder.job.lock()
    first.__enter__()
    entered = threading.Event()

    def second() -> None:
        with new_build().builder.job.lock():
            entered.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not entered.wait(0.2)
    first.__exit__()
    assert entered.wait(10)
    thread.join()
    assert Path(f"{build.options.folder}.lock").exists()
