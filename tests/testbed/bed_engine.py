"""Finds a usable Docker engine, or makes one of the bed's own that disturbs no other.

The own engine keeps to private paths (RUN, DATA) and uses neither the bridge docker0 nor Docker's iptables chains,
which exist once per machine: the few rules its networks need are added here, marked, and taken away again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bed_base import LABEL, LABEL_PATH, BedError, install_packages, last_words, locked, run, say

RUN = Path("/run/mistral-bed")
DATA = Path("/var/lib/mistral-bed")
SOCKET = RUN / "docker.sock"
PID_FILE = RUN / "docker.pid"
LOG = DATA / "dockerd.log"
RULE_MARK = "mistral-bed"
# Nothing is attached to it. `--bridge=none` will not do: dockerd then deletes docker0, whosever it is.
BRIDGE = "mistral-bed0"
BRIDGE_ADDRESS = "169.254.213.1/29"

NO_ENGINE = (
    "No Docker engine answers and one can only be started by root on Debian or Ubuntu: start Docker "
    "(or set DOCKER_HOST, or join the group docker), or repeat as root."
)


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers."""

    host: str  # what -H takes; empty for the command's own default
    own: bool

    def command(self, *words: str) -> list[str]:
        return ["docker", *self.arguments(), *words]

    def arguments(self) -> list[str]:
        return ["-H", self.host] if self.host else []

    def docker(self, *words: str, check: bool = True, timeout: float | None = None) -> str:
        return run(self.command(*words), check=check, timeout=timeout).stdout.strip()

    def list(self, kind: str, label: str, template: str) -> list[str]:
        """What carries a label, e.g. `list("volume", "key=value", "{{.Name}}")`."""
        everything = ["--all"] if kind == "container" else []
        return self.docker(kind, "ls", *everything, "--filter", f"label={label}", "--format", template).split()


OWN = Engine(f"unix://{SOCKET}", own=True)


def usual_engine() -> Engine | None:
    """The engine that anybody's `docker` would use here."""
    if os.environ.get("BED_IGNORE_RUNNING_ENGINE") == "1" or shutil.which("docker") is None:
        return None
    engine = Engine(os.environ.get("DOCKER_HOST", ""), own=False)
    if engine.host == OWN.host:
        return None
    done = run(engine.command("version", "--format", "{{.Server.Version}}"), check=False, timeout=20)
    if done.returncode == 0:
        return engine
    if "permission denied" in done.stderr.lower():
        raise BedError(
            "Docker runs here, but this user may not use it: join the group docker (and log in again), "
            "or repeat as root."
        )
    if engine.host:
        raise BedError(f"DOCKER_HOST is {engine.host}, but nothing answers there: {last_words(done.stderr)}")
    return None


def own_engine() -> Engine | None:
    if not os.access(SOCKET, os.W_OK):
        return None
    done = run(OWN.command("version", "--format", "{{.Server.Version}}"), check=False, timeout=20)
    return OWN if done.returncode == 0 else None


def running_engines() -> list[Engine]:
    return [engine for engine in (usual_engine(), own_engine()) if engine is not None]


def find_engine(key: str) -> Engine | None:
    """The engine that has this checkout's hosts already, else the usual one, else the bed's own."""
    engines = running_engines()
    if len(engines) > 1:
        for engine in engines:
            if engine.list("container", f"{LABEL}={key}", "{{.ID}}"):
                return engine
    return engines[0] if engines else None


def refuse_without_rights(engine: Engine | None) -> None:
    if engine is None and os.geteuid() != 0:
        raise BedError(NO_ENGINE)


@contextlib.contextmanager
def kept_running() -> Iterator[None]:
    """What may stop the own engine, or start it, waits for the end of this. Others than root can do neither."""
    if os.geteuid() != 0:
        yield
        return
    with locked(RUN / "lock"):
        try:
            yield
        finally:
            if not SOCKET.exists():
                shutil.rmtree(RUN, ignore_errors=True)


@contextlib.contextmanager
def engine_for_change(key: str) -> Iterator[Engine]:
    """A running engine, started if need be; the own one is kept from being stopped by others meanwhile."""
    with kept_running():
        found = find_engine(key)
        refuse_without_rights(found)
        yield found or provide_engine()


def provide_engine() -> Engine:
    """Start an engine as root, installing Debian's packages if there are none."""
    if shutil.which("dockerd") is None or shutil.which("docker") is None or shutil.which("iptables") is None:
        if shutil.which("apt-get") is None:
            raise BedError(NO_ENGINE)
        # From Debian 13 on the command is a package of its own.
        install_packages(["docker.io", "iptables", "iproute2"], "No Docker engine runs here", wanted=["docker-cli"])
        if Path("/run/systemd/system").exists():  # the package starts the engine itself: then that one is used
            for _attempt in range(40):
                if (engine := usual_engine()) is not None:
                    return engine
                time.sleep(0.5)
    return start_own_engine()


def left_behind() -> bool:
    """Whether an own engine that no longer runs left anything."""
    return live_pid(PID_FILE) is None and (DATA / "docker").exists() and shutil.which("dockerd") is not None


