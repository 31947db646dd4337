# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the log of an image's build says: how far it is, and why it failed.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

The log is BuildKit's plain progress (C(#7 12.3 text) for a line of a command, C(#7 [builder 2/5] RUN ...) for a step).
The scripts in the role's C(files/image) add lines that begin with C(mistral-build:): C(stage NAME), C(crates COUNT) and
C(error NAME WORDS). Causes of failures: cargo's and nvcc's messages in the tracker of mistral.rs, by number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

OUT_OF_MEMORY = Fault(
    "image.build_out_of_memory",
    "The kernel ended a compiler, since the builder {host} ran out of memory: {line}.",
    "Set mistral_image_jobs lower than {jobs} (each CUDA compiler takes up to 5 GiB), or add memory or swap; what was "
    "compiled is kept.",
)
NO_COMPUTE_CAPABILITY = Fault(
    "image.build_no_compute_capability",
    "The engine's build does not know for which GPU it compiles: {line}.",
    "Set mistral_image_compute_capability, to 8.9 for example; there is no GPU to ask during a build.",
)
NO_NVCC = Fault(
    "image.build_no_nvcc",
    "The base image has no CUDA compiler: {line}.",
    "Set mistral_image_devel_base to one with the CUDA toolkit in /usr/local/cuda (nvidia/cuda:...-devel-...).",
)
CUDA_UNSUPPORTED = Fault(
    "image.build_cuda_unsupported",
    "The engine's source refuses the CUDA toolkit of the base image: {line}.",
    "Set mistral_image_cuda_version to a version that this engine supports, or to '' for the newest that fits.",
)
NO_CUDNN = Fault(
    "image.build_no_cudnn",
    "The base image has no cuDNN, which the feature cudnn needs: {line}.",
    "Take cudnn out of mistral_image_features, or use bases with it (nvidia/cuda:...-cudnn-devel-...).",
)
NO_MKL = Fault(
    "image.build_no_mkl",
    "The base image has no Intel MKL, which the feature mkl needs{line}.",
    "Take mkl out of mistral_image_features, or use a mistral_image_devel_base with its static libraries (the package "
    "libmkl-dev, or Intel's own in /opt/intel).",
)
NOT_POSITION_INDEPENDENT = Fault(
    "image.build_not_position_independent",
    "The linker of the base image requires position-independent code: {line}.",
    "Set mistral_image_nvcc_flags: -fPIE.",
)
GPU_TOO_OLD = Fault(
    "image.build_gpu_too_old",
    "The engine's kernels do not compile for this GPU: {line}.",
    "Versions from 0.8.0 on need compute capability 8.0; check mistral_image_compute_capability.",
)
CAPABILITY_UNSUPPORTED = Fault(
    "image.build_capability_unsupported",
    "The CUDA compiler of the base image does not compile for this GPU: {line}.",
    "A GPU that is newer than the compiler needs a newer mistral_image_cuda_version (or mistral_image_devel_base), one "
    "that is older an older one; check mistral_image_compute_capability.",
)
CUTLASS = Fault(
    "image.build_cutlass",
    "CUTLASS, on which the engine's kernels build, does not compile with this CUDA: {line}.",
    "Set mistral_image_cuda_version to an older one.",
)
CERTIFICATE = Fault(
    "image.build_certificate",
    "A server's certificate is not trusted inside the build: {line}.",
    "If the network re-signs TLS, add its authority to mistral_ca_certificates.",
)
GIT_UNREACHABLE = Fault(
    "image.git_unreachable",
    "The engine's source can't be fetched by git: {line}.",
    "Check the builder's network and proxy, or set mistral_image_git_url (mistral_image_git_mirrors for what the "
    "source itself fetches) to a mirror.",
)
TAG_MISSING = Fault(
    "image.tag_missing",
    "The git repository has no tag {line}.",
    "Check mistral_image_git_url and mistral_image_mistralrs_version; a mirror may be behind.",
)
COMMIT_MISSING = Fault(
    "image.commit_missing",
    "The git repository has no commit {line}.",
    "Check mistral_image_commit; a mirror may be behind.",
)
COMMIT_DIFFERS = Fault(
    "image.commit_differs",
    "The tag {tag} of the git repository points to commit {found}, not to {wanted}, so the source is not the one that "
    "this collection knows.",
    "Find out why it was moved, or who answers at mistral_image_git_url; to build it all the same, set "
    "mistral_image_commit to the commit that you have checked.",
)
ARCHIVE_DIFFERS = Fault(
    "image.archive_differs",
    "The source archive has another SHA-256 than mistral_image_archive_sha256: {line}.",
    "Check what mistral_image_archive_url serves, and correct the checksum only if that is what you want.",
)
ARCHIVE_UNREACHABLE = Fault(
    "image.archive_unreachable",
    "The source archive can't be fetched: {line}.",
    "Check mistral_image_archive_url and the builder's network.",
)
CRATE_DIFFERS = Fault(
    "image.crate_differs",
    "The engine's crate has another SHA-256 than the one that this collection knows: {line}.",
    "Check what mistral_image_crate_url serves; a published crate never changes.",
)
CRATE_UNREACHABLE = Fault(
    "image.crate_unreachable",
    "The engine's crate can't be fetched: {line}.",
    "Check the builder's network and proxy, or set mistral_image_crate_url to a mirror.",
)
SOURCE_INCOMPLETE = Fault(
    "image.source_incomplete",
    "The source has no Cargo.toml with a Cargo.lock{line}.",
    "Check mistral_image_git_url, mistral_image_archive_url or mistral_image_crate_url.",
)
SWAGGER_UI_DIFFERS = Fault(
    "image.swagger_ui_differs",
    "What was fetched as Swagger UI has another SHA-256 than version 5.17.14: {line}.",
    "Check what mistral_image_swagger_ui_url serves: the archive v5.17.14.zip, or the crate utoipa-swagger-ui-vendored "
    "0.1.2.",
)
SWAGGER_UI_UNREACHABLE = Fault(
    "image.swagger_ui_unreachable",
    "Swagger UI, which this version of the engine needs for its build, can't be fetched: {line}.",
    "Check the builder's network and proxy, or set mistral_image_swagger_ui_url to a mirror.",
)
CUTLASS_UNREACHABLE = Fault(
    "image.cutlass_unreachable",
    "CUTLASS, from which the engine's CUDA kernels are built, can't be fetched by git: {line}.",
    "Check the builder's network and proxy, or set mistral_image_git_mirrors for https://github.com/.",
)
CRATES_UNREACHABLE = Fault(
    "image.crates_unreachable",
    "The engine's dependencies can't be fetched: {line}.",
    "Check the builder's network and proxy, or set mistral_image_cargo_registry_url to a mirror of crates.io.",
)
TOOLCHAIN_UNREACHABLE = Fault(
    "image.toolchain_unreachable",
    "The Rust toolchain can't be fetched: {line}.",
    "Check the builder's network and proxy, set mistral_image_rustup_url and mistral_image_rust_server to a mirror, or "
    "mistral_image_rust_toolchain: distribution.",
)
TOOLCHAIN_DIFFERS = Fault(
    "image.toolchain_differs",
    "rustup-init has another SHA-256 than mistral_image_rustup_sha256: {line}.",
    "Check what mistral_image_rustup_url serves.",
)
RUST_TOO_OLD = Fault(
    "image.rust_too_old",
    "The Rust toolchain is too old for the engine: {line}.",
    "Set mistral_image_rust_toolchain: rustup, mistral_image_rust_version to a newer one, or mistral_image_devel_base "
    "to an image that has a newer cargo and rustc.",
)
LOCK_OUTDATED = Fault(
    "image.lock_outdated",
    "Cargo.lock of the source does not belong to its Cargo.toml: {line}.",
    "Build an unchanged version, or commit the lock file in your copy.",
)
PACKAGES_UNREACHABLE = Fault(
    "image.packages_unreachable",
    "Packages of the base image's distribution can't be fetched: {line}.",
    "Check the builder's network and proxy, or use bases that have what is needed (mistral_image_build_packages).",
)
LINKER = Fault(
    "image.build_linker",
    "The engine does not link: {line}.",
    "A library that a feature needs is missing in mistral_image_devel_base; add its package to "
    "mistral_image_build_packages or remove the feature from mistral_image_features.",
)
DISK_FULL = Fault(
    "image.build_disk_full",
    "The builder's disk ran full: {line}.",
    "Free some space ('docker buildx prune' removes what builds have kept), or move Docker's data-root to a bigger "
    "disk; what was compiled is kept.",
)
BASE_UNREACHABLE = Fault(
    "image.base_unreachable",
    "The base image can't be fetched: {line}.",
    "Check the builder's network and its login to the registry ('docker login'), or set the base to a mirror's.",
)
DOCKER_STOPPED = Fault(
    "image.docker_stopped",
    "Docker stopped during the build: {line}.",
    "See 'journalctl -u docker' on the builder, then run it again; what was compiled is kept.",
)
BUILD_FAILED = Fault(
    "image.compile_failed",
    "The build of the engine's image failed: {line}.",
    "The whole log is {log} on {host}.",
)

