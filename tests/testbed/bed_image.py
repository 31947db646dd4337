"""Host images from Debian packages, cached by content."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import time
from pathlib import Path

from bed_base import CACHE, LABEL, LABEL_PATH, ROOT, BedError, install_packages, locked, run, say
from bed_engine import Engine

SUITES = {"12": "bookworm", "13": "trixie"}
PACKAGES = ["ca-certificates", "dbus", "iproute2", "procps", "python3", "python3-apt"]
PACKAGES += ["sudo", "systemd", "systemd-sysv"]

# Runs after the packages are installed, with $1 = the image's root folder.
RECIPE = r"""
set -eu
# A container has no modules to load, no console to log in at and no kernel settings of its own.
for unit in systemd-modules-load.service getty.target console-getty.service dev-hugepages.mount \
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount; do
    ln -sf /dev/null "$1/etc/systemd/system/$unit"
done
# Every host gets its own identity at its first start.
: >"$1/etc/machine-id"
rm -f "$1/etc/hostname" "$1/etc/resolv.conf" "$1/var/lib/dbus/machine-id"
# Downloads of a host are kept by the bed for the next host of that name.
echo 'APT::Keep-Downloaded-Packages "true";' >"$1/etc/apt/apt.conf.d/90bed"
# In a network of its own a host asks Docker's resolver (127.0.0.11), which the containers of a Docker *inside* the
# host cannot reach: the machine's name servers stand second, and Docker inside takes those.
cat >"$1/usr/local/sbin/bed-resolv" <<'SCRIPT'
#!/bin/sh
for server in $BED_NAMESERVERS; do
    grep -qxF "nameserver $server" /etc/resolv.conf || echo "nameserver $server" >>/etc/resolv.conf
done
SCRIPT
chmod 0755 "$1/usr/local/sbin/bed-resolv"
cat >"$1/etc/systemd/system/bed-resolv.service" <<'UNIT'
[Unit]
Description=Name servers for containers inside this test host
DefaultDependencies=no
Before=basic.target
[Service]
Type=oneshot
RemainAfterExit=yes
PassEnvironment=BED_NAMESERVERS
ExecStart=/usr/local/sbin/bed-resolv
[Install]
WantedBy=sysinit.target
UNIT
mkdir -p "$1/etc/systemd/system/sysinit.target.wants"
ln -s ../bed-resolv.service "$1/etc/systemd/system/sysinit.target.wants/"
rm -rf "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/* "$1"/var/cache/apt/*.bin
"""


def image_key(suite: str, packages: list[str], recipe: str, machine: str) -> str:
    """Changes whenever the image's content would."""
    text = "\n".join([suite, " ".join(sorted(packages)), recipe, machine])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def current_key(suite: str) -> str:
    return image_key(suite, PACKAGES, RECIPE, platform.machine())


def image_tag(checkout: str, suite: str) -> str:
    return f"mistral-bed-{checkout}:{suite}-{current_key(suite)}"


def ensure_mmdebstrap() -> None:
    missing = [] if shutil.which("mmdebstrap") else ["mmdebstrap"]
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        missing.append("debian-archive-keyring")  # Ubuntu does not have it from the start
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise BedError(
            f"Host images are made by mmdebstrap, and {' and '.join(missing)} is not installed here: install it "
            f"(Debian, Ubuntu: apt-get install {' '.join(missing)}) and repeat."
        )
    install_packages(missing, "Host images are made by mmdebstrap")


def build_command(suite: str, target: Path, hook: Path) -> list[str]:
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        f'--customize-hook=sh {hook} "$1"',
        SUITES[suite],
        str(target),
    ]


def build_tar(suite: str) -> Path:
    """The image as a tar file; built at most once for each content, and never seen half-written."""
    tar = CACHE / f"host-{suite}-{current_key(suite)}.tar"
    if tar.exists():
        return tar
    with locked(CACHE / f"image-{suite}.lock"):
        if tar.exists():
            return tar
        ensure_mmdebstrap()
        say(f"making the Debian {suite} host image from packages (about 30 s) ...")
        start = time.monotonic()
        part = CACHE / f"host-{suite}.{os.getpid()}.part.tar"
        hook = CACHE / f"host-{suite}.{os.getpid()}.hook"
        try:
            hook.write_text(RECIPE)
            run(build_command(suite, part, hook))
            part.rename(tar)
        finally:
            part.unlink(missing_ok=True)
            hook.unlink(missing_ok=True)
        for old in CACHE.glob(f"host-{suite}-*.tar"):
            if old != tar:
                old.unlink()
        say(f"made in {time.monotonic() - start:.0f} s ({tar.stat().st_size / 1e6:.0f} MB, kept in {CACHE})")
    return tar


def ensure_image(engine: Engine, checkout: str, suite: str, tar: Path) -> str:
    """The tag of the image on that engine, imported if it is not there."""
    tag = image_tag(checkout, suite)
    if not engine.docker("image", "ls", "--quiet", tag):
        labels = [f"--change=LABEL {LABEL}={checkout}", f"--change=LABEL {LABEL_PATH}={ROOT}"]
        engine.docker("import", *labels, "--change=ENV container=docker", str(tar), tag)
    return tag
