"""Builds NVIDIA Container Toolkit from its Go module, and the stand-ins of the driver's libraries, without GPUs.

Usage: toolkit.py. Prints where they are. They are kept below ${XDG_CACHE_HOME:-~/.cache}/mistralrs-stack, named by a
hash of all that goes into them, so only the first run on a machine compiles (some 50 s a version on two cores). Needs
Go and a C compiler; exit code 3 says that they are missing, too old, or that their programs would not run on Debian 13.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

MODULE = "github.com/NVIDIA/nvidia-container-toolkit"
# The oldest that the role installs, the first with the service that can be had, and the role's own.
VERSIONS = ("1.17.8", "1.19.1", "1.20.0")
# What their go.mod asks for.
GO = (1, 25)
PROGRAMS = ("nvidia-ctk", "nvidia-cdi-hook", "nvidia-container-runtime", "nvidia-container-runtime-hook")
# As in the module's Makefile; without the version they call themselves "unknown".
LINKER = (
    "-s -w '-extldflags=-Wl,--export-dynamic -Wl,--unresolved-symbols=ignore-in-object-files -Wl,-z,lazy'"
    f" -X {MODULE}/internal/info.version="
)
SOURCES = Path(__file__).resolve().parents[2] / "gpu" / "driver"
DRIVER = "590.44.01"
# Made of: its name in the driver and what it is linked as.
LIBRARIES = {"nvml.c": "libnvidia-ml.so", "cuda.c": "libcuda.so"}
NEWEST_LIBC = (2, 41)


class CannotBuild(Exception):
    """There is no toolchain that fits."""


def kept(name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """The folder that C(make) has filled, once for each recipe on a machine."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mistralrs-stack"
    folder = root / f"{name}-{hashlib.sha256(f'{platform.machine()} {recipe}'.encode()).hexdigest()[:16]}"
    if not folder.exists():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{name}-") as place:
            made = Path(place) / "made"
            made.mkdir()
            make(made)
            try:
                made.rename(folder)
            except OSError:
                # Another run was faster.
                if not folder.exists():
                    raise
    return folder


def run(*command: str, **environment: str) -> str:
    everything = {**os.environ, **environment}
    here = tempfile.gettempdir()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=everything, cwd=here)
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in re.findall(r"\d+", text)[:2])


def check_toolchain() -> None:
    if os.environ.get("TOOLKIT_TOOLCHAIN") == "none":
        raise CannotBuild("switched off by TOOLKIT_TOOLCHAIN")
    missing = [name for name in ("go", "cc") if shutil.which(name) is None]
    if missing:
        raise CannotBuild(f"there is no {' and no '.join(missing)}")
    if numbers(run("go", "env", "GOVERSION")) < GO and run("go", "env", "GOTOOLCHAIN").strip() == "local":
        raise CannotBuild(f"Go is older than {'.'.join(map(str, GO))} and may fetch no newer one")
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None
    if not libc or numbers(libc) > NEWEST_LIBC:
        raise CannotBuild(f"what is linked with {libc or 'this C library'} does not start on Debian 13")


def make_toolkit(folder: Path, version: str) -> None:
    check_toolchain()
    source = Path(json.loads(run("go", "mod", "download", "-json", f"{MODULE}@v{version}"))["Dir"])
    targets = [f"{MODULE}/cmd/{name}@v{version}" for name in PROGRAMS]
    run("go", "install", "-ldflags", LINKER + version, *targets, GOBIN=str(folder / "bin"))
    for name in ("packaging/debian", "deployments/systemd"):
        if (source / name).exists():
            shutil.copytree(source / name, folder / name)
    # Modules lie read-only in Go's cache.
    run("chmod", "-R", "u+w", str(folder))


def toolkit(version: str) -> Path:
    """bin/, packaging/debian/ and, where the version has units, deployments/systemd/."""
    recipe = " ".join((MODULE, version, LINKER, *PROGRAMS))
    return kept(f"nvidia-container-toolkit-{version}", recipe, lambda folder: make_toolkit(folder, version))


def make_driver(folder: Path) -> None:
    check_toolchain()
    flags = ("-Wall", "-Wextra", "-Werror", "-O1", f'-DDRIVER="{DRIVER}"', f'-DLIBRARY="{DRIVER.rpartition(".")[0]}"')
    for source, library in LIBRARIES.items():
        shared = ("-shared", "-fPIC", f"-Wl,-soname,{library}.1")
        run("cc", *flags, *shared, str(SOURCES / source), "-o", str(folder / f"{library}.{DRIVER}"))
    run("cc", *flags, str(SOURCES / "nvidia-smi.c"), "-o", str(folder / "nvidia-smi"), "-ldl")


def driver() -> Path:
    """The libraries of the driver and nvidia-smi."""
    recipe = " ".join([DRIVER, *(path.read_text() for path in sorted(SOURCES.glob("*.c")))])
    return kept("nvidia-driver", recipe, make_driver)


def main() -> None:
    try:
        for folder in (driver(), *map(toolkit, VERSIONS)):
            print(folder)
    except CannotBuild as reason:
        print(f"The toolkit cannot be built here: {reason}.", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main()