# The first line of the log that matches one of these is the cause.
_CAUSES: tuple[tuple[re.Pattern[str], Fault], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), fault)
    for pattern, fault in (
        (r"No space left on device|Disk quota exceeded|os error 28\b", DISK_FULL),
        (r"signal: 9\b|SIGKILL|signal 9 \(Kill|fatal error: Killed|cannot allocate memory", OUT_OF_MEMORY),
        (r"nvidia-smi`? (was )?not found|Failed to get compute cap|CUDA_COMPUTE_CAP.*(not|must)",
         NO_COMPUTE_CAPABILITY),
        (r"Unsupported cuda toolkit version", CUDA_UNSUPPORTED),
        (r"Unsupported gpu architecture|is not defined for option 'gpu-(architecture|code)'", CAPABILITY_UNSUPPORTED),
        # bindgen_cuda 0.1.5 and 0.1.6, which ask nvcc what it knows.
        (r"nvcc cannot target gpu arch|is higher than the highest gpu code from nvcc", CAPABILITY_UNSUPPORTED),
        (r"Failed to execute `?nvcc|nvcc`?: (command )?not found|Cannot find compiler 'nvcc'", NO_NVCC),
        (r"cudnn\S*: No such file|cannot find -l:?(lib)?cudnn|Unable to find.*cudnn", NO_CUDNN),
        (r"recompile with -f(PIE|PIC)", NOT_POSITION_INDEPENDENT),
        (r"Unresolved extern function.*bfloat16", GPU_TOO_OLD),
        (r"cutlass\S*\.(h|hpp|cuh)\S* ?.*error\b", CUTLASS),
        (r"certificate verify failed|self[- ]signed certificate|unable to get local issuer|SSL certificate problem",
         CERTIFICATE),
        # Printed by the build script of utoipa-swagger-ui 9.0.2 before curl says what is wrong.
        (r"trying to download using `curl` system package|failed to download Swagger UI", SWAGGER_UI_UNREACHABLE),
        # git's own words, and those of cudaforge 0.1.4, which clones it.
        (r"unable to access 'https?://\S*cutlass|GitOperationFailed|Git operation failed", CUTLASS_UNREACHABLE),
        (r"(failed to (download|fetch|get|query)|could not resolve host|spurious network error).*"
         r"(crates\.io|registry|replaced source)", CRATES_UNREACHABLE),
        (r"could not (download|fetch).*(rustup|channel-rust)|error downloading.*dist/", TOOLCHAIN_UNREACHABLE),
        (r"unable to access 'https?://|Could not read from remote repository|could not resolve host: \S*git",
         GIT_UNREACHABLE),
        (r"requires rustc \d|is not supported by the following package|rustc \S+ is not supported", RUST_TOO_OLD),
        (r"lock file.*(needs to be updated|--locked)|cannot update the lock file", LOCK_OUTDATED),
        (r"E: (Failed to fetch|Unable to locate|The repository)|Temporary failure resolving|"
         r"Cannot find a valid baseurl|Failed to download metadata for repo", PACKAGES_UNREACHABLE),
        (r"cannot find -l|linking with .* failed|ld returned \d|undefined reference to", LINKER),
        (r"failed to resolve source metadata|pull access denied|manifest unknown|failed to do request",
         BASE_UNREACHABLE),
        (r"rpc error: code = (Unavailable|Canceled)|transport is closing|Cannot connect to the Docker daemon|"
         r"error reading from server: EOF", DOCKER_STOPPED),
    )
)  # fmt: skip
_OWN: dict[str, Fault] = {
    "git_unreachable": GIT_UNREACHABLE,
    "tag_missing": TAG_MISSING,
    "commit_missing": COMMIT_MISSING,
    "archive_differs": ARCHIVE_DIFFERS,
    "archive_unreachable": ARCHIVE_UNREACHABLE,
    "crate_differs": CRATE_DIFFERS,
    "crate_unreachable": CRATE_UNREACHABLE,
    "mkl_missing": NO_MKL,
    "swagger_ui_differs": SWAGGER_UI_DIFFERS,
    "swagger_ui_unreachable": SWAGGER_UI_UNREACHABLE,
    "source_incomplete": SOURCE_INCOMPLETE,
    "crates_unreachable": CRATES_UNREACHABLE,
    "toolchain_unreachable": TOOLCHAIN_UNREACHABLE,
    "toolchain_differs": TOOLCHAIN_DIFFERS,
}
_GENERIC = re.compile(r"(error(\[E\d+\])?:|E:|fatal:|thread '.*' panicked at|.*\berror:)\s*\S")
_TIMED = re.compile(r"#\d+ \d+\.\d+ (.*)")
_STEP = re.compile(r"#\d+ \[(?:(?P<stage>\S+) )?(?P<step>\d+/\d+)\] (?P<what>\S+)")
_PROCESS = re.compile(r'process ".*" did not complete successfully: ')
_BUILDKIT = re.compile(r"(?P<step>#\d+ )?ERROR: (failed to (build|solve): )*(ResourceExhausted: )?")
_COMPILING = re.compile(r"\s*Compiling (\S+) v")
_STAGES = {
    "toolchain": "installing the Rust toolchain",
    "source": "fetching the source",
    "fetch": "fetching crates",
    "compile": "compiling",
    "install": "installing",
}
_MARK = "mistral-build: "
_LONGEST = 300


