"""The hosts: what a host is made of, its container, its inventory."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import bed_engine
import bed_image
from bed_base import (
    CACHE,
    LABEL,
    LABEL_NAME,
    LABEL_PATH,
    LABEL_SPEC,
    ROOT,
    BedError,
    checkout_key,
    last_words,
    locked,
    say,
)
from bed_base import run as run_command
from bed_engine import Engine

KEY = checkout_key()
NETWORK = f"bed-{KEY}"


@dataclass(frozen=True)
class HostSpec:
    """What `up` was asked for; stored at the container, so that a second `up` can compare."""

    name: str
    suite: str
    publish: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    memory: str = ""
    groups: tuple[str, ...] = ()

    def text(self) -> str:
        """The same for the same host, whatever the order of options."""
        data = asdict(self)
        for key in ("publish", "mounts", "groups"):
            data[key] = sorted(data[key])
        data["image"] = bed_image.current_key(self.suite)
        return json.dumps(data, sort_keys=True)


def container_name(name: str, key: str = KEY) -> str:
    return f"bed-{key}-{name}"


def bridge_name(engine: Engine) -> str:
    """The network's interface: at most 15 characters, and not the same for two engines on one machine."""
    return f"bed-own-{KEY}" if engine.own else NETWORK


def volume_name(name: str, key: str = KEY) -> str:
    return f"{container_name(name, key)}-docker"


def check_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", name):
        raise BedError(f"'{name}' is not a host name: use lower case letters, digits and dashes, at most 40.")
    return name


def parse_publish(text: str) -> str:
    """`[address:]port:port_on_host`, with 127.0.0.1 as the address when none is given."""
    found = re.fullmatch(r"(?:(\d+\.\d+\.\d+\.\d+):)?(\d+):(\d+)", text)
    if found is None or not all(0 < int(port) < 65536 for port in found.groups()[1:]):
        raise BedError(f"--publish {text} is not understood: write [address:]port:port_on_host, as 127.0.0.1:8443:443.")
    return f"{found[1] or '127.0.0.1'}:{found[2]}:{found[3]}"


def parse_mount(text: str) -> str:
    """`/path/here:/path/on/host[:ro]`; the path here must exist, else Docker makes an empty folder of that name."""
    found = re.fullmatch(r"([^:]+):(/[^:]*)(:ro|:rw)?", text)
    if found is None:
        raise BedError(f"--mount {text} is not understood: write /path/here:/path/on/host[:ro].")
    source = Path(found[1]).expanduser().absolute()
    if not source.exists():
        raise BedError(f"--mount {text}: {source} does not exist on this machine: make it or correct the path.")
    return f"{source}:{found[2]}{found[3] or ''}"


def name_servers(*resolv_confs: str) -> list[str]:
    """The machine's IPv4 name servers that a container can reach: of the first text that has any."""
    for text in resolv_confs:
        servers = []
        for address in re.findall(r"^\s*nameserver\s+(\S+)", text, re.MULTILINE):
            try:
                if not ipaddress.IPv4Address(address).is_loopback:
                    servers.append(address)
            except ValueError:
                continue
        if servers:
            return servers
    return []


