"""Progress and causes from logs; the messages are those of the threads that are named beside them."""

from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._image import build_log

# BuildKit's plain progress as docker 26.1.5 with buildx 0.13.1 writes it.
RECORDED = """\
#0 building with "default" instance using docker driver

#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s

#4 [builder 1/5] FROM docker.io/nvidia/cuda:12.8.1-devel-ubuntu22.04@sha256:abc
#4 DONE 40.1s

#9 [builder 2/5] RUN dpkg --status build-essential
#9 0.332 Get:1 http://archive.ubuntu.com/ubuntu jammy InRelease [270 kB]
#9 DONE 3.3s

#10 [builder 3/5] RUN /build/toolchain.sh
#10 0.164 mistral-build: stage toolchain
#10 DONE 9.2s

#11 [builder 4/5] RUN /build/source.sh
#11 0.152 mistral-build: stage source
#11 DONE 0.3s

#12 [builder 5/5] RUN /build/compile.sh
#12 0.155 mistral-build: stage fetch
#12 0.244 mistral-build: crates 412
#12 0.245 mistral-build: stage compile
#12 0.262    Compiling proc-macro2 v1.0.95
#12 0.263    Compiling unicode-ident v1.0.18
#12 8.482    Compiling mistralrs-core v0.9.2 (/build/source/mistralrs-core)
""".splitlines()


@pytest.mark.parametrize(
    ("lines", "phase", "crates", "total"),
    [
        (0, "starting", 0, 0),
        (7, "pulling the base images", 0, 0),
        (10, "preparing the base", 0, 0),
        (14, "installing the Rust toolchain", 0, 0),
        (18, "fetching the source", 0, 0),
        (22, "fetching crates", 0, 0),
        (24, "compiling", 0, 412),
        (99, "compiling", 3, 412),
    ],
)
def test_progress(lines: int, phase: str, crates: int, total: int) -> None:
    assert build_log.progress(RECORDED[:lines]) == (phase, crates, total)


def test_progress_to_the_end() -> None:
    end = ["#12 9.0 mistral-build: stage install", "#16 exporting to image"]
    assert build_log.progress([*RECORDED, end[0]]).phase == "installing"
    assert build_log.progress([*RECORDED, *end]).phase == "writing the image"


SUMMARY = [
    '#12 ERROR: process "/bin/bash -euo pipefail -c CUDA_COMPUTE_CAP=89 /build/compile.sh" did not complete '
    "successfully: exit code: 101",
    "------",
    " > [builder 5/5] RUN /build/compile.sh:",
    "9.1 warning: build failed, waiting for other jobs to finish...",
    "------",
    "ERROR: failed to solve: process did not complete successfully: exit code: 101",
]


def diagnosed(*texts: str) -> str:
    lines = [*RECORDED, *(f"#12 9.{number} {text}" for number, text in enumerate(texts)), *SUMMARY]
    return str(build_log.diagnose(lines, "b1", "/var/lib/mistral/builds/x/log", 4))


