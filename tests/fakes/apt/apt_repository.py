"""Makes signed repositories for apt, for the stand-ins of those that can't be had here. Needs dpkg-deb and gpg."""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path


def run(*command: str, **options: object) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(command)}: {done.stderr.strip()}")
    return str(done.stdout)


def clean_folder(usage: str | None) -> Path:
    """The folder that the command line names, without what was in it."""
    if len(sys.argv) != 2:
        raise SystemExit(usage)
    missing = [name for name in ("dpkg-deb", "gpg") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"error: {' and '.join(missing)} missing: install the packages dpkg and gnupg.")
    root = Path(sys.argv[1])
    shutil.rmtree(root, ignore_errors=True)
    return root


def build(tree: Path, folder: Path, fields: dict[str, str], scripts: dict[str, str] | None = None) -> Path:
    """The package of the files below C(tree), put into C(folder); empty fields are left out."""
    control = tree / "DEBIAN"
    control.mkdir()
    lines = [f"{name}: {value}" for name, value in fields.items() if value]
    (control / "control").write_text("\n".join([*lines, "Maintainer: Tests <root@localhost>"]) + "\n")
    for name, text in (scripts or {}).items():
        (control / name).write_text(text)
        (control / name).chmod(0o755)
    version = fields["Version"].partition(":")[2] or fields["Version"]
    target = folder / f"{fields['Package']}_{version}_{fields['Architecture']}.deb"
    run("dpkg-deb", "--build", "--root-owner-group", "-Znone", str(tree), str(target))
    return target


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def index(folder: Path, packages: Sequence[Path], base: Path) -> None:
    """C(Packages) and C(Packages.xz) in C(folder); the packages' names begin at C(base)."""
    entries = []
    for path in packages:
        control = run("dpkg-deb", "--field", str(path)).strip()
        place = path.relative_to(base)
        entries.append(f"{control}\nFilename: ./{place}\nSize: {path.stat().st_size}\nSHA256: {digest(path)}\n")
    (folder / "Packages").write_text("\n".join(entries))
    (folder / "Packages.xz").write_bytes(lzma.compress((folder / "Packages").read_bytes()))


def release(folder: Path, **fields: str) -> None:
    """C(Release) over all indexes below C(folder)."""
    lines = ["Origin: stand-in", "Label: stand-in", "Date: " + run("date", "-Ru").strip()]
    lines += [*(f"{name}: {value}" for name, value in fields.items()), "SHA256:"]
    for path in sorted(folder.rglob("Packages*")):
        lines.append(f" {digest(path)} {path.stat().st_size} {path.relative_to(folder)}")
    (folder / "Release").write_text("\n".join(lines) + "\n")


class Keys:
    """Signing keys made for this once."""

    def __init__(self) -> None:
        # Sockets of gpg's agent need a short path.
        self._place = tempfile.TemporaryDirectory(dir="/tmp")
        self._gpg = ("gpg", "--homedir", self._place.name, "--batch")

    def __enter__(self) -> Keys:
        return self

    def __exit__(self, *_reason: object) -> None:
        run("gpgconf", "--homedir", self._place.name, "--kill", "all")
        self._place.cleanup()

    def make(self, name: str) -> tuple[str, str]:
        """A new key: its fingerprint and its public part."""
        quiet = ("--quiet", "--pinentry-mode", "loopback", "--passphrase", "")
        run(*self._gpg, *quiet, "--quick-generate-key", f"{name} <root@localhost>", "rsa3072", "sign", "never")
        lines = run(*self._gpg, "--with-colons", "--list-keys", name).splitlines()
        fingerprint = next(line.split(":")[9] for line in lines if line.startswith("fpr:"))
        return fingerprint, run(*self._gpg, "--armor", "--export", fingerprint)

    def sign(self, folder: Path, fingerprint: str) -> None:
        """C(InRelease) and C(Release.gpg) of the C(Release) in C(folder)."""
        for options in (
            ["--clearsign", "--output", "InRelease"],
            ["--detach-sign", "--armor", "--output", "Release.gpg"],
        ):
            run(*self._gpg, "--local-user", fingerprint, *options, "Release", cwd=folder)