def machine_name_servers() -> list[str]:
    paths = [Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")]
    return name_servers(*(path.read_text(errors="replace") for path in paths if path.is_file()))


def cgroup_arguments(version: str, suite: str) -> tuple[list[str], list[str]]:
    """How systemd gets a writable cgroup tree: options of `docker run` and the command in the container.

    Version 1: the machine's own tree. Debian 13's systemd must be told that version 1 is meant.
    Version 2: a private tree. Docker mounts it read-only for a container that is not privileged: it is mounted again.
    """
    if version == "1":
        force = ["SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"] if suite != "12" else []
        return ["--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"], ["/sbin/init", *force]
    return ["--cgroupns=private"], ["/bin/sh", "-c", "mount -o remount,rw /sys/fs/cgroup && exec /sbin/init"]


def run_arguments(
    spec: HostSpec,
    image: str,
    cgroup_version: str,
    servers: Sequence[str] = (),
    apt_cache: Path | None = None,
    drop: bool = True,
) -> list[str]:
    """The words of `docker run`. Never --privileged: it fails where a capability is missing from the machine.

    `drop` leaves out SYS_RESOURCE, which some sandboxes lack; newer engines refuse to drop what is not there.
    """
    options, command = cgroup_arguments(cgroup_version, spec.suite)
    labels = {LABEL: KEY, LABEL_PATH: str(ROOT), LABEL_NAME: spec.name, LABEL_SPEC: spec.text()}
    volumes = [f"{volume_name(spec.name)}:/var/lib/docker", *spec.mounts]
    if apt_cache is not None:
        volumes.append(f"{apt_cache}:/var/cache/apt/archives")
    return [
        *("run", "--detach", f"--name={container_name(spec.name)}", f"--hostname={spec.name}"),
        *(f"--label={name}={value}" for name, value in labels.items()),
        *(f"--network={NETWORK}", f"--network-alias={spec.name}"),
        "--cap-add=ALL",
        *(["--cap-drop=SYS_RESOURCE"] if drop else []),
        *(f"--security-opt={what}=unconfined" for what in ("seccomp", "apparmor", "systempaths")),
        *("--tmpfs=/run", "--tmpfs=/run/lock", "--stop-signal=SIGRTMIN+3"),
        *options,
        *(f"--volume={volume}" for volume in volumes),
        *(f"--publish={port}" for port in spec.publish),
        *([f"--memory={spec.memory}", f"--memory-swap={spec.memory}"] if spec.memory else []),
        *([f"--env=BED_NAMESERVERS={' '.join(servers)}"] if servers else []),
        image,
        *command,
    ]


def inventory_text(hosts: Iterable[tuple[str, Sequence[str]]], engine: Engine) -> str:
    """An Ansible inventory of (name, groups); scalars are JSON, which is YAML."""
    lines, members = ["---", "# Written by tests/testbed/bed.py.", "all:", "  hosts:"], dict[str, list[str]]()
    for name, groups in hosts:
        variables = {
            "ansible_connection": "community.docker.docker",
            "ansible_host": container_name(name),
            # Known to be root, so that `become` needs no sudo.
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        if engine.host:
            variables["ansible_docker_extra_args"] = " ".join(engine.arguments())
        lines.append(f"    {name}:")
        lines += [f"      {key}: {json.dumps(value)}" for key, value in variables.items()]
        for group in groups:
            members.setdefault(group, []).append(name)
    if members:
        lines.append("  children:")
    for group, names in sorted(members.items()):
        lines += [f"    {group}:", "      hosts:", *(f"        {name}: {{}}" for name in names)]
    return "\n".join(lines) + "\n"


def write_if_changed(path: Path, text: str) -> None:
    if path.is_file() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    part.rename(path)


def inspect(engine: Engine, name: str) -> dict[str, Any] | None:
    """The container of a host of this checkout; somebody else's container of that name is refused."""
    done = run_command(engine.command("container", "inspect", container_name(name)), check=False)
    if done.returncode != 0:
        if "no such container" in done.stderr.lower():
            return None
        raise BedError(f"Docker does not tell about host {name}: {last_words(done.stderr)}")
    found: dict[str, Any] = json.loads(done.stdout)[0]
    refuse_foreign(name, found)
    return found


def refuse_foreign(name: str, container: dict[str, Any]) -> None:
    if (container["Config"].get("Labels") or {}).get(LABEL) != KEY:
        raise BedError(
            f"The container {container_name(name)} was not made by this checkout's bed, so it is left alone: "
            "rename or remove it yourself."
        )


def refuse_difference(spec: HostSpec, container: dict[str, Any]) -> None:
    was, wanted = json.loads(container["Config"]["Labels"][LABEL_SPEC]), json.loads(spec.text())
    different = sorted(key for key in wanted if was.get(key) != wanted[key])
    if different:
        raise BedError(
            f"Host {spec.name} exists with other settings ({', '.join(different)}): "
            f"take it down first (python3 tests/testbed/bed.py down {spec.name})."
        )


def find(name: str) -> tuple[Engine, dict[str, Any]]:
    for engine in bed_engine.running_engines():
        container = inspect(engine, check_name(name))
        if container is not None:
            return engine, container
    raise BedError(f"There is no host {name}: python3 tests/testbed/bed.py status lists those that exist.")


def port_holder(engine: Engine | None, port: str) -> str:
    """Who has a port, as far as it can be found."""
    names = []
    if engine is not None:
        names = engine.docker("ps", "--filter", f"publish={port}", "--format", "{{.Names}}", check=False).split()
    if names:
        return f" by the container {names[0]}"
    if shutil.which("ss"):
        found = re.search(r'\(\("([^"]+)",pid=(\d+)', run_command(["ss", "-Hltnp", f"sport = :{port}"]).stdout)
        if found:
            return f" by {found[1]} (process {found[2]})"
    return ""


def refuse_taken_ports(engine: Engine | None, publish: Iterable[str]) -> None:
    for entry in publish:
        address, port, _inside = entry.split(":")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, int(port)))
            except OSError as error:
                if error.errno not in (98, 48):  # EADDRINUSE; anything else Docker says better
                    continue
                holder = port_holder(engine, port)
                raise BedError(
                    f"Port {port} of this machine is in use already{holder}: stop that or publish another port."
                ) from None