@pytest.mark.parametrize(
    ("text", "error_id"),
    [
        # 866, pull request 944
        ("  CUDA_COMPUTE_CAP env var not specified and `nvidia-smi` was not found", "build_no_compute_capability"),
        ("  nvidia-smi not found", "build_no_compute_capability"),
        ("  Failed to get compute cap: nvidia-smi exited with 9", "build_no_compute_capability"),
        # 893
        ("  called `Result::unwrap()` on an `Err` value: Failed to execute `nvcc`", "build_no_nvcc"),
        # 1126
        (
            "  /usr/bin/ld: libflashattention.a(flash.o): relocation R_X86_64_32 against `.bss' can not be used when "
            "making a PIE object; recompile with -fPIE",
            "build_not_position_independent",
        ),
        ("  Unsupported cuda toolkit version: `13040`. Please raise a github issue.", "build_cuda_unsupported"),
        # 2292
        (
            "  /root/cutlass/include/cute/arch/mma.hpp(96): error: namespace has no member",
            "build_cutlass",
        ),
        ("  process didn't exit successfully: `/build/target/x` (signal: 9, SIGKILL: kill)", "build_out_of_memory"),
        ("  nvcc error   : 'cicc' died due to signal 9 (Kill signal)", "build_out_of_memory"),
        # 2092
        ("  ptxas fatal   : Unresolved extern function '_Z5__habRK13__nv_bfloat16'", "build_gpu_too_old"),
        # Said by nvcc 13.3, by 12.4 to -gencode, and by 12.4 to -arch.
        ("  nvcc fatal   : Unsupported gpu architecture 'sm_130'", "build_capability_unsupported"),
        ("  nvcc fatal   : Unsupported gpu architecture 'compute_120'", "build_capability_unsupported"),
        (
            "  nvcc fatal   : Value 'sm_120' is not defined for option 'gpu-architecture'",
            "build_capability_unsupported",
        ),
        ("  fatal error: cudnn.h: No such file or directory", "build_no_cudnn"),
        ("  /usr/bin/ld: cannot find -lcudnn: No such file or directory", "build_no_cudnn"),
        ("  /usr/bin/ld: cannot find -lnccl: No such file or directory", "build_linker"),
        ("error: linking with `cc` failed: exit status: 1", "build_linker"),
        ("  error: failed to write /build/target/x.rlib: No space left on device (os error 28)", "build_disk_full"),
        ("fatal: unable to access 'https://github.com/EricLBuehler/candle.git/': Could not resolve host: github.com",
         "git_unreachable"),
        # git 2.47, asked by the build script of mistralrs-quant (0.9.2) or mistralrs-flash-attn; cudaforge 0.1.4 to it.
        ("  fatal: unable to access 'https://github.com/NVIDIA/cutlass.git/': Could not resolve host: github.com",
         "cutlass_unreachable"),
        ("  called `Result::unwrap()` on an `Err` value: GitOperationFailed(\"git clone failed with status: exit "
         "status: 128\")", "cutlass_unreachable"),
        # A proxy that re-signs is another matter.
        ("  fatal: unable to access 'https://github.com/NVIDIA/cutlass.git/': SSL certificate problem: self-signed "
         "certificate", "build_certificate"),
        # build.rs of utoipa-swagger-ui 9.0.2; cargo shows its output before its errors.
        ("  trying to download using `curl` system package", "swagger_ui_unreachable"),
        ("  failed to download Swagger UI: Custom { kind: Other, error: \"curl download file exited with error status: "
         "exit status: 6\" }", "swagger_ui_unreachable"),
        # build.rs of bindgen_cuda 0.1.6
        ("  nvcc cannot target gpu arch 120. Available nvcc targets are [50, 90].", "build_capability_unsupported"),
        ("  failed to download from `https://index.crates.io/config.json`", "crates_unreachable"),
        ("error: rustc 1.85.1 is not supported by the following packages:", "rust_too_old"),
        ("error: the lock file /build/source/Cargo.lock needs to be updated but --locked was passed", "lock_outdated"),
        ("curl: (60) SSL certificate problem: self-signed certificate in certificate chain", "build_certificate"),
        ("E: Unable to locate package libssl-dev", "packages_unreachable"),
        ("mistral-build: error git_unreachable https://example.org/x.git", "git_unreachable"),
        ("mistral-build: error commit_missing 1234", "commit_missing"),
        ("mistral-build: error toolchain_differs 1234 -", "toolchain_differs"),
        ("mistral-build: error crates_unreachable", "crates_unreachable"),
        ("mistral-build: error crate_unreachable https://example.org/x.crate", "crate_unreachable"),
        ("mistral-build: error crate_differs 1234", "crate_differs"),
        ("mistral-build: error mkl_missing", "build_no_mkl"),
        ("mistral-build: error archive_differs 1234", "archive_differs"),
        ("mistral-build: error swagger_ui_unreachable https://example.org/x.zip", "swagger_ui_unreachable"),
        ("mistral-build: error swagger_ui_differs 1234", "swagger_ui_differs"),
    ],
)  # fmt: skip
def test_causes(text: str, error_id: str) -> None:
    said = diagnosed("error: failed to run custom build command for `mistralrs-quant v0.9.2`", text)
    assert said.endswith(f"[image.{error_id}]")
    assert "\n" not in said


