"""Imitates NVIDIA's apt repository of the container toolkit: packages of the same names in several versions, signed.

Usage: python -m tests.fakes.apt.nvidia.make DIRECTORY. Makes stable/deb/<architecture>/ as
nvidia.github.io/libnvidia-container has it, gpgkey, and beside them `fingerprint` (of a key made for this once),
`other-key` (a key that has signed nothing) and `repository.tar` (all that a host needs of it, with the stand-ins of
the driver's libraries in driver/).

Programs, units, settings and maintainer scripts are NVIDIA's own, built from its Go module (toolkit.py) and laid out by
the module's packaging/debian/*.install, control and rules. Only libnvidia-container is missing, a project of its own
in C for the way of before 1.18: its two packages are empty.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path
from shutil import copyfile

from tests.fakes.apt.apt_repository import Keys, build, clean_folder, index, release, run
from tests.fakes.apt.nvidia.toolkit import VERSIONS, CannotBuild, driver, toolkit

# Name -> what it depends on, from packaging/debian/control of 1.19.1; 1.17.8 takes any libnvidia-container-tools.
NAMES = {
    "nvidia-container-toolkit": "nvidia-container-toolkit-base (= {version}), libnvidia-container-tools (= {version})",
    "nvidia-container-toolkit-base": "",
    "libnvidia-container-tools": "libnvidia-container1 (= {version})",
    "libnvidia-container1": "",
}
UNITS = "nvidia-cdi-refresh.path nvidia-cdi-refresh.service"
# What debhelper puts into postinst where rules calls it `--with systemd`, as 1.20.0's does: dh_systemd_enable and
# dh_systemd_start of compatibility level 9.
ENABLE_UNITS = f"""
if [ "$1" = configure ]; then
    for unit in {UNITS}; do
        deb-systemd-helper unmask "$unit" >/dev/null || true
        if deb-systemd-helper --quiet was-enabled "$unit"; then
            deb-systemd-helper enable "$unit" >/dev/null || true
        else
            deb-systemd-helper update-state "$unit" >/dev/null || true
        fi
    done
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        deb-systemd-invoke start {UNITS} >/dev/null || true
    fi
fi
"""
# dh_systemd_start's part of prerm.
STOP_UNITS = f"""#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop {UNITS} >/dev/null || true
fi
"""


def unpack(source: Path, name: str, tree: Path) -> None:
    """The files of a package, as its list says; programs may be run."""
    for line in (source / "packaging" / "debian" / f"{name}.install").read_text().split("\n"):
        if not line.strip():
            continue
        file, folder = line.split()
        target = tree / folder.lstrip("/") / file
        target.parent.mkdir(parents=True, exist_ok=True)
        found = source / "bin" / file
        copyfile(found if found.exists() else source / "deployments" / "systemd" / file, target)
        target.chmod(0o755 if found.exists() else 0o644)


def scripts(source: Path, name: str, tree: Path, version: str) -> dict[str, str]:
    """The package's own scripts with what debhelper adds to them, and the list of its settings files."""
    debian = source / "packaging" / "debian"
    found = {}
    for script in ("preinst", "postinst", "postrm"):
        if (debian / f"{name}.{script}").exists():
            found[script] = (debian / f"{name}.{script}").read_text()
    if (tree / "lib/systemd/system").exists():
        found["postinst"] = found["postinst"].replace("#DEBHELPER#", ENABLE_UNITS)
        found["prerm"] = STOP_UNITS
    if (debian / f"{name}.maintscript").exists():
        lines = (debian / f"{name}.maintscript").read_text().replace("@VERSION@", version).splitlines()
        helper = "".join(f'dpkg-maintscript-helper {line} -- "$@"\n' for line in lines if line.strip())
        for script in ("preinst", "postinst", "postrm"):
            head, _, rest = found.get(script, "#!/bin/sh\nset -e\n").partition("\n")
            found[script] = f"{head}\n{helper}{rest}"
    settings = sorted(f"/{path.relative_to(tree)}\n" for path in tree.glob("etc/**/*") if path.is_file())
    if settings:
        found["conffiles"] = "".join(settings)
    return found


def package(folder: Path, name: str, version: str, architecture: str) -> Path:
    source, full = toolkit(version), f"{version}-1"
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place)
        tree.chmod(0o755)
        added: dict[str, str] = {}
        if name.startswith("nvidia-"):
            unpack(source, name, tree)
            added = scripts(source, name, tree, full)
        fields = {
            "Package": name,
            "Version": full,
            "Architecture": architecture,
            "Depends": NAMES[name].format(version=full),
            "Description": "stand-in for NVIDIA's package of this name",
        }
        return build(tree, folder, fields, added)


def main() -> None:
    root = clean_folder(__doc__)
    architecture = run("dpkg", "--print-architecture").strip()
    folder = root / "stable" / "deb" / architecture
    folder.mkdir(parents=True)
    try:
        packages = [package(folder, name, version, architecture) for version in VERSIONS for name in NAMES]
        libraries = driver()
    except CannotBuild as reason:
        raise SystemExit(f"error: The toolkit cannot be built here: {reason}.") from None
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
        tar.add(libraries, "driver")
    print(f"{len(packages)} packages in {folder}, signed by {fingerprint}")


if __name__ == "__main__":
    main()