def up(spec: HostSpec, inventory: Path | None = None) -> None:
    start = time.monotonic()
    with bed_engine.kept_running():
        engine = bed_engine.find_engine(KEY)
        container = inspect(engine, spec.name) if engine else None
        is_up = container is not None and container["State"]["Running"]
        has_image = engine is not None and engine.docker("image", "ls", "--quiet", bed_image.image_tag(KEY, spec.suite))
        if not is_up:
            # What can be refused is refused before anything is made.
            bed_engine.refuse_without_rights(engine)
            refuse_taken_ports(engine, spec.publish)
    if engine is None or container is None or not is_up:
        if not has_image:
            bed_image.build_tar(spec.suite)
        with bed_engine.engine_for_change(KEY) as engine, locked(CACHE / "lock"):
            container = inspect(engine, spec.name)  # somebody may have been faster
            if container is None:
                create(engine, spec)
            else:
                refuse_difference(spec, container)
                if not container["State"]["Running"]:
                    ensure_network(engine)
                    engine.docker("start", container_name(spec.name))
        state = wait_for_systemd(engine, spec.name)
        say(f"host {spec.name} is up: Debian {spec.suite}, systemd {state}, {time.monotonic() - start:.0f} s")
    else:
        refuse_difference(spec, container)
        if engine.own:
            ensure_network(engine)  # its rules may have been flushed by a firewall
        state = wait_for_systemd(engine, spec.name)
        say(f"host {spec.name} was up already: nothing to do")
    if inventory is not None:
        write_if_changed(inventory, inventory_text([(spec.name, spec.groups)], engine))


def create(engine: Engine, spec: HostSpec) -> None:
    tag = bed_image.image_tag(KEY, spec.suite)
    if not engine.docker("image", "ls", "--quiet", tag):
        bed_image.ensure_image(engine, KEY, spec.suite, bed_image.build_tar(spec.suite))
    ensure_network(engine)
    apt_cache = None
    if os.geteuid() == 0:  # the host writes as root: in somebody else's checkout that would be in the way
        apt_cache = CACHE / "apt" / f"{spec.suite}-{spec.name}"
        apt_cache.mkdir(parents=True, exist_ok=True)
    volume = volume_name(spec.name)
    engine.docker("volume", "create", f"--label={LABEL}={KEY}", f"--label={LABEL_NAME}={spec.name}", volume)
    version = engine.docker("info", "--format", "{{.CgroupVersion}}")
    for drop in (True, False):
        words = run_arguments(spec, tag, version, machine_name_servers(), apt_cache, drop)
        done = run_command(engine.command(*words), check=False)
        if "invalid CapDrop" not in done.stderr:
            break
    if done.returncode != 0:
        engine.docker("rm", "--force", container_name(spec.name), check=False)
        engine.docker("volume", "rm", "--force", volume, check=False)
        raise BedError(f"Docker could not start host {spec.name}: {last_words(done.stderr)}")


