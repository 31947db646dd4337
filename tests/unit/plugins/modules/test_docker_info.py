"""The module as a whole: stand-ins of the host's programs in, facts out."""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.module_utils._docker import probe
from ansible_collections.mistralrs.stack.plugins.module_utils._docker.facts import Daemon
from ansible_collections.mistralrs.stack.plugins.modules import docker_info

Run = Callable[..., dict[str, Any]]
NOW = time.time()
PROGRAMS = ("docker", "dockerd", "systemctl", "journalctl", "dpkg-query", "apt-cache", "findmnt")


class Host:
    """A folder with stand-ins of the host's programs; each prints the text that it was given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir()
        for name in PROGRAMS:
            self.says(name, "")

    def says(self, name: str, text: str, error: str = "", status: int = 0) -> None:
        (self.root / f"{name}.out").write_text(text)
        (self.root / f"{name}.err").write_text(error)
        program = self.bin / name
        program.write_text(f"#!/bin/sh\ncat {self.root}/{name}.out; cat {self.root}/{name}.err >&2; exit {status}\n")
        program.chmod(0o755)

    def unit(
        self, pid: int, started: float = NOW - 5, drop_ins: str = "", command: str = "", state: str = "active"
    ) -> None:
        stamp = time.strftime("%a %Y-%m-%d %H:%M:%S", time.gmtime(started)) + f".{int(started % 1 * 1e6):06d} UTC"
        values = {
            "ActiveState": state,
            "UnitFileState": "enabled",
            "FragmentPath": "/usr/lib/systemd/system/docker.service",
            "ExecMainStartTimestamp": stamp,
            "DropInPaths": drop_ins,
            "MainPID": pid,
            "ExecStart": command,
        }
        self.says("systemctl", "".join(f"{key}={value}\n" for key, value in values.items()))

    def file(self, path: str, written: float, text: str = "") -> str:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        for each in (file, file.parent):
            os.utime(each, (written, written))
        return str(file)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    monkeypatch.setenv("PATH", f"{host.bin}:{os.environ['PATH']}")
    return host


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(**options: Any) -> dict[str, Any]:
        arguments = {"_ansible_check_mode": True, "_ansible_remote_tmp": str(tmp_path), **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            docker_info.main()
        text = capsys.readouterr().out
        assert "s3cret" not in text
        said = json.loads(text)
        assert said["changed"] is False
        return dict(said["docker_info"])

    return call


DROP_IN = "etc/systemd/system/docker.service.d/mistral-proxies.conf"
ENVIRONMENT = "etc/docker/mistral-proxies.env"
FOREIGN = "etc/systemd/system/docker.service.d/limits.conf"


@pytest.mark.parametrize(
    ("files", "known", "unread"),
    [
        pytest.param({DROP_IN: NOW - 1}, DROP_IN, [DROP_IN], id="drop-in written"),
        pytest.param({DROP_IN: NOW - 9, ENVIRONMENT: NOW - 1}, DROP_IN, [ENVIRONMENT], id="proxies written"),
        pytest.param({DROP_IN: NOW - 9}, "", [DROP_IN], id="written, systemd not told"),
        pytest.param({}, DROP_IN, [DROP_IN], id="removed, systemd not told"),
        pytest.param({DROP_IN: NOW - 9}, DROP_IN, [], id="read"),
        pytest.param({}, "", [], id="none"),
        # Whether somebody else's settings are to be in effect now is for them to say.
        pytest.param({FOREIGN: NOW - 1}, "", [], id="of somebody else"),
    ],
)
def test_settings_that_the_running_docker_has_not_read(
    host: Host, run: Run, files: dict[str, float], known: str, unread: list[str]
) -> None:
    host.unit(os.getpid(), drop_ins=f"{host.root}/{known}" if known else "")
    for path, written in files.items():
        host.file(path, written, "HTTP_PROXY=http://me:s3cret@proxy:3128\n")
    own = [f"{host.root}/{path}" for path in (DROP_IN, ENVIRONMENT)]
    facts = run(service_files=own)
    assert facts["unread"] == [f"{host.root}/{path}" for path in unread]
    assert facts["service_files"] == [path for path in own if Path(path).exists()]
    host.unit(0, state="inactive")
    assert run(service_files=own)["unread"] == [], "one that starts reads them"


def test_a_removed_drop_in_counts_too(host: Host, run: Run) -> None:
    host.unit(os.getpid())
    path = Path(host.file(DROP_IN, NOW - 9))
    path.unlink()
    assert run(service_files=[str(path)])["unread"] == [str(path.parent)]


@pytest.fixture
def old_program(tmp_path: Path) -> Iterator[int]:
    """A process whose program was replaced since."""
    program = tmp_path / "sleep"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    with subprocess.Popen([str(program), "60"]) as process:
        program.unlink()
        yield process.pid
        process.kill()


def test_a_program_that_was_replaced_under_it(host: Host, run: Run, old_program: int) -> None:
    host.unit(old_program)
    assert run()["program_replaced"] is True
    host.unit(os.getpid())
    assert run()["program_replaced"] is False


INFO = {
    "ServerVersion": "26.1.5+dfsg1",
    "DockerRootDir": "",
    "HttpProxy": "http://me:s3cret@proxy:3128",
    "ClientInfo": {"Plugins": [{"Name": "compose", "Version": "2.26.1-4"}]},
}


def test_all_of_it(host: Host, run: Run) -> None:
    root = host.root / "docker"
    host.says("docker", json.dumps({**INFO, "DockerRootDir": str(root)}))
    host.unit(os.getpid(), command="{ argv[]=/usr/sbin/dockerd --http-proxy=http://me:s3cret@proxy:3128 ; }")
    host.says("dpkg-query", "installed docker.io 26.1.5+dfsg1-9+b9 hold\n")
    host.says("apt-cache", " docker.io | 26.1.5+dfsg1-9+b9 | http://deb.debian.org/debian trixie/main amd64 Packages\n")
    host.says("findmnt", "overlay\next4\n")
    host.says("journalctl", 'level=error msg="http://me:s3cret@proxy:3128 does not answer"\n')
    root.mkdir()
    (root / "volumes").mkdir()
    (root / "volumes" / "metadata.db").write_text("")
    facts = run(packages=["docker.io"], package="docker.io")
    assert facts["daemon"]["version"] == "26.1.5+dfsg1"
    assert facts["daemon"]["compose_version"] == "2.26.1-4"
    assert (facts["state"], facts["enabled"]) == ("active", "enabled")
    assert facts["program"] == str(host.bin / "dockerd")
    assert facts["options"] == ["--http-proxy"]
    assert facts["packages"] == [{"name": "docker.io", "version": "26.1.5+dfsg1-9+b9", "selection": "hold"}]
    assert facts["available_versions"] == ["26.1.5+dfsg1-9+b9"]
    assert facts["data_root"] == str(root)
    assert facts["file_system"] == "ext4"
    assert facts["free_kb"] == pytest.approx(os.statvfs(root).f_bavail * os.statvfs(root).f_frsize // 1024, rel=0.1)
    assert facts["last_words"] == 'level=error msg="http://me:***@proxy:3128 does not answer"'
    assert not facts["has_data"]
    (root / "volumes" / "models").mkdir()
    assert run()["has_data"]


@pytest.mark.parametrize("part", ["containers/0b6c", "volumes/models", "image/overlay2/imagedb/content/sha256/0b6c"])
def test_data_of_a_docker_that_does_not_answer(host: Host, run: Run, part: str) -> None:
    root = host.root / "docker"
    host.says("docker", "", "Cannot connect to the Docker daemon\n", status=1)
    assert not run(data_root=str(root), former_data_root=str(root))["has_data"]
    (root / part).mkdir(parents=True)
    facts = run(data_root=str(root), former_data_root=str(root))
    assert facts["has_data"]
    assert facts["daemon"]["version"] == ""
    assert facts["last_words"] == "Cannot connect to the Docker daemon"


def test_data_that_is_to_move_needs_room_at_its_new_place(host: Host, run: Run) -> None:
    host.says("docker", json.dumps({**INFO, "DockerRootDir": "/var/lib/docker"}))
    program = host.bin / "findmnt"
    program.write_text(f'#!/bin/sh\necho "$*" >{host.root}/asked\n')
    facts = run(data_root=f"{host.root}/new/docker")
    assert facts["data_root"] == "/var/lib/docker"
    assert (host.root / "asked").read_text().split()[-1] == str(host.root)


@pytest.mark.parametrize("root", ["", "docker", "data/docker"])
def test_a_data_root_that_is_not_an_absolute_path_ends_the_search(host: Host, run: Run, root: str) -> None:
    """That it is refused is for the plan."""
    assert run(data_root=root)["free_kb"] > 0


def test_a_host_without_any_of_the_programs() -> None:
    facts = probe.gather(probe.Request(), lambda _command: (127, "", ""), lambda _name: None)
    assert facts.daemon == Daemon()
    assert (facts.program, facts.state, facts.packages, facts.unread) == ("", "", (), ())
    assert facts.data_root == "/var/lib/docker"


def test_who_runs_a_docker_without_roots_rights(tmp_path: Path) -> None:
    # The file is what a user's Docker left behind on another file system.
    for user, is_socket in (("0", True), ("1", True), ("4999", True), ("2", False)):
        path = tmp_path / user / "docker.sock"
        path.parent.mkdir()
        if is_socket:
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(str(path))
        else:
            path.write_text("")
    assert probe.rootless_users(str(tmp_path)) == [pwd.getpwuid(1).pw_name, "4999"]


@pytest.mark.parametrize(
    ("name", "subuid", "subgid", "expected"),
    [
        ("root", "x:1:1\nroot:100000:65536\n", "root:100000:65536\n", True),
        ("root", "root:100000:65536\n", "rootless:100000:65536\n", False),
        ("no-such-user", "no-such-user:1:1\n", "no-such-user:1:1\n", False),
        ("", ":1:1\n", ":1:1\n", False),
    ],
)
def test_a_user_of_the_user_namespace(tmp_path: Path, name: str, subuid: str, subgid: str, expected: bool) -> None:
    (tmp_path / "subuid").write_text(subuid)
    (tmp_path / "subgid").write_text(subgid)
    assert probe.is_userns_user(name, str(tmp_path)) is expected
