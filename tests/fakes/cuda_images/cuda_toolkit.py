#!/usr/bin/env python3
"""Makes a folder with NVIDIA's CUDA toolkit from PyPI, from which Docker builds bases like NVIDIA's images.

    cuda_toolkit.py REQUIREMENTS FOLDER

The wheels have everything below nvidia/cu13, with the libraries in lib and no unversioned names to link with. What
NVIDIA's images have besides is made here: lib64, these names, and a stub of libcuda to link with in lib64/stubs (its
functions are those of the toolkit's own cuda.h, and fail). The runtime base gets the libraries of the toolkit that the
engine links, and no others: libcuda comes from the driver.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

# What tests/recordings/mistralrs-0.8.1-cuda/ldd.txt names, but libcuda. An unoptimised build links libnvrtc too, which
# NVIDIA's runtime images have with the others (package cuda-libraries-13-0).
RUNTIME = ("libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10", "libnvrtc.so.13")
DEVEL = """\
FROM stand-in/cuda:devel
RUN rm -rf /usr/local/cuda
COPY nvidia/cu13/ /usr/local/cuda/
# As in NVIDIA's images.
ENV PATH=/usr/local/cuda/bin:$PATH LIBRARY_PATH=/usr/local/cuda/lib64/stubs
"""
RUNTIME_BASE = f"""\
FROM stand-in/cuda:runtime
COPY {" ".join(f"nvidia/cu13/lib/{name}" for name in RUNTIME)} /usr/local/cuda/lib64/
RUN echo /usr/local/cuda/lib64 >/etc/ld.so.conf.d/cuda.conf && ldconfig
"""
# CUDA_ERROR_NO_DEVICE: what the driver's own library answers on a host without a GPU.
NO_DEVICE = 100


def names(header: str) -> list[str]:
    """The functions of the driver's library: those that cuda.h declares, and the versions that it maps them to."""
    declared = re.findall(r"CUDAAPI\s+(cu\w+)\s*\(", header)
    mapped = re.findall(r"^\s*#define\s+cu\w+\s+(cu\w+_v\d+)\s*$", header, re.MULTILINE)
    return sorted({*declared, *mapped})


def stub(header: Path, folder: Path) -> None:
    """Compile the stub of libcuda."""
    functions = names(header.read_text(encoding="utf-8"))
    assert "cuInit" in functions, f"{header} declares no cuInit"
    folder.mkdir()
    source = folder / "cuda.c"
    source.write_text("".join(f"int {name}(void) {{ return {NO_DEVICE}; }}\n" for name in functions))
    library = folder / "libcuda.so.1"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{library.name}", "-o", str(library), str(source)], check=True
    )
    (folder / "libcuda.so").symlink_to(library.name)


def make(requirements: Path, folder: Path) -> None:
    """Make the folder, whole or not at all."""
    if folder.exists():
        return
    staged = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(staged, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run(
        [*pip, "--no-deps", "--require-hashes", "--target", str(staged), "-r", str(requirements)], check=True
    )
    toolkit = staged / "nvidia" / "cu13"
    libraries = toolkit / "lib"
    for path in sorted(libraries.glob("lib*.so.*")):
        link = libraries / f"{path.name.partition('.so.')[0]}.so"
        if not link.is_symlink():
            link.symlink_to(path.name)
    (toolkit / "lib64").symlink_to("lib")
    stub(toolkit / "include" / "cuda.h", libraries / "stubs")
    (staged / "Dockerfile.devel").write_text(DEVEL)
    (staged / "Dockerfile.runtime").write_text(RUNTIME_BASE)
    staged.rename(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
