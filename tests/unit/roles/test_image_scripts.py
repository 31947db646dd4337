"""The scripts that run inside an image's build, run here: real bash, curl, tar and git, with a stand-in for cargo.

The layout of a crate (one folder, Cargo.toml beside Cargo.lock) and the lines of these two are those of mistralrs-cli
0.8.1 and, for a workspace, of mistral.rs v0.7.0.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import os
import re
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "roles" / "mistral_image" / "files" / "image"
# Cargo as the scripts use it: writes down how it is called, keeps a build script's folder as cargo does.
CARGO = r"""#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case $1 in
tree) printf 'mistralrs-cli v0.8.1 (/build/source)\nhalf v2.6.0\nhalf v2.6.0 (*)\n' ;;
build)
    env | grep -E '^(SWAGGER_UI_DOWNLOAD_URL|CUDA_|RUSTFLAGS)' | sort >>"$CALLS"
    mkdir -p "$CARGO_TARGET_DIR/release"
    for name in build .fingerprint; do
        mkdir -p "$CARGO_TARGET_DIR/release/$name/mistralrs-quant-0123" "$CARGO_TARGET_DIR/release/$name/half-4567"
    done
    echo 'an engine' >"$CARGO_TARGET_DIR/release/$BINARY"
    ;;
esac
"""
LOCK = """version = 4

[[package]]
name = "half"
version = "2.6.0"
source = "registry+https://github.com/rust-lang/crates.io-index"