class Progress(NamedTuple):
    """How far a build is: its phase in words, crates compiled and an upper bound of them (0: not known yet)."""

    phase: str
    crates: int
    crates_total: int

    def as_data(self) -> dict[str, Any]:
        return dict(self._asdict())


def text_of(line: str) -> str:
    """A line of a command without BuildKit's number and time; other lines as they are."""
    match = _TIMED.match(line)
    return match.group(1) if match else line


def progress(lines: Iterable[str]) -> Progress:
    """How far the build is whose log has these lines so far."""
    phase, total = "starting", 0
    crates: set[str] = set()
    for line in lines:
        text = text_of(line.rstrip())
        step = _STEP.match(text)
        if text.startswith(_MARK):
            kind, _space, rest = text[len(_MARK) :].partition(" ")
            if kind == "stage":
                phase = _STAGES.get(rest, rest)
            elif kind == "crates" and rest.isdigit():
                total = int(rest)
        elif step:
            if step["what"] == "FROM":
                phase = "pulling the base images" if phase == "starting" else phase
            elif step["step"].startswith("2/") and phase in ("starting", "pulling the base images"):
                phase = "preparing the base"
        elif "exporting to image" in text:
            phase = "writing the image"
        else:
            compiling = _COMPILING.match(text)
            if compiling:
                crates.add(text.split("Compiling ", 1)[1])
    return Progress(phase, len(crates), max(total, len(crates)) if total else 0)


