"""What all parts of the bed need: its error, commands, locks and the identity of this checkout."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bed"

# Everything the bed makes carries both labels; it acts only on what carries this checkout's key.
LABEL = "io.mistralrs.stack.bed"
LABEL_PATH = f"{LABEL}.checkout"
LABEL_NAME = f"{LABEL}.name"
LABEL_SPEC = f"{LABEL}.spec"


class BedError(Exception):
    """One sentence for the user: what, where, what to do."""


def checkout_key(root: Path = ROOT) -> str:
    """Six characters that tell checkouts on one machine apart."""
    return hashlib.sha256(str(root).encode()).hexdigest()[:6]


def say(text: str) -> None:
    print(f"bed: {text}", flush=True)


def run(
    command: Sequence[str], *, check: bool = True, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command and keep its output; a failure becomes one sentence with the command's last words."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise BedError(f"The command {command[0]} is not installed on this machine: install it and repeat.") from None
    except subprocess.TimeoutExpired:
        raise BedError(f"'{' '.join(command)}' gave no answer within {timeout:.0f} s.") from None
    if check and done.returncode != 0:
        raise BedError(f"'{' '.join(command)}' failed: {last_words(done.stderr) or last_words(done.stdout)}")
    return done


def last_words(output: str) -> str:
    """The last line that says something; Docker ends its messages with a hint at --help."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and "--help'" not in line]
    return lines[-1] if lines else ""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, and wait for it. The holder may remove the file: a process that waited locks a new one."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        except FileNotFoundError:
            continue  # the directory was removed in between
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                break
        os.close(descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


def install_packages(packages: Sequence[str], why: str, wanted: Sequence[str] = ()) -> None:
    """Install distribution packages, and the wanted ones that this release has. As root on a machine with apt."""
    say(f"{why}: installing the packages {' '.join(packages)} ...")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run(["apt-get", "update", "--quiet"])
    extra = [name for name in wanted if run(["apt-cache", "show", name], check=False).returncode == 0]
    run(["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages, *extra])