[[package]]
name = "mistralrs-quant"
version = "0.7.0"
dependencies = [
 "half",
]
"""
SWAGGER = """
[[package]]
name = "utoipa-swagger-ui"
version = "9.0.2"
source = "registry+https://github.com/rust-lang/crates.io-index"
"""
VENDORED = SWAGGER.replace("utoipa-swagger-ui", "utoipa-swagger-ui-vendored").replace("9.0.2", "0.1.2")


def packed(files: dict[str, bytes]) -> bytes:
    """Files as a crate has them: a gzipped tar archive, the same bytes each time."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return gzip.compress(target.getvalue(), mtime=0)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Bed(NamedTuple):
    """A builder: C(root) takes the place of /, and what lies in C(served) is at C(url)."""

    root: Path
    served: Path
    url: str

    def run(self, name: str, **environment: str) -> tuple[int, str]:
        """Run a script; its exit status and what it said."""
        script = self.root / name
        text = (SCRIPTS / name).read_text()
        script.write_text(re.sub(r"(?<!\w)(/build/|/out/|/run/secrets/)", rf"{self.root}\1", text))
        done = subprocess.run(
            ["bash", str(script)],
            env={
                "PATH": f"{self.root}/bin:{os.environ['PATH']}",
                "HOME": str(self.root),
                "CALLS": str(self.root / "calls"),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def compile(self, **environment: str) -> tuple[int, str, list[str]]:
        """Run compile.sh; besides, how it called cargo."""
        calls = self.root / "calls"
        calls.unlink(missing_ok=True)
        plain = {
            "PACKAGE": "mistralrs-cli",
            "BINARY": "mistralrs",
            "FEATURES": "",
            "DEFAULT_FEATURES": "true",
            "CUDA_COMPUTE_CAP": "",
            "CUDA_NVCC_FLAGS": "",
            "RUSTFLAGS": "-C target-cpu=generic",
            "THREADS_VARIABLE": "CUDAFORGE_THREADS",
            "CARGO_PROFILE": "",
            "SWAGGER_UI_SHA256": "",
            "JOBS": "2",
            "THREADS": "2",
        }
        status, said = self.run("compile.sh", **{**plain, **environment})
        return status, said, calls.read_text().splitlines() if calls.exists() else []

    def source(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / "build" / "source" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    served = tmp_path / "served"
    for folder in (served, tmp_path / "build" / "target", tmp_path / "bin"):
        folder.mkdir(parents=True)
    for name, text in (("cargo", CARGO), ("rustc", "#!/bin/sh\necho 'rustc 1.88.0 (6b00bc388 2025-06-23)'\n")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Bed(tmp_path, served, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


CRATE = packed(
    {
        "mistralrs-cli-0.8.1/Cargo.toml": b'[package]\nrust-version = "1.88"\nname = "mistralrs-cli"\n',
        "mistralrs-cli-0.8.1/Cargo.lock": LOCK.encode(),
        "mistralrs-cli-0.8.1/src/main.rs": b"fn main() {}\n",
    }
)


def from_crate(url: str, digest: str) -> dict[str, str]:
    return {
        "SOURCE_KIND": "crate",
        "SOURCE_ARCHIVE": url,
        "SOURCE_SHA256": digest,
        "SOURCE_COMMIT": "",
        "SOURCE_TAG": "",
    }


def test_a_crate_is_source(bed: Bed) -> None:
    (bed.served / "x.crate").write_bytes(CRATE)
    status, said = bed.run("source.sh", **from_crate(f"{bed.url}/x.crate", sha256(CRATE)))
    assert status == 0, said
    main = bed.root / "build" / "source" / "src" / "main.rs"
    assert main.read_text() == "fn main() {}\n"
    assert main.stat().st_mtime == 1


@pytest.mark.parametrize(
    ("kind", "name", "digest", "error"),
    [
        ("crate", "x.crate", "0" * 64, "crate_differs"),
        ("crate", "y.crate", sha256(CRATE), "crate_unreachable"),
        ("archive", "x.crate", "0" * 64, "archive_differs"),
        ("archive", "y.crate", sha256(CRATE), "archive_unreachable"),
    ],
)
def test_source_that_is_not_the_one(bed: Bed, kind: str, name: str, digest: str, error: str) -> None:
    (bed.served / "x.crate").write_bytes(CRATE)
    status, said = bed.run("source.sh", **{**from_crate(f"{bed.url}/{name}", digest), "SOURCE_KIND": kind})
    assert status == 1
    assert f"mistral-build: error {error} " in said


def test_a_crate_without_a_lock_file(bed: Bed) -> None:
    crate = packed({"x-1.0.0/Cargo.toml": b"[package]\n"})
    (bed.served / "x.crate").write_bytes(crate)
    status, said = bed.run("source.sh", **from_crate(f"{bed.url}/x.crate", sha256(crate)))
    assert (status, said.splitlines()[-1]) == (1, "mistral-build: error source_incomplete")


SOURCE = {
    "Cargo.toml": '[workspace]\nmembers = ["mistralrs-quant"]\n[workspace.package]\nrust-version = "1.88"\n',
    "Cargo.lock": LOCK,
    "mistralrs-quant/src/lib.rs": "// 1\n",
    "mistralrs-quant/kernels/ops/ops.cu": "// 1\n",
    "mistralrs-quant/kernels/ops/ops.cuh": "// 1\n",
}


def test_what_cargo_is_asked_for(bed: Bed) -> None:
    bed.source(SOURCE)
    profile = 'profile.release.lto="off" profile.release.package."*".opt-level=1'
    status, said, calls = bed.compile(DEFAULT_FEATURES="false", CARGO_PROFILE=profile)
    assert status == 0, said
    wanted = "--locked --package mistralrs-cli --features  --no-default-features"
    assert calls == [
        "fetch --locked",
        f"tree --offline --prefix none --edges normal,build {wanted}",
        'build --release --offline --bin mistralrs --jobs 2 --config profile.release.lto="off" '
        f'--config profile.release.package."*".opt-level=1 {wanted}',
        # An empty variable of CUDA is none.
        "RUSTFLAGS=-C target-cpu=generic",
    ]
    assert "mistral-build: crates 2" in said
    out = bed.root / "out" / "usr"
    assert (out / "local/bin/mistralrs").read_text() == "an engine\n"
    assert (out / "share/mistralrs/Cargo.lock").read_text() == LOCK
    # A crate brings no license file.
    assert not (out / "share/mistralrs/LICENSE").exists()


@pytest.mark.parametrize(
    ("rustc", "status"),
    [("1.85.0", 1), ("1.88.0", 0), ("1.88.0-nightly", 0), ("1.100.0", 0), ("1.9.0", 1)],
)
def test_a_toolchain_that_is_too_old(bed: Bed, rustc: str, status: int) -> None:
    bed.source(SOURCE)
    (bed.root / "bin" / "rustc").write_text(f"#!/bin/sh\necho 'rustc {rustc} (4d91de4e4 2025-02-17)'\n")
    ended, said, calls = bed.compile()
    assert ended == status
    assert (f"mistral-build: error rust_too_old {rustc} 1.88" in said) == (status == 1)
    # Nothing was fetched for it.
    assert bool(calls) == (status == 0)


@pytest.mark.parametrize("features", ["mkl", "ring,mkl"])
def test_mkl_is_not_fetched_by_the_build(bed: Bed, features: str) -> None:
    bed.source(SOURCE)
    # Neither is this machine's.
    (bed.root / "bin" / "pkg-config").write_text("#!/bin/sh\nexit 1\n")
    (bed.root / "bin" / "pkg-config").chmod(0o755)
    place = bed.root / "opt"
    status, said, calls = bed.compile(FEATURES=features, MKLROOT=str(place))
    assert (status, said.splitlines()[-1], calls) == (1, "mistral-build: error mkl_missing", [])
    library = place / "lib" / "libmkl_core.a"
    library.parent.mkdir(parents=True)
    library.touch()
    assert bed.compile(FEATURES=features, MKLROOT=str(place))[0] == 0


def kept(bed: Bed, name: str) -> set[str]:
    return {path.name for path in (bed.root / "build" / "target" / "release" / name).iterdir()}


@pytest.mark.parametrize(
    ("changed", "forgotten", "compiled_again"),
    [
        ({}, False, False),
        ({"mistralrs-quant/src/lib.rs": "// 2\n"}, True, False),
        # bindgen_cuda up to 0.7.0 compares times, which are all the same here.
        ({"mistralrs-quant/kernels/ops/ops.cu": "// 2\n"}, True, True),
        # cudaforge 0.1.4 doesn't look at what a kernel includes.
        ({"mistralrs-quant/kernels/ops/ops.cuh": "// 2\n"}, True, True),
        # The flags of nvcc are there.
        ({"mistralrs-quant/build.rs": "// 2\n"}, True, True),
    ],
)
def test_what_was_compiled_from_other_source_is_forgotten(
    bed: Bed, changed: dict[str, str], forgotten: bool, compiled_again: bool
) -> None:
    bed.source(SOURCE)
    assert bed.compile()[0] == 0
    assert kept(bed, "build") == kept(bed, ".fingerprint") == {"mistralrs-quant-0123", "half-4567"}
    # The stand-in for cargo would make them again.
    (bed.root / "bin" / "cargo").write_text("#!/bin/sh\n")
    bed.source(changed)
    assert bed.compile()[0] == 0
    assert ("mistralrs-quant-0123" not in kept(bed, ".fingerprint")) == forgotten
    assert ("mistralrs-quant-0123" not in kept(bed, "build")) == compiled_again
    assert "half-4567" in kept(bed, ".fingerprint") & kept(bed, "build")


@pytest.mark.parametrize(
    ("called", "ended", "whole"),
    # The first is how cargo 1.95 leaves one that came to its end; killed in its first run, and in a later one.
    [(20, 20, True), (20, None, False), (20, 10, False)],
)
def test_half_a_library_is_not_taken_for_a_whole_one(bed: Bed, called: int, ended: int | None, whole: bool) -> None:
    bed.source(SOURCE)
    assert bed.compile()[0] == 0
    run = bed.root / "build" / "target" / "release" / "build" / "candle-kernels-89ab"
    (run / "out").mkdir(parents=True)
    library, kernel = run / "out" / "libmistralrsquant.a", run / "out" / "ops-1234.o"
    for path, time in ((library, 30), (kernel, 30), (run / "invoked.timestamp", called), (run / "output", ended)):
        if time is not None:
            path.touch()
            os.utime(path, (time, time))
    assert bed.compile()[0] == 0
    assert library.exists() == whole
    # cudaforge knows by itself which of these are whole.
    assert kernel.exists()


def archive() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as files:
        files.writestr("swagger-ui-5.17.14/dist/swagger-initializer.js", "url: x\n")
    return target.getvalue()


ZIP = archive()
# As utoipa-swagger-ui-vendored 0.1.2 has it.
CARRIER = packed(
    {
        "utoipa-swagger-ui-vendored-0.1.2/src/lib.rs": b"",
        "utoipa-swagger-ui-vendored-0.1.2/res/v5.17.14.zip": ZIP,
    }
)


@pytest.mark.parametrize("served", [ZIP, CARRIER], ids=["archive", "crate"])
def test_swagger_ui_is_handed_over_as_a_file(bed: Bed, served: bytes) -> None:
    bed.source({**SOURCE, "Cargo.lock": LOCK + SWAGGER})
    (bed.served / "ui").write_bytes(served)
    status, said, calls = bed.compile(SWAGGER_UI_SHA256=sha256(ZIP), SWAGGER_UI_URL=f"{bed.url}/ui")
    assert status == 0, said
    given = bed.root / "build" / "target" / "swagger-ui.zip"
    assert f"SWAGGER_UI_DOWNLOAD_URL=file://{given}" in calls
    assert given.read_bytes() == ZIP
    # It is fetched once.
    (bed.served / "ui").unlink()
    assert bed.compile(SWAGGER_UI_SHA256=sha256(ZIP), SWAGGER_UI_URL=f"{bed.url}/ui")[0] == 0


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("ui", b"<html>sign in</html>", "swagger_ui_differs"),
        ("ui", packed({"x-1.0.0/res/x.zip": b"another"}), "swagger_ui_differs"),
        ("ui", packed({"x-1.0.0/README.md": b""}), "swagger_ui_differs"),
        ("other", ZIP, "swagger_ui_unreachable"),
    ],
)
def test_swagger_ui_that_is_not_the_one(bed: Bed, name: str, content: bytes, error: str) -> None:
    bed.source({**SOURCE, "Cargo.lock": LOCK + SWAGGER})
    (bed.served / name).write_bytes(content)
    status, said, calls = bed.compile(SWAGGER_UI_SHA256=sha256(ZIP), SWAGGER_UI_URL=f"{bed.url}/ui")
    assert status == 1
    assert f"mistral-build: error {error} " in said
    # What was fetched before isn't compiled with.
    assert calls == ["fetch --locked"]


def test_swagger_ui_that_the_source_brings(bed: Bed) -> None:
    bed.source({**SOURCE, "Cargo.lock": LOCK + SWAGGER + VENDORED})
    status, said, calls = bed.compile()
    assert status == 0, said
    assert not [call for call in calls if "SWAGGER_UI" in call]
