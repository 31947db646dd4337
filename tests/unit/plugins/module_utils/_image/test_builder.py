"""The builder, with a host that answers from a table: states, checks before a build, proof, old images."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._image import builder as subject
from ansible_collections.mistralrs.stack.plugins.module_utils._image.builder import Builder, Wanted

DIGEST = f"sha256:{'1' * 64}"
WANTED = Wanted(
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


def builder(tmp_path: Path, *answers: tuple[str, tuple[int, str, str]], **changes: Any) -> Builder:
    wanted = WANTED._replace(path=str(tmp_path / "mistral"), **changes)
    return Builder(wanted, Host(*answers, DOCKER), runtime=str(tmp_path / "run"))


def error_of(build: Builder) -> str:
    with pytest.raises(StackError) as caught:
        build.check()
    return caught.value.id


@pytest.mark.parametrize(("gib", "cores", "jobs"), [(4, 8, 1), (12, 8, 2), (64, 32, 12), (64, 4, 4)], ids=str)
def test_jobs(gib: int, cores: int, jobs: int) -> None:
    # The third is upstream's own figure for a machine with 64 GB.
    assert subject.jobs_for(gib << 30, cores) == jobs


@pytest.mark.parametrize(("cuda", "jobs"), [("12.8.1", 1), ("", 3)])
def test_rust_takes_less_memory_than_cuda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuda: str, jobs: int
) -> None:
    monkeypatch.setattr(subject.os, "sysconf", {"SC_PHYS_PAGES": 7 << 18, "SC_PAGE_SIZE": 1 << 12}.__getitem__)
    monkeypatch.setattr(subject.os, "sched_getaffinity", lambda _process: set(range(8)))
    labels = {**WANTED.labels, "io.mistralrs.stack.cuda": cuda}
    assert builder(tmp_path, labels=labels).jobs() == jobs
    assert builder(tmp_path, labels=labels, jobs=5).jobs() == 5


def test_a_build_is_started_without_secrets_in_sight(tmp_path: Path) -> None:
    build = builder(tmp_path)
    with build.lock():
        build.start({"DEVEL_IMAGE": f"nvidia/cuda@{DIGEST}"})
    started = next(command for command in build.run.asked if command[0] == "systemd-run")  # type: ignore[attr-defined]
    assert "--unit=mistral-image-build-0123456789abcdef" in started
    script = Path(build.folder, "run").read_text()
    for secret in ("s3cret", "pr0xy"):
        assert secret not in script
        assert secret not in " ".join(started)
    for path in Path(build.runtime).iterdir():
        assert path.stat().st_mode & 0o077 == 0
    environment = Path(build.runtime, "environment").read_text()
    assert f"DEVEL_IMAGE=nvidia/cuda@{DIGEST}" in environment
    assert "HTTPS_PROXY=http://u:pr0xy@proxy:3128" in environment
    assert "--build-arg HTTPS_PROXY " in script
    assert f"--label io.mistralrs.stack.inputs={WANTED.inputs}" in script
    assert os.access(Path(build.folder, "context", "run.sh"), os.X_OK)


def test_states(tmp_path: Path) -> None:
    active = ("is-active", (0, "active\n", ""))
    build = builder(tmp_path, active)
    assert build.state().name == "none"
    build.start({})
    assert build.state().name == "running"
    # The unit is gone and docker's word is not there: somebody killed it.
    build.run = Host(("is-active", (3, "inactive\n", "")))
    assert build.state().name == "interrupted"
    assert build.failure(build.state()).id == "image.build_interrupted"
    Path(build.folder, "status").write_text("0\n")
    assert build.state().name == "succeeded"
    Path(build.folder, "status").write_text("1\n")
    Path(build.log).write_text("#12 9.1 error: No space left on device\n")
    assert build.failure(build.state()).id == "image.build_disk_full"
    assert build.tail() == ["error: No space left on device"]


def test_logs_are_kept_by_count(tmp_path: Path) -> None:
    build = builder(tmp_path)
    for number in range(8):
        build.start({})
        Path(build.log).write_text(str(number))
    logs = {path.name: path.read_text() for path in Path(build.folder).glob("log*")}
    assert logs == {"log": "7", "log.1": "6", "log.2": "5", "log.3": "4", "log.4": "3", "log.5": "2"}


def test_cancel(tmp_path: Path) -> None:
    build = builder(tmp_path, ("is-active", (0, "active\n", "")))
    assert not build.cancel()
    build.start({})
    assert build.cancel()
    assert ["systemctl", "stop", f"{build.unit}.service"] in build.run.asked  # type: ignore[attr-defined]
    assert build.state().name == "none"


def test_systemd_refuses(tmp_path: Path) -> None:
    build = builder(tmp_path, ("systemd-run", (1, "", "Failed to start transient service unit: no.\n")))
    with pytest.raises(StackError, match="transient service unit: no") as caught:
        build.start({})
    assert caught.value.id == "image.build_not_started"
    assert build.state().name == "none"
    assert not Path(build.runtime).exists()


def test_checks(tmp_path: Path) -> None:
    assert error_of(builder(tmp_path, ("docker version", (1, "", "Cannot connect\n")))) == "image.docker_not_answering"
    assert error_of(builder(tmp_path, ("buildx version", (1, "", "")))) == "image.buildkit_missing"
    platforms = ("buildx inspect", (0, "Name: default\nPlatforms: linux/amd64, linux/386\n", ""))
    assert error_of(builder(tmp_path, platforms, platform="linux/arm64")) == "image.cross_building"
    none = ("image inspect", (1, "", "No such image"))
    refused = ("imagetools", (1, "", "ERROR: lookup registry-1.docker.io: no such host\n"))
    unpulled = ("docker pull", (1, "", "no such host\n"))
    assert error_of(builder(tmp_path, none, refused, unpulled)) == "image.base_unreachable"


def test_room_is_looked_for_before_a_build(tmp_path: Path) -> None:
    root = ("docker info", (0, f"{tmp_path}\n", ""))
    assert error_of(builder(tmp_path, root, minimum_free_mb=1 << 40)) == "image.disk_full"
    assert builder(tmp_path, root, minimum_free_mb=1, bases={}).check() == {}
    for silent in ((1, "", "Cannot connect\n"), (0, "\n", "")):
        build = builder(tmp_path, ("docker info", silent), minimum_free_mb=1, bases={})
        assert error_of(build) == "image.docker_not_answering"


def test_docker_20_10_builds_without_buildx(tmp_path: Path) -> None:
    build = builder(
        tmp_path,
        ("docker version", (0, "20.10.24 linux/amd64\n", "")),
        ("buildx version", (1, "", "")),
        bases={},
    )
    assert build.check() == {}


def test_a_base_keeps_the_digest_that_it_had(tmp_path: Path) -> None:
    none = ("image inspect", (1, "", "No such image"))
    build = builder(tmp_path, none, ("imagetools", (0, json.dumps({"digest": DIGEST}), "")))
    expected = {"DEVEL_IMAGE": f"nvidia/cuda@{DIGEST}"}
    assert build.check() == expected
    # The tag moves.
    moved = builder(tmp_path, none, ("imagetools", (0, json.dumps({"digest": "sha256:2"}), "")))
    assert moved.check() == expected
    fixed = builder(tmp_path, bases={"X": f"a/b@{DIGEST}"})
    assert fixed.check() == {"X": f"a/b@{DIGEST}"}
    local = builder(
        tmp_path, ("image inspect", (0, json.dumps([{"Id": DIGEST, "RepoDigests": []}]), "")), bases={"X": "a:1"}
    )
    assert local.check() == {"X": "a:1"}


BUILDX = ("buildx version", (0, "github.com/docker/buildx v0.15.1 2c47f9e\n", ""))
# The first as buildx 0.29.1 says it.
UNRESOLVED = (
    'none.invalid/cuda:1: failed to resolve source metadata for none.invalid/cuda:1: failed to do request: Head "https:'
    '//none.invalid/v2/cuda/manifests/1": dial tcp: lookup none.invalid on 127.0.0.11:53: no such host'
)


@pytest.mark.parametrize(
    ("message", "error_id"),
    [
        (UNRESOLVED, "image.base_unreachable"),
        ("dockerfile parse error on line 3: unknown instruction: RUM", "image.dockerfile_invalid"),
    ],
    ids=str,
)
def test_buildkit_looks_at_the_dockerfile(message: str, error_id: str, tmp_path: Path) -> None:
    said = json.dumps({"warnings": None, "buildError": {"message": message}})
    build = builder(tmp_path, BUILDX, ("check,format=json", (1, said, "")), bases={})
    with pytest.raises(StackError, match=message[-20:]) as caught:
        build.check()
    assert caught.value.id == error_id


def test_what_buildkit_would_do_otherwise_is_a_warning(tmp_path: Path) -> None:
    location = {"ranges": [{"start": {"line": 7}, "end": {"line": 7}}]}
    rule = {"ruleName": "FromAsCasing", "detail": "'as' and 'FROM' keywords' casing do not match"}
    said = json.dumps({"warnings": [{**rule, "location": location}]})
    build = builder(tmp_path, BUILDX, ("check,format=json", (1, said, "")), bases={"X": f"a/b@{DIGEST}"})
    assert build.check() == {"X": f"a/b@{DIGEST}"}
    assert build.warnings == [
        "BuildKit on b1 says of line 7 of the image's Dockerfile: 'as' and 'FROM' keywords' casing do not match "
        "(FromAsCasing)."
    ]
    asked = next(command for command in build.run.asked if "check,format=json" in command)  # type: ignore[attr-defined]
    assert f"--build-arg=X=a/b@{DIGEST}" in asked


@pytest.mark.parametrize("version", ["github.com/docker/buildx 0.13.1+ds1 0.13.1+ds1-3\n", "", "v0.14.9"])
def test_an_older_buildx_is_not_asked(version: str, tmp_path: Path) -> None:
    build = builder(tmp_path, ("buildx version", (0, version, "")), bases={})
    build.check()
    assert not any("check,format=json" in command for command in build.run.asked)  # type: ignore[attr-defined]


def test_a_daemon_that_can_not_check_is_no_reason(tmp_path: Path) -> None:
    refused = (
        "check,format=json",
        (1, "", "ERROR: unsupported frontend capability moby.buildkit.frontend.subrequests"),
    )
    assert builder(tmp_path, BUILDX, refused, bases={}).check() == {}


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


def finished(tmp_path: Path, *answers: tuple[str, tuple[int, str, str]], **changes: Any) -> Builder:
    """A build whose image was verified and named."""
    build = builder(tmp_path, *answers, *VERIFIED, CONTENTS, **changes)
    with build.lock():
        build.start({"DEVEL_IMAGE": f"nvidia/cuda@{DIGEST}"})
        Path(build.folder, "image").write_text("sha256:9\n")
        build.finish(5)
    return build


def record_of(build: Builder) -> dict[str, Any]:
    return dict(json.loads(Path(build.images, f"{build.id}.json").read_text()))


def test_an_image_is_verified_recorded_and_named(tmp_path: Path) -> None:
    build = finished(tmp_path)
    record = record_of(build)
    assert record["bases"] == {"DEVEL_IMAGE": f"nvidia/cuda@{DIGEST}"}
    assert record["proof"]["version"] == "mistralrs 0.9.2"
    assert record["proof"]["doctor"]["build"]["cuda"] is True
    assert build.run.asked[-1] == ["docker", "tag", "sha256:9", WANTED.reference]  # type: ignore[attr-defined]
    assert build.warnings == []
    bill = json.loads(Path(record["sbom"]).read_text())
    assert [component["name"] for component in bill["components"]] == ["libc6"]


def test_an_image_that_is_refused_gets_no_name(tmp_path: Path) -> None:
    build = builder(tmp_path, ("doctor", (0, "", "")), *VERIFIED, CONTENTS)
    build.start({})
    Path(build.folder, "image").write_text("sha256:9\n")
    with pytest.raises(StackError) as caught:
        build.finish(5)
    assert caught.value.id == "image.doctor_unreadable"
    assert not any("tag" in command for command in build.run.asked)  # type: ignore[attr-defined]


UNLISTED = [
    (127, "", 'exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown.\n'),
    (0, "debian\n# Cargo.lock\n", ""),
    (0, "", ""),
]


@pytest.mark.parametrize("answer", UNLISTED, ids=["no shell", "no packages", "nothing"])
def test_contents_that_can_not_be_listed(answer: tuple[int, str, str], tmp_path: Path) -> None:
    build = finished(tmp_path / "a", ("os-release", answer))
    assert [warning.split(" on b1")[0] for warning in build.warnings] == [
        "The packages of the image that was built can't be listed"
    ]
    with pytest.raises(StackError) as caught:
        finished(tmp_path / "b", ("os-release", answer), scan_fail_on="high")
    assert caught.value.id == "image.contents_unreadable"


def test_a_scan_that_does_not_take_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.shutil, "which", lambda name: None)
    assert finished(tmp_path / "a").warnings == []
    assert "neither trivy nor grype" in finished(tmp_path / "b", scan_fail_on="high").warnings[0]
    monkeypatch.setattr(subject.shutil, "which", lambda name: f"/usr/bin/{name}")
    # It ends with an error; it ends well and leaves no report.
    for number, answer in enumerate([(1, "", "FATAL DB download failed.\n"), (0, "", "")]):
        build = finished(tmp_path / f"c{number}", ("trivy", answer))
        assert record_of(build)["scan"]["problem"]
        assert "did not scan the image" in build.warnings[0]
        with pytest.raises(StackError) as caught:
            finished(tmp_path / f"d{number}", ("trivy", answer), scan_fail_on="high")
        assert caught.value.id == "image.scan_failed"


def test_a_scan_refuses_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.shutil, "which", lambda name: f"/usr/bin/{name}")
    for name in ("a", "b"):
        images = tmp_path / name / "mistral" / "images"
        images.mkdir(parents=True)
        report = {"Results": [{"Vulnerabilities": [{"Severity": "HIGH"}]}]}
        Path(images, f"{WANTED.inputs[:16]}.scan.json").write_text(json.dumps(report))
    assert record_of(finished(tmp_path / "a", scan_fail_on="critical"))["scan"]["found"] == {"high": 1}
    with pytest.raises(StackError) as caught:
        finished(tmp_path / "b", scan_fail_on="high")
    assert caught.value.id == "image.vulnerable"


def test_old_images(tmp_path: Path) -> None:
    rows = "".join(f"sha256:{number} mistralrs-stack/engine:{number}\n" for number in range(1, 7))
    generation = tmp_path / "mistral" / "generations" / "1" / "image"
    generation.parent.mkdir(parents=True)
    generation.write_text("mistralrs-stack/engine:4\n")
    answers = (
        ("image ls", (0, rows, "")),
        ("docker ps", (0, "c1\n", "")),
        ("docker inspect", (0, "sha256:5 mistralrs-stack/engine:5\n", "")),
    )
    assert builder(tmp_path, *answers).prune() == ["mistralrs-stack/engine:3", "mistralrs-stack/engine:6"]
    assert builder(tmp_path, *answers, keep=0).prune() == []
    unknown = ("docker ps", (1, "", "Cannot connect\n"))
    assert builder(tmp_path, unknown, *answers).prune() == []


def test_severities() -> None:
    trivy = {"Results": [{"Vulnerabilities": [{"Severity": "HIGH"}, {"Severity": "LOW"}]}, {}]}
    grype = {"matches": [{"vulnerability": {"severity": "High"}}]}
    assert subject.severities(trivy) == {"high": 1, "low": 1}
    assert subject.severities(grype) == {"high": 1}


def test_a_second_run_waits_for_the_lock_of_a_build(tmp_path: Path) -> None:
    build = builder(tmp_path)
    first = build.lock()
    first.__enter__()
    entered = threading.Event()

    def second() -> None:
        with builder(tmp_path).lock():
            entered.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not entered.wait(0.2)
    first.__exit__()
    assert entered.wait(10)
    thread.join()
    assert Path(build.folder, "lock").exists()