def _short(line: str) -> str:
    """A line for quoting: no escape sequences, no full stop at its end, not too long."""
    clean = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", line).split()).rstrip(".: ")
    return clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]} ..."


def _own_error(text: str) -> StackError | None:
    name, _space, words = text[len(f"{_MARK}error ") :].partition(" ")
    if name == "commit_differs":
        tag, found, wanted = ([*words.split(" "), "", "", ""])[:3]
        return StackError(COMMIT_DIFFERS, tag=tag or "(none)", found=found, wanted=wanted)
    if name == "rust_too_old":
        found, wanted = ([*words.split(" "), "", ""])[:2]
        return StackError(RUST_TOO_OLD, line=f"it is {found}, and the source needs {wanted} or newer")
    fault = _OWN.get(name)
    return StackError(fault, line=_short(words)) if fault else None


def diagnose(lines: Iterable[str], host: str, log: str, jobs: int) -> StackError:
    """Why the build failed whose whole log these lines are.

    C(host), C(log) (the path there) and C(jobs) are what the remedies name. What isn't known is quoted: the first line
    of a command that says error, else BuildKit's last words.
    """
    quoted, last = "", ""
    outer = {"host": host, "log": log, "jobs": jobs}
    for line, text in _texts(lines):
        marked = _own_error(text) if text.startswith(f"{_MARK}error ") else None
        if marked:
            return marked
        is_own = line is text
        if is_own:
            # Of BuildKit's own lines those count that tell of an error; some of them repeat the whole command.
            tells = _BUILDKIT.match(text)
            if not tells:
                continue
            text = _PROCESS.sub("", text[tells.end() :])
            last = last if tells["step"] else text
        for pattern, fault in _CAUSES:
            if pattern.search(text):
                return StackError(fault, line=_short(text), **outer)
        if not quoted and not is_own and _GENERIC.match(text):
            quoted = text
    return StackError(BUILD_FAILED, line=_short(quoted or last or "docker build said nothing"), **outer)


def _texts(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        stripped = line.rstrip("\n")
        match = _TIMED.match(stripped)
        yield (stripped, match.group(1)) if match else (stripped, stripped)


def tail(lines: Iterable[str], count: int) -> list[str]:
    """The last lines of the commands, without BuildKit's own."""
    return [text for line, text in _texts(lines) if line is not text and text.strip()][-count:]