def ensure_network(engine: Engine) -> None:
    """A network in which the checkout's hosts know each other by name."""
    asked = ["network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", NETWORK]
    subnet = engine.docker(*asked, check=False)
    if not subnet:
        labels = [f"--label={LABEL}={KEY}", f"--label={LABEL_PATH}={ROOT}"]
        bridge = f"--opt=com.docker.network.bridge.name={bridge_name(engine)}"
        engine.docker("network", "create", *labels, bridge, NETWORK)
        subnet = engine.docker(*asked)
    if engine.own:
        bed_engine.ensure_rules(subnet, bridge_name(engine))


def wait_for_systemd(engine: Engine, name: str, seconds: float = 90) -> str:
    deadline = time.monotonic() + seconds
    container = container_name(name)
    while True:
        done = run_command(
            engine.command("exec", container, "systemctl", "is-system-running"), check=False, timeout=seconds
        )
        state = done.stdout.strip()
        if state in ("running", "degraded"):
            break
        if engine.docker("inspect", "--format", "{{.State.Running}}", container, check=False) != "true":
            logs = run_command(engine.command("logs", "--tail", "5", container), check=False)
            raise BedError(f"Host {name} stopped at once: {last_words(logs.stderr + logs.stdout) or 'it says nothing'}")
        if time.monotonic() > deadline:
            raise BedError(
                f"systemd on host {name} was not ready after {seconds:.0f} s "
                f"(it says {state or last_words(done.stderr)}): look at "
                f"'python3 tests/testbed/bed.py exec {name} systemctl list-jobs'."
            )
        time.sleep(0.2)
    if state == "degraded":
        failed = engine.docker(
            "exec", container, "systemctl", "list-units", "--failed", "--plain", "--no-legend", check=False
        )
        say(f"host {name}: failed units: {', '.join(line.split()[0] for line in failed.splitlines())}")
    return state


def down(names: Sequence[str], everything: bool) -> None:
    removed = []
    with bed_engine.kept_running():
        engines = bed_engine.running_engines()
        if os.geteuid() == 0 and bed_engine.OWN not in engines and bed_engine.left_behind():
            # The own engine was killed or the machine restarted: only a running engine can clean up after it.
            engines.append(bed_engine.start_own_engine())
        for engine in engines:
            removed += down_on(engine, names, everything)
            if engine.own:
                bed_engine.retire_own_engine(KEY, purge=everything)
    for name in removed or names:
        say(f"host {name} is gone" if name in removed else f"host {name}: there was none")
    if everything and not removed:
        say("there was no host")


def down_on(engine: Engine, names: Sequence[str], everything: bool) -> list[str]:
    mine = f"{LABEL}={KEY}"
    present = engine.list("container", mine, f'{{{{.Label "{LABEL_NAME}"}}}}')
    removed = [name for name in present if everything or name in names]
    if removed:
        engine.docker("rm", "--force", "--volumes", *(container_name(name) for name in removed))
    for volume in engine.list("volume", mine, "{{.Name}}"):
        if everything or volume in {volume_name(name) for name in names}:
            engine.docker("volume", "rm", "--force", volume)
    if len(removed) == len(present):
        for network in engine.list("network", mine, "{{.Name}}"):
            if engine.own:
                bed_engine.remove_rules(f"{bed_engine.RULE_MARK}:{bridge_name(engine)}")
            engine.docker("network", "rm", network)
    if everything:
        for image in set(engine.list("image", mine, "{{.ID}}")):
            engine.docker("image", "rm", "--force", image)
    return removed


def hosts(engine: Engine) -> list[tuple[str, dict[str, Any], str]]:
    """Name, specification and state of this checkout's hosts."""
    names = engine.list("container", f"{LABEL}={KEY}", f'{{{{.Label "{LABEL_NAME}"}}}}')
    found = []
    for name in sorted(names):
        container = inspect(engine, name)
        if container is not None:
            found.append((name, json.loads(container["Config"]["Labels"][LABEL_SPEC]), container["State"]["Status"]))
    return found
