"""Imitates Docker's apt repository for Debian 13 (download.docker.com/linux/debian): packages of its names, signed.

Usage: python -m tests.fakes.apt.docker.make DIRECTORY. Makes linux/debian/{gpg,dists/trixie/} and beside them
`fingerprint` (of a key made for this once) and `repository.tar` (all that a host needs of it). There are two versions
of docker-ce and docker-ce-cli. What the packages say of others is what the real ones say; their programs are links to
those of Debian's packages, which have to be in /srv/docker-programs on the host. So the versions differ in their
packages only.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

from tests.fakes.apt.apt_repository import Keys, build, clean_folder, index, release, run

FILES = Path(__file__).resolve().parent / "files"
PROGRAMS = "/srv/docker-programs"
SUFFIX = "1~debian.13~trixie"
VERSIONS = ("28.0.4", "28.1.1")
# Name -> versions, what it says of others, links (program: where it is), units.
PACKAGES: dict[str, tuple[list[str], dict[str, str], dict[str, str], list[str]]] = {
    "docker-ce": (
        [f"5:{version}-{SUFFIX}" for version in VERSIONS],
        {
            "Depends": "containerd.io, docker-ce-cli, iptables",
            "Conflicts": "docker (<< 1.5~), docker-engine, docker.io",
            "Replaces": "docker-engine",
        },
        {"dockerd": "usr/bin", "docker-proxy": "usr/bin", "docker-init": "usr/bin"},
        ["docker.service", "docker.socket"],
    ),
    "docker-ce-cli": (
        [f"5:{version}-{SUFFIX}" for version in VERSIONS],
        {
            "Conflicts": "docker (<< 1.5~), docker-engine, docker.io",
            "Replaces": "docker-ce (<< 5:0)",
            "Breaks": "docker-ce (<< 5:0)",
        },
        {"docker": "usr/bin"},
        [],
    ),
    "containerd.io": (
        ["1.7.27-1"],
        {"Conflicts": "containerd, runc", "Replaces": "containerd, runc", "Provides": "containerd, runc"},
        {"containerd": "usr/bin", "containerd-shim-runc-v2": "usr/bin", "runc": "usr/bin"},
        ["containerd.service"],
    ),
    "docker-buildx-plugin": (
        [f"0.23.0-{SUFFIX}"],
        {"Replaces": "docker-ce-cli"},
        {"docker-buildx": "usr/libexec/docker/cli-plugins"},
        [],
    ),
    "docker-compose-plugin": (
        [f"2.35.1-{SUFFIX}"],
        {"Conflicts": "docker-compose", "Replaces": "docker-compose", "Breaks": "docker-compose"},
        {"docker-compose": "usr/libexec/docker/cli-plugins"},
        [],
    ),
}
# What debhelper makes of units: enabled, started or restarted unless policy-rc.d forbids it; it goes on if that fails.
POSTINST = """#!/bin/sh
set -e
getent group docker >/dev/null || groupadd --system docker
systemctl daemon-reload
for unit in {units}; do deb-systemd-helper enable "$unit" >/dev/null; done
action=start
[ -z "$2" ] || action=restart
deb-systemd-invoke "$action" {units} >/dev/null || true
"""
PRERM = """#!/bin/sh
set -e
[ "$1" != remove ] || deb-systemd-invoke stop {units} >/dev/null
"""


def package(folder: Path, name: str, version: str, architecture: str) -> Path:
    _versions, relations, links, units = PACKAGES[name]
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place)
        tree.chmod(0o755)
        for program, target in links.items():
            (tree / target).mkdir(parents=True, exist_ok=True)
            (tree / target / program).symlink_to(f"{PROGRAMS}/{program}")
        for unit in units:
            path = tree / "usr/lib/systemd/system" / unit
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text((FILES / unit).read_text())
        words = " ".join(units)
        scripts = {"postinst": POSTINST.format(units=words), "prerm": PRERM.format(units=words)} if units else {}
        fields = {"Package": name, "Version": version, "Architecture": architecture, **relations}
        return build(tree, folder, {**fields, "Description": "stand-in for Docker's package of this name"}, scripts)


def main() -> None:
    root = clean_folder(__doc__)
    architecture = run("dpkg", "--print-architecture").strip()
    base = root / "linux" / "debian"
    suite = base / "dists" / "trixie"
    pool = suite / "pool" / "stable" / architecture
    listing = suite / "stable" / f"binary-{architecture}"
    for folder in (pool, listing):
        folder.mkdir(parents=True)
    packages = [package(pool, name, version, architecture) for name, row in PACKAGES.items() for version in row[0]]
    index(listing, packages, base)
    release(suite, Suite="trixie", Codename="trixie", Architectures=architecture, Components="stable")
    with Keys() as keys:
        fingerprint, public = keys.make("stand-in")
        (base / "gpg").write_text(public)
        (root / "fingerprint").write_text(fingerprint)
        keys.sign(suite, fingerprint)
    with tarfile.open(root / "repository.tar", "w") as tar:
        tar.add(root / "linux", "linux")
    print(f"{len(packages)} packages in {pool}, signed by {fingerprint}")


if __name__ == "__main__":
    main()
