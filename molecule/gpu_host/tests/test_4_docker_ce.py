"""Docker CE from a stand-in of Docker's own repository, on a host that had Debian's Docker; its data stays."""

from __future__ import annotations

from typing import Any

import pytest

from .toolkit_host import REPOSITORY, Play, docker_pid, on_host, running_since

OLD, NEW = "28.0.4", "28.1.1"
PROGRAMS = (
    "/usr/bin/docker /usr/sbin/dockerd /usr/sbin/docker-proxy /usr/bin/docker-init /usr/bin/containerd /usr/sbin/runc"
    " /usr/bin/containerd-shim-runc-v2 /usr/libexec/docker/cli-plugins/docker-buildx"
    " /usr/libexec/docker/cli-plugins/docker-compose"
)
KEYRING = "/etc/apt/keyrings/mistral-docker.asc"
STATE = (
    "cat /etc/docker/daemon.json; ls -l /etc/apt/sources.list.d /etc/apt/keyrings; apt-mark showhold;"
    " systemctl show --property MainPID docker containerd;"
    " dpkg-query --show --showformat '${Package} ${Version} ${db:Status-Abbrev}\\n'"
)
role = Play("docker.yml", STATE)
key_file = REPOSITORY / "docker" / "fingerprint"
# Not there where the tests are only listed.
fingerprint = key_file.read_text().strip() if key_file.exists() else ""
FROM_DOCKER: dict[str, Any] = {
    "docker_engine_source": "docker",
    "docker_engine_version": OLD,
    "docker_engine_repository_url": "http://127.0.0.1:8099/linux",
    "docker_engine_repository_key_fingerprint": fingerprint,
}


@pytest.fixture(scope="module", autouse=True)
def _no_daemon() -> None:
    """Debian's Docker is half removed, as somebody may have left it; the stand-in's packages get its programs."""
    on_host(
        f"mkdir -p /srv/docker-programs && cp --link --dereference {PROGRAMS} /srv/docker-programs/"
        " && docker stop $(docker ps --quiet) && systemctl stop docker.socket docker"
        " && DEBIAN_FRONTEND=noninteractive apt-get remove --yes --quiet --allow-change-held-packages"
        " docker.io docker-compose containerd runc"
    )


def versions() -> dict[str, str]:
    listed = on_host("dpkg-query --show --showformat '${db:Status-Status} ${Package} ${Version}\\n'").splitlines()
    return {name: version for status, name, version in map(str.split, listed) if status == "installed"}


def held() -> set[str]:
    return {name for name in on_host("apt-mark showhold").split() if name.startswith("docker")}


def test_packages_in_the_way_are_named_and_left() -> None:
    role.refused("docker.conflicting_packages", "docker-cli", "docker-buildx", **FROM_DOCKER)
    on_host("apt-get remove --yes --quiet --allow-change-held-packages docker-cli docker-buildx")


def test_another_key_is_not_trusted() -> None:
    wrong = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
    variables = {**FROM_DOCKER, "docker_engine_repository_key_fingerprint": wrong}
    role.refused("docker.key_fingerprint_differs", wrong, fingerprint, **variables)


def test_a_dry_run_changes_nothing() -> None:
    before = on_host(STATE)
    assert role.works("--check", "--diff", **FROM_DOCKER) > 0
    assert on_host(STATE) == before


def test_exact_version_held_from_a_repository_with_its_key_only() -> None:
    assert role.works(**FROM_DOCKER) > 0
    found = versions()
    for name in ("docker-ce", "docker-ce-cli"):
        assert found[name] == f"5:{OLD}-1~debian.13~trixie"
    assert {"containerd.io", "docker-buildx-plugin", "docker-compose-plugin"} <= set(found)
    assert not {"docker.io", "docker-cli", "containerd", "runc"} & set(found)
    assert held() == {"docker-ce", "docker-ce-cli"}
    source = on_host("cat /etc/apt/sources.list.d/mistral-docker.sources")
    assert f"Signed-By: {KEYRING}" in source
    assert on_host(f"cat {KEYRING}") == on_host("cat /srv/toolkit/linux/debian/gpg")
    on_host("apt-get update --error-on=any")
    # The data of the former Docker, where it was.
    assert on_host("docker info --format '{{.DockerRootDir}}'") == "/var/lib/docker/moved"
    assert on_host("docker start mistral-engine") == "mistral-engine"


def test_nothing_more_to_do() -> None:
    before = on_host(STATE)
    assert role.works(**FROM_DOCKER) == 0
    assert on_host(STATE) == before


@pytest.mark.parametrize("version", [NEW, OLD])
def test_upgrade_and_downgrade_leave_containers_running(version: str) -> None:
    before, pid = running_since("mistral-engine"), docker_pid()
    assert role.works(**{**FROM_DOCKER, "docker_engine_version": version}) > 0
    found = versions()
    assert {found["docker-ce"], found["docker-ce-cli"]} == {f"5:{version}-1~debian.13~trixie"}
    assert held() == {"docker-ce", "docker-ce-cli"}
    assert docker_pid() not in (pid, "0")
    assert running_since("mistral-engine") == before


def test_it_is_accepted_as_it_is_by_a_role_that_would_take_the_distributions() -> None:
    before = on_host(STATE)
    assert role.works(docker_engine_version="") == 0
    assert on_host(STATE) == before
