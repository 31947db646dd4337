"""Imitates NVIDIA's apt repository of the container toolkit: packages of the same names in several versions, signed.

Usage: make.py DIRECTORY. Makes stable/deb/<architecture>/ as nvidia.github.io/libnvidia-container has it, gpgkey, and
beside them `fingerprint` (of a key made for this once), `other-key` (a key that has signed nothing) and
`repository.tar` (all that a host needs of it).
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from repository.apt_repository import Keys, build, clean_folder, index, release, run  # noqa: E402

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


def install(tree: Path, name: str, target: str, mode: int, version: str, schema: str) -> None:
    path = tree / target
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((FILES / name).read_text().replace("@VERSION@", version).replace("@SCHEMA@", schema))
    path.chmod(mode)


def package(folder: Path, name: str, version: str, schema: str, architecture: str) -> Path:
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place)
        tree.chmod(0o755)
        scripts = {}
        if name == "nvidia-container-toolkit-base":
            install(tree, "nvidia-ctk", "usr/bin/nvidia-ctk", 0o755, version, schema)
            install(tree, "nvidia-container-runtime", "usr/bin/nvidia-container-runtime", 0o755, version, schema)
            if version not in WITHOUT_UNIT:
                unit = "usr/lib/systemd/system/nvidia-cdi-refresh.service"
                install(tree, "nvidia-cdi-refresh.service", unit, 0o644, version, schema)
                scripts["postinst"] = POSTINST
        fields = {
            "Package": name,
            "Version": f"{version}-1",
            "Architecture": architecture,
            "Depends": NAMES[name].format(version=f"{version}-1"),
            "Description": "stand-in for NVIDIA's package of this name",
        }
        return build(tree, folder, fields, scripts)


def main() -> None:
    root = clean_folder(__doc__)
    architecture = run("dpkg", "--print-architecture").strip()
    folder = root / "stable" / "deb" / architecture
    folder.mkdir(parents=True)
    packages = [
        package(folder, name, version, schema, architecture) for version, schema in VERSIONS.items() for name in NAMES
    ]
    index(folder, packages, folder)
    release(folder)
    with Keys() as keys:
        fingerprint, public = keys.make("stand-in")
        (root / "gpgkey").write_text(public)
        (root / "fingerprint").write_text(fingerprint)
        (root / "other-key").write_text(keys.make("other")[1])
        keys.sign(folder, fingerprint)
    with tarfile.open(root / "repository.tar", "w") as tar:
        for name in ("stable", "gpgkey", "other-key"):
            tar.add(root / name, name)
        tar.add(FILES / "nvidia-smi", "nvidia-smi")
    print(f"{len(packages)} packages in {folder}, signed by {fingerprint}")


if __name__ == "__main__":
    main()