def test_a_moved_tag_is_told_in_full() -> None:
    said = diagnosed("mistral-build: error commit_differs v0.9.2 aaaa bbbb")
    assert "tag v0.9.2 of the git repository points to commit aaaa, not to bbbb" in said


def test_a_toolchain_that_is_too_old_says_both_versions() -> None:
    said = diagnosed("mistral-build: error rust_too_old 1.85.0 1.88")
    assert said.startswith(
        "The Rust toolchain is too old for the engine: it is 1.85.0, and the source needs 1.88 or newer"
    )
    assert "mistral_image_rust_toolchain: rustup" in said
    assert said.endswith("[image.rust_too_old]")


def test_swagger_ui_is_not_taken_for_git() -> None:
    # What cargo shows of utoipa-swagger-ui 9.0.2 without a network, in its order.
    said = diagnosed(
        "error: failed to run custom build command for `utoipa-swagger-ui v9.0.2`",
        "  --- stdout",
        "  SWAGGER_UI_DOWNLOAD_URL: https://github.com/swagger-api/swagger-ui/archive/refs/tags/v5.17.14.zip",
        "  trying to download using `curl` system package",
        "  --- stderr",
        "  curl: (6) Could not resolve host: github.com",
    )
    assert said.endswith("[image.swagger_ui_unreachable]")
    assert "mistral_image_swagger_ui_url" in said


def test_what_is_not_known_is_quoted() -> None:
    said = diagnosed("note: fine", "error[E0425]: cannot find value `x` in this scope.", "error: could not compile `a`")
    assert said.startswith(
        "The build of the engine's image failed: error[E0425]: cannot find value `x` in this scope. "
    )
    assert "/var/lib/mistral/builds/x/log on b1" in said


def test_a_command_without_a_word_leaves_buildkits() -> None:
    last = SUMMARY[-1].partition("solve: ")[2]
    assert f"failed: {last}. " in str(build_log.diagnose([*RECORDED, *SUMMARY], "b1", "l", 1))


def test_docker_itself_fails() -> None:
    lines = ["ERROR: failed to solve: dockerfile parse error on line 3: unknown instruction: FRO"]
    assert "dockerfile parse error on line 3" in str(build_log.diagnose(lines, "b1", "l", 1))
    lines = ["ERROR: failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF"]
    assert build_log.diagnose(lines, "b1", "l", 1).id == "image.docker_stopped"
    assert "said nothing" in str(build_log.diagnose([], "b1", "l", 1))


def test_the_disk_is_full_before_a_command_begins() -> None:
    # As Docker 28.5 said it; the command that it repeats names what would be another cause.
    full = "write /var/lib/docker/buildkit/executor/cb4lk9mv0/config.json: no space left on device"
    command = 'process "/bin/bash -c apt-get install x # E: Unable to locate" did not complete successfully'
    lines = [
        f"#8 ERROR: {command}: {full}",
        f"ERROR: failed to build: failed to solve: ResourceExhausted: {command}: {full}",
    ]
    for said in (lines, lines[1:]):
        assert f"ran full: {full}. Free" in str(build_log.diagnose([*RECORDED, *said], "b1", "l", 1))


def test_tail_has_what_commands_said() -> None:
    assert build_log.tail([*RECORDED, *SUMMARY], 1) == [
        "   Compiling mistralrs-core v0.9.2 (/build/source/mistralrs-core)"
    ]
