"""How the words of Docker, its log and the package manager are read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._docker.facts import (
    Daemon,
    Facts,
    Network,
    Package,
    from_result,
    last_words,
    names_repository,
    option_names,
    parse_info,
    parse_packages,
    parse_routes,
    parse_versions,
    result,
)

# Docker 26.1.5 of Debian 13, shortened.
INFO: dict[str, Any] = {
    "ID": "0b6c",
    "ContainersRunning": 2,
    "Driver": "overlay2",
    "CgroupDriver": "systemd",
    "DockerRootDir": "/var/lib/docker",
    "HttpProxy": "http://me:s3cret@proxy:3128",
    "Labels": ["token=s3cret"],
    "ServerVersion": "26.1.5+dfsg1",
    "Swarm": {"NodeID": "", "LocalNodeState": "inactive"},
    "LiveRestoreEnabled": True,
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
    "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"],
    "ClientInfo": {
        "Plugins": [{"Name": "buildx", "Version": "0.13.1+ds1"}, {"Name": "compose", "Version": "2.26.1-4"}]
    },
}
DAEMON = Daemon(
    version="26.1.5+dfsg1",
    compose_version="2.26.1-4",
    buildx_version="0.13.1+ds1",
    storage_driver="overlay2",
    data_root="/var/lib/docker",
    cgroup_driver="systemd",
    containers_running=2,
    live_restore=True,
    swarm="inactive",
    cdi_folders=("/etc/cdi", "/var/run/cdi"),
    security_options=("name=seccomp,profile=builtin", "name=cgroupns"),
)


def test_what_docker_says() -> None:
    assert parse_info(f"WARNING: no swap limit\n{json.dumps(INFO)}\n") == DAEMON


def test_a_client_alone_knows_its_plugins() -> None:
    info = {"ServerErrors": ["Cannot connect"], "ClientInfo": INFO["ClientInfo"], "Swarm": None, "CDISpecDirs": None}
    assert parse_info(json.dumps(info)) == Daemon(compose_version="2.26.1-4", buildx_version="0.13.1+ds1")


@pytest.mark.parametrize("text", ["", "Cannot connect to the Docker daemon\n", "{broken", "[]", '{"ClientInfo": null}'])
def test_a_docker_that_does_not_answer(text: str) -> None:
    assert parse_info(text) == Daemon()


def test_facts_come_back_as_they_were() -> None:
    facts = Facts(
        daemon=DAEMON,
        packages=(Package("docker.io", "26.1.5+dfsg1-9+b9", "hold"),),
        networks=(Network("eth0", "172.17.0.0/16"),),
    )
    data = json.loads(json.dumps(result(facts)))
    again = from_result(data)
    assert json.loads(json.dumps(result(again))) == data
    assert again.version_of("docker.io") == "26.1.5+dfsg1-9+b9"
    assert again.version_of("docker-ce") == ""


STARTING = 'time="…" level=info msg="Starting up"\n'
REASON = "failed to start daemon: Error initializing network controller: no available network\n"


@pytest.mark.parametrize(
    ("journal", "client", "expected"),
    [
        (f"{STARTING}{REASON}docker.service: Failed with result 'exit-code'.\n", "x", REASON.strip()),
        ('level=fatal msg="first"\nlevel=fatal msg="last"\nCannot do more\n', "", 'level=fatal msg="last"'),
        (
            "dockerd: No such file or directory\nStart request repeated too quickly.\n",
            "",
            "dockerd: No such file or directory",
        ),
        (
            f"{STARTING}docker.service: Start request repeated too quickly.\n",
            "x",
            "docker.service: Start request repeated too quickly.",
        ),
        (
            'level=info msg="an error"\n',
            "first\nCannot connect to the Docker daemon\n \n",
            "Cannot connect to the Docker daemon",
        ),
        ("", "", ""),
        ("unable to configure: http://me:s3cret@proxy:3128\n", "", "unable to configure: http://me:***@proxy:3128"),
    ],
)
def test_the_last_words(journal: str, client: str, expected: str) -> None:
    assert last_words(journal, client) == expected


def test_names_of_options_and_none_of_their_values() -> None:
    command = (
        "{ path=/usr/sbin/dockerd ; "
        "argv[]=/usr/sbin/dockerd -H fd:// --http-proxy=http://me:s3cret@proxy --debug $DOCKER_OPTS ; status=0/0 }"
    )
    defaults = "# DOCKER_OPTS='--bip=1'\n DOCKER_OPTS=\"--log-driver journald -H unix:///x\"\n"
    assert option_names(command, defaults) == ("--debug", "--http-proxy", "--log-driver", "-H")
    assert option_names("", "") == ()


def test_packages() -> None:
    text = (
        "installed docker.io 26.1.5+dfsg1-9+b9 hold\n"
        "not-installed docker-ce  unknown\n"
        "config-files runc 1.1.15+ds1-2 deinstall\n"
        "installed containerd 1.7.24~ds1-6+b4 install\n"
    )
    assert parse_packages(text) == (
        Package("docker.io", "26.1.5+dfsg1-9+b9", "hold"),
        Package("containerd", "1.7.24~ds1-6+b4", "install"),
    )


def test_versions_of_a_package() -> None:
    text = (
        " docker.io | 26.1.5+dfsg1-9+b9 | http://deb.debian.org/debian trixie/main amd64 Packages\n"
        " docker.io | 26.1.5+dfsg1-9+b9 | http://mirror.example.org/debian trixie/main amd64 Packages\n"
        " docker.io | 26.1.4+dfsg1-1 | http://deb.debian.org/debian trixie/main amd64 Packages\n"
        " docker.io | 26.1.5+dfsg1-9 | http://deb.debian.org/debian trixie/main Sources\n"
    )
    assert parse_versions(text) == ("26.1.5+dfsg1-9+b9", "26.1.4+dfsg1-1")


def test_networks_of_a_host() -> None:
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    rows = [("eth0", "00000000", "00000000"), ("eth0", "000011AC", "0000FFFF"), ("docker0", "0000D20A", "0000FFFF")]
    text = head + "".join(f"{name}\t{to}\t00000000\t0001\t0\t0\t0\t{mask}\t0\t0\t0\n" for name, to, mask in rows)
    assert parse_routes(text) == (Network("eth0", "172.17.0.0/16"),)
    assert parse_routes("") == ()


def test_the_file_that_names_a_repository() -> None:
    texts = [
        ("/a", "deb http://deb.debian.org/debian trixie main"),
        ("/b", "URIs: http://download.docker.com/linux/debian"),
    ]
    assert names_repository(texts, "https://download.docker.com/linux/debian") == "/b"
    assert names_repository(texts, "https://mirror.example.org/debian") == ""
