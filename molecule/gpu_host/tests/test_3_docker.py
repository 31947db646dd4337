"""Docker on a real host: every setting in effect, nothing of others lost, no restart and no stop that is not needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .toolkit_host import Play, docker_pid, on_host, running_since

SETTINGS = "/etc/docker/daemon.json"
PASSWORD, NEW_PASSWORD = "hush-4711", "new-0815"
# From the test on that changes it.
CHANGED = {"toolkit_proxy_password": NEW_PASSWORD}
PACKAGES = "docker.io docker-cli containerd runc docker-buildx docker-compose"
STATE = (
    f"cat {SETTINGS}; stat -c %i.%Y {SETTINGS}; systemctl show --property MainPID docker containerd;"
    f" dpkg-query --show --showformat '${{Package}} ${{Version}} ${{db:Status-Abbrev}}\\n' {PACKAGES};"
    " ls /etc/apt/sources.list.d /etc/apt/keyrings /etc/docker/certs.d/*"
)
role = Play("docker.yml", STATE)


def info() -> dict[str, Any]:
    return dict(json.loads(on_host("docker info --format '{{json .}}'")))


def test_docker_has_the_settings() -> None:
    said = info()
    assert said["DockerRootDir"] == "/var/lib/docker/moved"
    assert said["Driver"] == "overlay2"
    assert said["LiveRestoreEnabled"] is True
    assert said["DefaultAddressPools"] == [{"Base": "10.219.0.0/16", "Size": 24}]
    assert said["RegistryConfig"]["Mirrors"] == ["https://mirror.example.org/"]
    assert said["NoProxy"] == "localhost,127.0.0.1,ghcr.io"
    assert "@127.0.0.1:3128" in said["HttpProxy"]
    assert "@127.0.0.1:3128" in said["HttpsProxy"]
    # What others had set.
    assert said["Labels"] == ["rack=7"]


def test_containers_get_the_settings() -> None:
    container = on_host("docker create --ulimit core=0 $(docker images --quiet mistralrs-stack/gpu-check) true")
    try:
        made = json.loads(on_host(f"docker inspect {container}"))[0]["HostConfig"]
    finally:
        on_host(f"docker rm {container}")
    assert made["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "7m", "max-file": "4"}}
    limits = {one["Name"]: (one["Soft"], one["Hard"]) for one in made["Ulimits"]}
    assert limits == {"core": (0, 0), "nofile": (2048, 4096)}
    network = json.loads(on_host("docker network inspect mistral-engine"))[0]
    assert network["IPAM"]["Config"][0]["Subnet"].startswith("10.219.")


def test_the_version_is_held() -> None:
    assert {"docker.io", "docker-cli"} <= set(on_host("apt-mark showhold").split())
    assert on_host("dpkg-query --show --showformat '${Version}' docker.io").startswith("26.1.5")


def test_a_registry_is_trusted_with_its_authority_only() -> None:
    reference = "ghcr.io/ericlbuehler/mistral.rs:any"
    on_host("mv /etc/docker/certs.d/ghcr.io /root/ghcr.io")
    try:
        assert "x509: " in on_host(f"docker pull --quiet {reference} 2>&1", status=1)
    finally:
        on_host("mv /root/ghcr.io /etc/docker/certs.d/ghcr.io")
    assert on_host(f"docker pull --quiet {reference} && docker rmi {reference} >/dev/null") == reference


def readable_for_all(word: str) -> list[str]:
    """Files with the word that everybody may read; those of the stand-ins are not the role's."""
    control = "/run/readable-for-all"
    # Files that are gone when it is their turn make grep fail too; that it has looked at all shows in the control.
    found = on_host(
        f"printf %s '{word}' >{control} && chmod 644 {control};"
        " find /etc /home /opt /run /srv /tmp /var -xdev -path /var/lib/docker -prune -o -type f -perm -004 -print0"
        f" | xargs -0 grep -lsF -e '{word}'; rm {control}"
    ).splitlines()
    found.remove(control)
    return found


def test_only_root_can_read_the_password() -> None:
    assert PASSWORD in on_host(f"cat {SETTINGS}")
    assert on_host(f"stat -c '%a %U' {SETTINGS}") == "600 root"
    assert readable_for_all(PASSWORD) == []
    assert PASSWORD not in on_host("ps axww; systemctl show docker.service; journalctl --no-pager")


def test_a_setting_that_needs_no_restart() -> None:
    before, pid = running_since("mistral-engine"), docker_pid()
    assert role.works(docker_engine_registry_mirrors=["https://other.example.org"]) > 0
    assert info()["RegistryConfig"]["Mirrors"] == ["https://other.example.org/"]
    assert (docker_pid(), running_since("mistral-engine")) == (pid, before)


def test_a_changed_password_is_in_no_output_and_stops_no_container() -> None:
    before, pid = running_since("mistral-engine"), docker_pid()
    done = role.run("-vvv", "--diff", **CHANGED)
    assert done.code == 0, done.text[-3000:]
    assert NEW_PASSWORD in on_host(f"cat {SETTINGS}")
    for password in (PASSWORD, NEW_PASSWORD):
        assert password not in done.text
        assert readable_for_all(password) == []
    assert docker_pid() != pid, "proxies need a restart"
    assert running_since("mistral-engine") == before
    assert info()["Labels"] == ["rack=7"]
    assert info()["RegistryConfig"]["Mirrors"] == ["https://mirror.example.org/"]


def test_a_docker_of_another_source_is_accepted_as_it_is() -> None:
    before = on_host(STATE)
    assert role.works(docker_engine_source="docker", docker_engine_version="", **CHANGED) == 0
    assert on_host(STATE) == before


def test_what_would_lose_data_or_cannot_be_had_is_refused_at_once() -> None:
    said = role.refused(
        "docker.data_root_has_moved",
        "/var/lib/docker/moved",
        "/srv/elsewhere",
        docker_engine_data_root="/srv/elsewhere",
        docker_engine_version="27.9.9",
        **CHANGED,
    )
    assert "[docker.version_unavailable]" in said
    assert "26.1.5" in said


@pytest.fixture
def forgiven_starts() -> Iterator[None]:
    yield
    on_host("systemctl reset-failed docker.service docker.socket; systemctl start docker")


@pytest.mark.usefixtures("forgiven_starts")
def test_a_docker_that_does_not_start_gets_its_former_settings_back() -> None:
    before, settings = running_since("mistral-engine"), on_host(f"cat {SETTINGS}")
    done = role.run(docker_engine_daemon_settings={"storage-driver": "btrfs"}, **CHANGED)
    said = done.words
    assert done.code != 0
    assert "[docker.not_usable]" in said, done.text[-3000:]
    assert "btrfs" in said, "Docker's own reason"
    assert "it runs again" in said
    assert on_host(f"cat {SETTINGS}") == settings
    assert on_host(f"stat -c '%a %U' {SETTINGS}") == "600 root"
    assert on_host("systemctl is-active docker") == "active"
    assert running_since("mistral-engine") == before
