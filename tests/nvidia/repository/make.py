"""Imitates NVIDIA's apt repository of the container toolkit: packages of the same names in several versions, signed.

Usage: make.py DIRECTORY. Makes stable/deb/<architecture>/ as nvidia.github.io/libnvidia-container has it, gpgkey, and
beside them `fingerprint` (of a key made for this once), `other-key` (a key that has signed nothing) and
`repository.tar` (all that a host needs of it). Needs dpkg-deb and gpg.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

FILES = Path(__file__).resolve().parent / "files"
# Version -> version of the CDI specifications that it writes. From 1.18 on, a unit makes them.
VERSIONS = {"1.17.4": "0.6.0", "1.19.1": "0.7.0", "1.20.0": "0.7.0"}
WITHOUT_UNIT = ("1.17.4",)
NAMES = {
    "nvidia-container-toolkit": "nvidia-container-toolkit-base (= {version}), libnvidia-container-tools (= {version})",
    "nvidia-container-toolkit-base": "",
    "libnvidia-container-tools": "libnvidia-container1 (= {version})",
    "libnvidia-container1": "",
}
POSTINST = """#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --now nvidia-cdi-refresh.service || true
fi
"""


def run(*command: str, **options: object) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(command)}: {done.stderr.strip()}")
    return str(done.stdout)


def install(tree: Path, name: str, target: str, mode: int, version: str, schema: str) -> None:
    path = tree / target
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((FILES / name).read_text().replace("@VERSION@", version).replace("@SCHEMA@", schema))
    path.chmod(mode)


def package(folder: Path, name: str, version: str, schema: str, architecture: str) -> Path:
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place)
        tree.chmod(0o755)
        control = tree / "DEBIAN"
        control.mkdir()
        depends = NAMES[name].format(version=f"{version}-1")
        (control / "control").write_text(
            f"Package: {name}\nVersion: {version}-1\nArchitecture: {architecture}\nMaintainer: Tests <root@localhost>\n"
            + (f"Depends: {depends}\n" if depends else "")
            + "Description: stand-in for NVIDIA's package of this name\n"
        )
        if name == "nvidia-container-toolkit-base":
            install(tree, "nvidia-ctk", "usr/bin/nvidia-ctk", 0o755, version, schema)
            install(tree, "nvidia-container-runtime", "usr/bin/nvidia-container-runtime", 0o755, version, schema)
            if version not in WITHOUT_UNIT:
                unit = "usr/lib/systemd/system/nvidia-cdi-refresh.service"
                install(tree, "nvidia-cdi-refresh.service", unit, 0o644, version, schema)
                (control / "postinst").write_text(POSTINST)
                (control / "postinst").chmod(0o755)
        target = folder / f"{name}_{version}-1_{architecture}.deb"
        run("dpkg-deb", "--build", "--root-owner-group", "-Znone", place, str(target))
        return target


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def index(folder: Path, packages: list[Path]) -> None:
    entries = []
    for path in packages:
        control = run("dpkg-deb", "--field", str(path)).strip()
        entries.append(f"{control}\nFilename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest(path)}\n")
    (folder / "Packages").write_text("\n".join(entries))
    (folder / "Packages.xz").write_bytes(lzma.compress((folder / "Packages").read_bytes()))
    lines = ["Origin: stand-in", "Label: stand-in", "Date: " + run("date", "-Ru").strip(), "SHA256:"]
    for name in ("Packages", "Packages.xz"):
        lines.append(f" {digest(folder / name)} {(folder / name).stat().st_size} {name}")
    (folder / "Release").write_text("\n".join(lines) + "\n")


def key(home: Path, name: str) -> tuple[str, str]:
    """A new signing key: its fingerprint and its public part."""
    gpg = ("gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "")
    run(*gpg, "--quick-generate-key", f"{name} <root@localhost>", "rsa3072", "sign", "never")
    lines = run("gpg", "--homedir", str(home), "--batch", "--with-colons", "--list-keys", name).splitlines()
    fingerprint = next(line.split(":")[9] for line in lines if line.startswith("fpr:"))
    return fingerprint, run("gpg", "--homedir", str(home), "--batch", "--armor", "--export", fingerprint)


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    missing = [name for name in ("dpkg-deb", "gpg") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"error: {' and '.join(missing)} missing: install the packages dpkg and gnupg.")
    root = Path(sys.argv[1])
    shutil.rmtree(root, ignore_errors=True)
    architecture = run("dpkg", "--print-architecture").strip()
    folder = root / "stable" / "deb" / architecture
    folder.mkdir(parents=True)
    packages = [
        package(folder, name, version, schema, architecture) for version, schema in VERSIONS.items() for name in NAMES
    ]
    index(folder, packages)
    # Sockets of gpg's agent need a short path.
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        home = Path(place)
        fingerprint, public = key(home, "stand-in")
        (root / "gpgkey").write_text(public)
        (root / "fingerprint").write_text(fingerprint)
        (root / "other-key").write_text(key(home, "other")[1])
        for options in (
            ["--clearsign", "--output", "InRelease"],
            ["--detach-sign", "--armor", "--output", "Release.gpg"],
        ):
            run("gpg", "--homedir", place, "--batch", "--local-user", fingerprint, *options, "Release", cwd=folder)
        run("gpgconf", "--homedir", place, "--kill", "all")
    with tarfile.open(root / "repository.tar", "w") as tar:
        for name in ("stable", "gpgkey", "other-key"):
            tar.add(root / name, name)
        tar.add(FILES / "nvidia-smi", "nvidia-smi")
    print(f"{len(packages)} packages in {folder}, signed by {fingerprint}")


if __name__ == "__main__":
    main()
