"""What the role docker_engine decides, on what the module docker_info finds on hosts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._docker.facts import (
    Daemon,
    Facts,
    Network,
    Package,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._docker.facts import result as as_result
from ansible_collections.mistralrs.stack.plugins.plugin_utils._distributions import row, supported
from ansible_collections.mistralrs.stack.plugins.plugin_utils._docker_plan import (
    docker_plan,
    flag_conflicts,
    resolve,
    upstream,
)

TABLE = {name: row(name, "docker_engine") for name in supported("docker_engine")}
DEBIAN_13 = {**TABLE["Debian-13"]["distribution"], "repository": "present"}
VALUES: dict[str, Any] = {
    "address_pools": [],
    "cgroup_driver": "",
    "daemon_settings": {},
    "data_root": "",
    "insecure_registries": [],
    "live_restore": True,
    "log_max_file": 3,
    "log_max_size": "50m",
    "proxies": {},
    "registry_ca": {},
    "registry_mirrors": [],
    "source": "distribution",
    "ulimits": {},
    "userns_remap": "",
    "version": "",
}
RUNNING = Daemon(version="26.1.5+dfsg1", containers_running=2, cgroup_driver="systemd")
NONE = Daemon()
VERSION = "26.1.5+dfsg1-9+b9"
FOUND = Facts(
    program="/usr/sbin/dockerd",
    enabled="enabled",
    data_root="/var/lib/docker",
    file_system="ext4",
    options=("--containerd", "-H"),
    packages=(Package("docker.io", VERSION, "install"), Package("docker-cli", VERSION, "install")),
    available_versions=(VERSION,),
    has_data=True,
    networks=(Network("eth0", "172.17.0.0/16"),),
)


def plan(
    found: dict[str, Any] | None = None,
    daemon: Daemon = RUNNING,
    former: dict[str, Any] | None = None,
    offer: dict[str, Any] | None = None,
    **values: Any,
) -> dict[str, Any]:
    # As it comes from a host.
    facts = json.loads(json.dumps(as_result(FOUND._replace(daemon=daemon, **(found or {})))))
    return docker_plan({**VALUES, **values}, facts, former or {}, {**DEBIAN_13, **(offer or {})})


def error_ids(planned: dict[str, Any]) -> list[str]:
    assert all(error.endswith("]") for error in planned["errors"])
    return [error.rsplit("[", 1)[1][:-1] for error in planned["errors"]]


def test_defaults() -> None:
    assert plan() == {
        "settings": {
            "live-restore": True,
            "log-driver": "json-file",
            "log-opts": {"max-size": "50m", "max-file": "3"},
        },
        "secret_settings": {},
        "environment": [],
        "version": "",
        "errors": [],
    }


def test_a_swarm_has_no_live_restore_and_another_log_driver_no_limits() -> None:
    swarm = RUNNING._replace(swarm="active")
    assert plan(daemon=swarm, daemon_settings={"log-driver": "journald"})["settings"] == {"log-driver": "journald"}


def test_all_settings() -> None:
    result = plan(
        found={"has_data": False, "userns_user": True},
        former={"exec-opts": ["isolation=x", "native.cgroupdriver=cgroupfs"]},
        data_root="/srv/docker/",
        address_pools=[{"base": "10.211.0.0/16", "size": 24}],
        registry_mirrors=["https://mirror.example.org/hub"],
        insecure_registries=["registry:5000", "10.0.0.0/8", "[::1]:5000"],
        cgroup_driver="systemd",
        userns_remap="remap:remap",
        ulimits={"nofile": {"soft": 65536, "hard": 524288}, "memlock": -1},
        proxies={"http": "http://proxy:3128", "no_proxy": ["localhost", "10.0.0.0/8"]},
        daemon_settings={"debug": True, "log-opts": {"max-file": "9"}},
    )
    assert result["errors"] == []
    assert result["settings"] == {
        "proxies": {"http-proxy": "http://proxy:3128", "no-proxy": "localhost,10.0.0.0/8"},
        "live-restore": True,
        "log-driver": "json-file",
        "log-opts": {"max-size": "50m", "max-file": "9"},
        "data-root": "/srv/docker",
        "default-address-pools": [{"base": "10.211.0.0/16", "size": 24}],
        "registry-mirrors": ["https://mirror.example.org/hub"],
        "insecure-registries": ["registry:5000", "10.0.0.0/8", "[::1]:5000"],
        "exec-opts": ["isolation=x", "native.cgroupdriver=systemd"],
        "userns-remap": "remap:remap",
        "default-ulimits": {
            "nofile": {"Name": "nofile", "Soft": 65536, "Hard": 524288},
            "memlock": {"Name": "memlock", "Soft": -1, "Hard": -1},
        },
        "debug": True,
    }


@pytest.mark.parametrize(
    ("values", "error_id", "words"),
    [
        ({"log_max_size": "50 MB"}, "docker.setting_invalid", "'50 MB'"),
        ({"log_max_file": 0}, "docker.setting_invalid", "log_max_file"),
        ({"data_root": "srv"}, "docker.setting_invalid", "'srv'"),
        ({"data_root": "/srv/../etc"}, "docker.setting_invalid", "data_root"),
        ({"address_pools": [{"base": "10.211.0.1/16", "size": 24}]}, "docker.setting_invalid", "has host bits set"),
        ({"address_pools": [{"base": "10.211.0.0", "size": 24}]}, "docker.setting_invalid", "address_pools"),
        ({"address_pools": [{"base": "10.211.0.0/16", "size": 8}]}, "docker.setting_invalid", "from 16 to 30"),
        ({"address_pools": [{"base": "10.211.0.0/16"}]}, "docker.setting_invalid", "'size'"),
        ({"address_pools": [{"base": "172.17.4.0/22", "size": 24}]}, "docker.pools_overlap", "172.17.0.0/16 (eth0)"),
        (
            {"address_pools": [{"base": "10.211.0.0/16", "size": 24}, {"base": "10.211.8.0/24", "size": 28}]},
            "docker.pools_overlap",
            "the pool 10.211.0.0/16",
        ),
        ({"registry_mirrors": ["mirror.example.org"]}, "docker.setting_invalid", "registry_mirrors"),
        ({"registry_mirrors": ["https://me:s3cret@mirror"]}, "docker.setting_invalid", "no user"),
        ({"insecure_registries": ["http://registry:5000"]}, "docker.setting_invalid", "http://registry:5000"),
        ({"proxies": {"http": "proxy:3128"}}, "docker.setting_invalid", "proxies"),
        ({"proxies": {"http": "http://me:s3cr@t/x@proxy:99999"}}, "docker.setting_invalid", "proxies"),
        ({"proxies": {"https_proxy": "http://proxy"}}, "docker.setting_invalid", "https_proxy"),
        ({"ulimits": {"files": 1}}, "docker.setting_invalid", "'files'"),
        ({"ulimits": {"nofile": {"soft": 9, "hard": 5}}}, "docker.setting_invalid", "'soft' not above"),
        ({"ulimits": {"nofile": "many"}}, "docker.setting_invalid", "nofile"),
        ({"userns_remap": "a b"}, "docker.setting_invalid", "userns_remap"),
        ({"registry_ca": {"https://r": ""}}, "docker.setting_invalid", "https://r"),
        ({"registry_ca": {"registry:5000": "none"}}, "trust.not_a_certificate", "registry:5000"),
        ({"version": "latest"}, "docker.setting_invalid", "'latest'"),
        ({"version": "27.0.1"}, "docker.version_unavailable", "docker.io in 26.1.5+dfsg1-9+b9"),
        ({"data_root": "/srv/docker"}, "docker.data_root_has_moved", "/var/lib/docker/. /srv/docker/"),
        ({"userns_remap": "default"}, "docker.userns_hides_data", "no user namespace"),
        ({"cgroup_driver": "cgroupfs"}, "docker.cgroup_driver_with_containers", "2 of its containers"),
    ],
)
def test_what_is_refused(values: dict[str, Any], error_id: str, words: str) -> None:
    result = plan(**values)
    assert error_ids(result) == [error_id]
    assert words in result["errors"][0]
    assert "s3cr" not in result["errors"][0]


@pytest.mark.parametrize(
    ("found", "daemon", "values", "error_id", "words"),
    [
        ({"snap": True}, RUNNING, {}, "docker.snap_unsupported", "snap remove"),
        ({"rootless_users": ("alice", "bob"), "enabled": "disabled"}, NONE, {}, "docker.rootless_only", "alice, bob"),
        ({"options": ("--log-driver", "-H")}, NONE, {}, "docker.flags_conflict", "--log-driver"),
        ({"file_system": "nfs4"}, NONE, {}, "docker.data_root_on_network", "nfs4"),
        (
            {"has_data": False, "userns_user": False},
            NONE,
            {"userns_remap": "bob:bob"},
            "docker.userns_user_unknown",
            "names bob,",
        ),
    ],
)
def test_broken_hosts(found: dict[str, Any], daemon: Daemon, values: dict[str, Any], error_id: str, words: str) -> None:
    result = plan(found, daemon, **values)
    assert error_ids(result) == [error_id]
    assert words in result["errors"][0]


def test_what_is_in_effect_already_is_not_refused() -> None:
    pools = [{"base": "172.17.0.0/16", "size": 24}]
    former = {"default-address-pools": pools, "data-root": "/srv/docker", "userns-remap": "default"}
    found = {"file_system": "nfs4", "rootless_users": ("alice",)}
    result = plan(
        found,
        former=former,
        address_pools=pools,
        data_root="/srv/docker",
        userns_remap="default",
        cgroup_driver="systemd",
    )
    assert result["errors"] == []


def test_flags_by_their_names_in_the_settings() -> None:
    faults = flag_conflicts(
        ["--containerd", "-H", "--registry-mirror", "--data-root"], ["hosts", "registry-mirrors", "debug"]
    )
    assert [str(fault).partition(",")[0] for fault in faults] == [
        "dockerd is started with the option -H",
        "dockerd is started with the option --registry-mirror",
    ]


@pytest.mark.parametrize(
    ("version", "place"), [("26.1.5+dfsg1", "settings"), ("20.10.24+dfsg1", "environment"), ("23.0.1", "settings")]
)
def test_proxies_by_the_version_of_docker(version: str, place: str) -> None:
    proxies = {"http": "http://me:s3cret@proxy:3128", "no_proxy": "localhost, .example.org"}
    result = plan(daemon=RUNNING._replace(version=version), proxies=proxies)
    if place == "environment":
        assert result["environment"] == [
            'HTTP_PROXY="http://me:s3cret@proxy:3128"',
            'NO_PROXY="localhost,.example.org"',
        ]
        assert result["secret_settings"] == {}
    else:
        assert result["environment"] == []
        assert result["secret_settings"]["proxies"]["no-proxy"] == "localhost,.example.org"
    assert "s3cret" not in json.dumps(result["settings"])


def test_proxies_of_a_docker_to_come() -> None:
    found = {"program": "", "packages": (), "available_versions": ("20.10.24+dfsg1-1+deb12u1+b2",)}
    assert plan(found, NONE, proxies={"http": "http://proxy:3128"})["environment"] == ['HTTP_PROXY="http://proxy:3128"']


CE = ["5:27.0.1-1~debian.12~bookworm", "5:26.1.5-1~debian.12~bookworm", "5:26.1.4-1~debian.12~bookworm"]


@pytest.mark.parametrize(
    ("version", "available", "expected"),
    [
        ("26.1.5", CE, CE[1]),
        ("26.1.5-1~debian.12~bookworm", CE, CE[1]),
        (CE[2], CE, CE[2]),
        ("26.1", CE, None),
        ("5:26.1.5", CE, None),
        ("26.1.5", ["26.1.5+dfsg1-9+b9"], "26.1.5+dfsg1-9+b9"),
        ("26.1.5", [], None),
    ],
)
def test_versions(version: str, available: list[str], expected: str | None) -> None:
    assert resolve(version, available) == expected


def test_upstream_versions() -> None:
    assert [upstream(text) for text in (CE[0], "20.10.24+dfsg1-1+deb12u1+b2", "26.1.5")] == [
        "27.0.1",
        "20.10.24",
        "26.1.5",
    ]


def test_a_version_changes_only_a_docker_of_the_same_source() -> None:
    listed = {"available_versions": (VERSION, "26.1.4+dfsg1-1")}
    assert plan(listed, version="26.1.4")["version"] == "26.1.4+dfsg1-1"
    assert plan(version="26.1.5")["version"] == "26.1.5+dfsg1-9+b9"
    other = {"packages": (Package("docker-ce", "5:27.0.1-1~debian.13~trixie", "install"),)}
    result = plan(other, version="26.1.5")
    assert error_ids(result) == ["docker.other_source"]
    assert "from the package docker-ce" in result["errors"][0]
    by_hand: dict[str, Any] = {"packages": ()}
    assert "is not from a package" in plan(by_hand, version="26.1.5")["errors"][0]
    assert plan(by_hand, RUNNING._replace(version="26.1.5"), version="26.1.5")["errors"] == []


def test_a_repository_to_come_has_its_versions_later() -> None:
    fresh: dict[str, Any] = {"program": "", "packages": (), "available_versions": ()}
    offer = {**TABLE["Debian-13"]["docker"], "repository": "missing"}
    assert plan(fresh, NONE, offer=offer, version="27.0.1") == {**plan(fresh, NONE), "version": ""}
    later = {**fresh, "available_versions": tuple(CE)}
    assert plan(later, NONE, offer=offer, version="27.0.1")["version"] == CE[0]
    assert error_ids(plan(later, NONE, offer=offer, version="1.0")) == ["docker.version_unavailable"]


@pytest.mark.parametrize("release", sorted(TABLE))
def test_the_table(release: str) -> None:
    sources = TABLE[release]
    assert set(sources) <= {"distribution", "docker"}
    assert "docker" in sources
    for source, offer in sources.items():
        assert set(offer["versioned"]) <= set(offer["packages"])
        assert offer["versioned"][0] == {"distribution": "docker.io", "docker": "docker-ce"}[source]
    own = sources["docker"]
    assert own["path"] == {"Debian": "debian", "Ubuntu": "ubuntu"}.get(release.split("-")[0], "rhel")
    assert own["format"] == ("rpm" if own["path"] == "rhel" else "deb")
    assert own["compose"] == "docker-compose-plugin"
    assert ("distribution" in sources) is (own["format"] == "deb")


def test_a_version_is_not_silently_ignored_where_dnf_installs() -> None:
    offer = {**TABLE["Rocky-9"]["docker"], "repository": "present"}
    (error,) = plan(offer=offer, version="26.1.5")["errors"]
    assert error.endswith("[docker.version_needs_apt]")
