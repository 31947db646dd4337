"""The verification of an image, with a Docker that answers from a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._image import verification as subject
from ansible_collections.mistralrs.stack.plugins.module_utils._image.verification import Subject, Verification

RECORDINGS = Path(__file__).resolve().parents[4] / "recordings"
CPU = (RECORDINGS / "mistralrs-0.9.2+7" / "doctor.json").read_text()
CUDA = (RECORDINGS / "mistralrs-0.8.1-cuda" / "doctor-without-gpu.json").read_text()
# Of the real CUDA build, outside of an image.
LINKED = (RECORDINGS / "mistralrs-0.8.1-cuda" / "ldd.txt").read_text()
LDD = """\
\tlinux-vdso.so.1 (0x00007ffd)
\tlibcuda.so.1 => not found
\tlibnvidia-ml.so.1 => not found
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)
"""
# As Debian's ldd says it, in this order: of a script (on stderr, status 1), of a program without libraries, of nothing.
SCRIPT = (1, "", "\tnot a dynamic executable\n")
STATIC = (0, "\tstatically linked\n", "")
NOTHING = (1, "", "ldd: ./: No such file or directory\n")

SUBJECT = Subject(
    image="sha256:9",
    labels={
        "io.mistralrs.stack.cuda": "12.8.1",
        "io.mistralrs.stack.engine_version": "0.9.2",
        "io.mistralrs.stack.command_generation": "0.9.1",
    },
    platform="linux/amd64",
    program="mistralrs",
    version="0.9.2",
    gpu=False,
    gpu_access="cdi",
    proof_model="",
    host="b1",
    log="/log",
    folder="",
    name="proof",
)
# Without CUDA nothing of the driver is linked.
PLAIN = ("ldd", (0, LDD.splitlines()[3], ""))
FOR_CPU = {**SUBJECT.labels, "io.mistralrs.stack.cuda": "", "io.mistralrs.stack.source": "build"}
# As the plan labels a published image that the operator names: its CUDA isn't known.
CHOSEN = {**SUBJECT.labels, "io.mistralrs.stack.cuda": "", "io.mistralrs.stack.source": "pull"}
OLDEST = {**SUBJECT.labels, "io.mistralrs.stack.command_generation": "0.6.0"}


class Docker:
    """Answers commands by the first entry whose words are in the command."""

    def __init__(self, *answers: tuple[str, tuple[int, str, str]]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, command: list[str]) -> tuple[int, str, str]:
        self.asked.append(" ".join(command))
        return next((answer for words, answer in self.answers if words in self.asked[-1]), (0, "", ""))


# An image with nothing wrong.
RIGHT = (
    (".Config.User", (0, "65532:65532\n", "")),
    ("ldd", (0, LDD.replace("libcuda.so.1 => not found", "libcuda.so.1 => /usr/lib/libcuda.so.1"), "")),
    ("--version", (0, "mistralrs 0.9.2\n", "")),
    ("doctor", (0, CUDA, "")),
)


def verification(*answers: tuple[str, tuple[int, str, str]], **changes: Any) -> Verification:
    return Verification(SUBJECT._replace(**changes), Docker(*answers, *RIGHT))


def proven(*answers: tuple[str, tuple[int, str, str]], **changes: Any) -> dict[str, Any]:
    return verification(*answers, **changes).proof()


def asked(of: Verification) -> list[str]:
    assert isinstance(of.run, Docker)
    return of.run.asked


def with_gpu(*checks: dict[str, str]) -> str:
    """The recorded report as it is with a GPU."""
    said = json.loads(CUDA)
    said["system"]["devices"].append({"kind": "cuda", "ordinal": 0})
    said["checks"] = [check for check in said["checks"] if check["name"] != "cuda_devices"] + list(checks)
    return json.dumps(said)


def test_libraries() -> None:
    assert subject.missing_libraries(LDD) == []
    assert subject.missing_libraries(LDD, driver=False) == ["libcuda.so.1", "libnvidia-ml.so.1"]
    assert subject.missing_libraries(f"{LDD}\tlibcudnn.so.9 => not found\n") == ["libcudnn.so.9"]
    # mistral.rs issue 1948
    line = "/usr/local/bin/mistralrs: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by x)"
    assert subject.missing_libraries(line) == [line]
    assert subject.missing_libraries(LINKED) == [
        "libcublas.so.13",
        "libcublasLt.so.13",
        "libcudart.so.13",
        "libcurand.so.10",
    ]


@pytest.mark.parametrize(
    ("version", "expected"), [("0.9.2", "0.9.2"), ("0.9.2+7", "0.9.2"), ("v0.6.0", "0.6.0"), ("", "")]
)
def test_what_an_engine_reports(version: str, expected: str) -> None:
    assert subject.reported(version) == expected


def test_an_image_with_nothing_wrong() -> None:
    proof = proven()
    assert (proof["version"], proof["user"], proof["gpu"]) == ("mistralrs 0.9.2", "65532:65532", False)
    assert proof["doctor"]["build"]["cuda"] is True
    assert "hf_connectivity" in {check["name"] for check in proof["doctor"]["checks"]}
    assert "skipped" not in proof


def test_an_image_for_a_cpu() -> None:
    # On a host that has GPUs, too.
    image = verification(PLAIN, ("doctor", (0, CPU, "")), labels=FOR_CPU, gpu=True)
    proof = image.proof()
    assert proof["doctor"]["build"]["cuda"] is False
    assert proof["gpu"] is False
    assert not any("nvidia" in command for command in asked(image))


def test_a_published_image_may_have_cuda_or_not() -> None:
    for report, ldd in ((CPU, PLAIN), (CUDA, RIGHT[1])):
        proof = proven(ldd, ("doctor", (0, report, "")), labels=CHOSEN)
        assert proof["doctor"]["build"]["cuda"] is (report == CUDA)
    assert "driver" in proven(("ldd", (0, LDD, "")), labels=CHOSEN)["skipped"]
    # With GPUs it has to find them, if it was built for them.
    assert proven(PLAIN, ("doctor", (0, CPU, "")), labels=CHOSEN, gpu=True)["version"]
    with pytest.raises(StackError) as caught:
        proven(labels=CHOSEN, gpu=True)
    assert caught.value.id == "image.doctor_complains"


def test_commits_after_a_release_report_the_release() -> None:
    assert proven(version="0.9.2+7")["version"] == "mistralrs 0.9.2"


def test_an_engine_that_needs_the_driver_is_not_started_without_it() -> None:
    image = verification(("ldd", (0, LDD, "")))
    assert "driver" in image.proof()["skipped"]
    assert not any("--version" in command for command in asked(image))
    assert image.warnings == []
    image = verification(("ldd", (0, LDD, "")), proof_model="/m.gguf")
    image.proof()
    assert "was not tried with /m.gguf" in image.warnings[0]


@pytest.mark.parametrize("ldd", [SCRIPT, STATIC], ids=["script", "static"])
def test_what_has_no_libraries_is_started(ldd: tuple[int, str, str]) -> None:
    assert proven(("ldd", ldd))["version"] == "mistralrs 0.9.2"


def test_the_oldest_engine_has_no_doctor() -> None:
    version = ("--version", (0, "mistralrs-server 0.6.0\n", ""))
    linked = ("ldd", (0, f"{LDD.splitlines()[3]}\n\tlibcudart.so.12 => /usr/lib/libcudart.so.12 (0x00007f)\n", ""))
    proof = proven(linked, version, ("doctor", (2, "", "unexpected argument")), labels=OLDEST, version="0.6.0")
    assert proof["doctor"] == {}


@pytest.mark.parametrize("access", ["cdi", "runtime"])
def test_the_gpus_are_given(access: str) -> None:
    image = verification(("doctor", (0, with_gpu(), "")), gpu=True, gpu_access=access)
    assert image.proof()["gpu"] is True
    words = {"cdi": "--device nvidia.com/gpu=all", "runtime": "--runtime nvidia --env NVIDIA_VISIBLE"}[access]
    assert [words in command for command in asked(image) if "--version" in command] == [True]


DRIVER = {
    "name": "cuda_build_driver_compatibility",
    "status": "error",
    "message": "CUDA binary was built with CUDA 12.8, but the NVIDIA driver supports CUDA 12.4.",
}


def test_an_older_driver_is_a_warning() -> None:
    image = verification(("doctor", (0, with_gpu(DRIVER), "")), gpu=True)
    image.proof()
    assert image.warnings == [
        "The engine's own check on b1 reports: cuda_build_driver_compatibility: CUDA binary was built with CUDA 12.8, "
        "but the NVIDIA driver supports CUDA 12.4."
    ]


@pytest.mark.parametrize(
    ("answer", "changes", "error_id"),
    [
        ((".Config.User", (1, "", "Error: No such image: sha256:9\n")), {}, "image.not_inspected"),
        ((".Config.User", (0, "\n", "")), {}, "image.runs_as_root"),
        (("ldd", (0, "\tlibcudnn.so.9 => not found\n", "")), {}, "image.library_missing"),
        (("ldd", (0, LDD, "")), {"labels": FOR_CPU}, "image.library_missing"),
        (("ldd", (0, "", "")), {}, "image.libraries_unreadable"),
        (("ldd", NOTHING), {}, "image.libraries_unreadable"),
        (("ldd", (127, "", 'exec: "/bin/sh": stat /bin/sh: no such file\n')), {}, "image.libraries_unreadable"),
        (("--version", (1, "", "Illegal instruction.\n")), {}, "image.does_not_start"),
        (("--version", (0, "mistralrs 0.9.1\n", "")), {}, "image.version_differs"),
        (("--version", (0, "", "")), {}, "image.version_unreadable"),
        (("--version", (0, "mistralrs (dev)\n", "")), {"version": ""}, "image.version_unreadable"),
        (("doctor", (2, "", "error: unrecognized subcommand 'doctor'\n")), {}, "image.does_not_start"),
        (("doctor", (0, "", "")), {}, "image.doctor_unreadable"),
        (("doctor", (0, '{"checks": []}', "")), {}, "image.doctor_unreadable"),
        (("doctor", (0, CPU, "")), {}, "image.built_without_cuda"),
        (("doctor", (0, CUDA, "")), {"gpu": True}, "image.doctor_complains"),
        (PLAIN, {"labels": OLDEST}, "image.built_without_cuda"),
        (PLAIN, {"labels": FOR_CPU}, "image.built_with_cuda"),
    ],
)
def test_what_is_refused(answer: tuple[str, tuple[int, str, str]], changes: dict[str, Any], error_id: str) -> None:
    with pytest.raises(StackError) as caught:
        proven(answer, **changes)
    assert caught.value.id == error_id