def daemon_arguments() -> list[str]:
    return [
        "dockerd",
        f"--host={OWN.host}",
        f"--pidfile={PID_FILE}",
        f"--exec-root={RUN / 'exec'}",
        f"--data-root={DATA / 'docker'}",
        "--storage-driver=overlay2",
        # A containerd of the machine may be shared: keep apart in it, too.
        "--containerd-namespace=mistral-bed",
        "--containerd-plugins-namespace=mistral-bed-plugins",
        f"--bridge={BRIDGE}",
        "--iptables=false",
        "--ip6tables=false",
        # Away from the ranges that other engines take; Docker itself skips those that this machine has routes for.
        "--default-address-pool=base=10.213.0.0/16,size=24",
        "--default-address-pool=base=172.29.0.0/16,size=24",
        "--default-address-pool=base=192.168.213.0/24,size=27",
    ]


def start_own_engine() -> Engine:
    say(f"starting a Docker engine of the bed's own ({SOCKET}, log {LOG}) ...")
    start = time.monotonic()
    for folder in (RUN, DATA):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    # A killed engine leaves these files; when such a number lives on, as another process or unreaped, dockerd
    # would refuse to start or wait for a containerd that is gone.
    for file in (PID_FILE, RUN / "exec" / "containerd" / "containerd.pid"):
        if live_pid(file) is None:
            file.unlink(missing_ok=True)
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        run(["ip", "link", "add", BRIDGE, "type", "bridge"])
        run(["ip", "address", "add", BRIDGE_ADDRESS, "dev", BRIDGE])
    with open(LOG, "ab") as log:
        offset = log.tell()
        process = subprocess.Popen(
            daemon_arguments(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    while time.monotonic() - start < 60:
        if own_engine() is not None:
            say(f"engine ready in {time.monotonic() - start:.0f} s")
            return OWN
        if process.poll() is not None:
            break
        time.sleep(0.2)
    with open(LOG, "rb") as log:
        log.seek(offset)
        words = last_words(log.read().decode(errors="replace"))
    raise BedError(f"dockerd did not start: {words or 'it wrote nothing'} (log: {LOG}).")


def live_pid(file: Path) -> int | None:
    """The process that a pidfile names, if it lives and is one of the own engine's."""
    try:
        pid = int(file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (OSError, ValueError):
        return None
    return pid if str(RUN) in command else None


def network_rules(subnet: str, bridge: str) -> list[list[str]]:
    """The iptables rules of one network of the own engine: table and rule, marked with the bridge's name."""
    mark = ["-m", "comment", "--comment", f"{RULE_MARK}:{bridge}"]
    answers = ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"]
    return [
        ["nat", "POSTROUTING", "-s", subnet, "!", "-o", bridge, *mark, "-j", "MASQUERADE"],
        ["filter", "FORWARD", "-i", bridge, *mark, "-j", "ACCEPT"],
        ["filter", "FORWARD", "-o", bridge, *answers, *mark, "-j", "ACCEPT"],
    ]


def ensure_rules(subnet: str, bridge: str) -> None:
    for table, *rule in network_rules(subnet, bridge):
        if run(["iptables", "-w", "-t", table, "-C", *rule], check=False).returncode != 0:
            run(["iptables", "-w", "-t", table, "-I", *rule])


def rule_deletions(listing: str, mark: str) -> list[list[str]]:
    """From `iptables -S` the words that delete the marked rules."""
    rules = [shlex.split(line) for line in listing.splitlines() if line.startswith("-A ")]
    return [["-D", *rule[1:]] for rule in rules if any(word == mark or word.startswith(f"{mark}:") for word in rule)]


def remove_rules(mark: str) -> None:
    if shutil.which("iptables") is None:
        return
    for table in ("nat", "filter"):
        for deletion in rule_deletions(run(["iptables", "-w", "-t", table, "-S"]).stdout, mark):
            run(["iptables", "-w", "-t", table, *deletion])


def retire_own_engine(key: str, purge: bool) -> None:
    """Stop the own engine when nothing runs on it for anybody; with purge its data goes, too. Called locked."""
    if OWN.docker("container", "ls", "--all", "--quiet"):
        return
    others = False
    for image in OWN.docker("image", "ls", "--quiet", "--no-trunc").split():
        labels = json.loads(OWN.docker("image", "inspect", "--format", "{{json .Config.Labels}}", image)) or {}
        # A checkout that was deleted will never come to take its images away.
        others |= labels.get(LABEL) not in (None, key) and Path(labels.get(LABEL_PATH, "")).exists()
    say("stopping the bed's own Docker engine")
    stop_own_engine()
    if purge and not others:
        shutil.rmtree(DATA, ignore_errors=True)


def stop_own_engine() -> None:
    pid = live_pid(PID_FILE)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 40
        while live_pid(PID_FILE) is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                time.sleep(0.5)
                break
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # only if this very process started it
            time.sleep(0.1)
    remove_rules(RULE_MARK)
    run(["ip", "link", "delete", BRIDGE], check=False)
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith((f"{RUN}/", f"{DATA}/")):
            run(["umount", "--lazy", mount], check=False)
    shutil.rmtree(RUN, ignore_errors=True)
