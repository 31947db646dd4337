"""Systemd test hosts in containers, made from Debian packages; see README.md beside this file."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import bed_engine
import bed_hosts
import bed_image
from bed_base import BedError, say


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(prog="bed.py", description="Systemd test hosts in containers.")
    verbs = main.add_subparsers(dest="verb", required=True, metavar="VERB")

    up = verbs.add_parser("up", help="bring a host up; a second time with the same options changes nothing")
    up.add_argument("name")
    up.add_argument("--suite", choices=sorted(bed_image.SUITES), default="13", help="Debian release (default: 13)")
    up.add_argument("--publish", action="append", default=[], metavar="[ADDRESS:]PORT:PORT_ON_HOST")
    up.add_argument("--mount", action="append", default=[], metavar="/HERE:/ON/HOST[:ro]")
    up.add_argument("--memory", default="", metavar="SIZE", help="memory limit, e.g. 4g")
    up.add_argument("--group", action="append", default=[], help="inventory group; can be repeated")
    up.add_argument("--inventory", type=Path, metavar="FILE", help="write an Ansible inventory of this host there")

    down = verbs.add_parser("down", help="take hosts down with all that belongs to them")
    down.add_argument("names", nargs="*", metavar="name")
    down.add_argument("--all", action="store_true", help="all hosts, images and the bed's own engine of this checkout")

    inventory = verbs.add_parser("inventory", help="an Ansible inventory of some hosts (default: all)")
    inventory.add_argument("names", nargs="*", metavar="name")
    inventory.add_argument("--output", type=Path, metavar="FILE", help="write it there instead of printing it")

    image = verbs.add_parser("image", help="make the host image of a Debian release and print its file")
    image.add_argument("suite", choices=sorted(bed_image.SUITES))

    for verb, help_text in {
        "login": "print the command that opens a shell on a host",
        "reboot": "restart a host and wait for its systemd",
    }.items():
        verbs.add_parser(verb, help=help_text).add_argument("name")
    execute = verbs.add_parser("exec", help="run a command on a host (default: a shell)")
    execute.add_argument("name")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    docker = verbs.add_parser("docker", help="docker with the bed's engine")
    docker.add_argument("command", nargs=argparse.REMAINDER)
    verbs.add_parser("env", help="print what makes `docker` use the bed's engine")
    verbs.add_parser("engine", help="start an engine if none runs, and say which one is used")
    verbs.add_parser("status", help="hosts of this checkout")
    return main


def exec_command(name: str, words: Sequence[str], terminal: bool) -> list[str]:
    engine, _container = bed_hosts.find(name)
    options = ["-it"] if terminal else ["-i"]
    return engine.command("exec", *options, bed_hosts.container_name(name), *(words or ["bash", "-l"]))


def engine_in_use() -> bed_engine.Engine:
    engine = bed_engine.find_engine(bed_hosts.KEY)
    if engine is None:
        raise BedError("No Docker engine runs: 'python3 tests/testbed/bed.py engine' starts one.")
    return engine


def inventory(names: Sequence[str]) -> str:
    engine = engine_in_use()
    present = {name: spec for name, spec, _state in bed_hosts.hosts(engine)}
    for name in names:
        if name not in present:
            raise BedError(f"There is no host {name}: 'python3 tests/testbed/bed.py up {name}' makes it.")
    return bed_hosts.inventory_text([(name, present[name]["groups"]) for name in names or present], engine)


def status() -> None:
    engines = bed_engine.running_engines()
    lines = [
        f"{name}: Debian {spec['suite']}, {state}{''.join(', port ' + port for port in spec['publish'])}"
        f"{' (own engine)' if engine.own else ''}"
        for engine in engines
        for name, spec, state in bed_hosts.hosts(engine)
    ]
    print("\n".join(lines) if lines else f"no hosts{'' if engines else ', and no Docker engine runs'}")


def act(options: argparse.Namespace) -> None:
    verb = options.verb
    if verb == "up":
        spec = bed_hosts.HostSpec(
            name=bed_hosts.check_name(options.name),
            suite=options.suite,
            publish=tuple(map(bed_hosts.parse_publish, options.publish)),
            mounts=tuple(map(bed_hosts.parse_mount, options.mount)),
            memory=options.memory,
            groups=tuple(options.group),
        )
        bed_hosts.up(spec, options.inventory)
    elif verb == "down":
        if bool(options.names) == options.all:
            raise BedError("Say which hosts to take down, or --all.")
        bed_hosts.down([bed_hosts.check_name(name) for name in options.names], options.all)
    elif verb == "inventory":
        text = inventory(options.names)
        if options.output:
            bed_hosts.write_if_changed(options.output, text)
        else:
            print(text, end="")
    elif verb == "image":
        print(bed_image.build_tar(options.suite))
    elif verb == "login":
        print(shlex.join(exec_command(options.name, [], terminal=True)))
    elif verb == "exec":
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        command = exec_command(options.name, options.command, terminal)
        os.execvp(command[0], command)
    elif verb == "reboot":
        engine, _container = bed_hosts.find(options.name)
        engine.docker("restart", "--time", "20", bed_hosts.container_name(options.name))
        say(f"host {options.name} restarted: systemd {bed_hosts.wait_for_systemd(engine, options.name)}")
    elif verb == "docker":
        command = engine_in_use().command(*options.command)
        os.execvp(command[0], command)
    elif verb == "env":
        host = engine_in_use().host
        print(f"export DOCKER_HOST={shlex.quote(host)}" if host else "# docker uses the bed's engine as it is")
    elif verb == "engine":
        with bed_engine.engine_for_change(bed_hosts.KEY) as engine:
            print(f"{'own' if engine.own else 'running already'}: {engine.host or 'the default of docker'}")
    else:
        status()


def main(words: Sequence[str] | None = None) -> int:
    try:
        act(parser().parse_args(words))
    except BedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
