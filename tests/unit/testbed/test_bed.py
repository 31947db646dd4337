"""The pure parts of tests/testbed; everything else of it is proved by the hosts that all other tests run on."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bed
import bed_base
import bed_engine
import bed_hosts
import bed_image
import pytest
import yaml

SPEC = bed_hosts.HostSpec(
    name="demo", suite="13", publish=("127.0.0.1:8443:443",), mounts=("/a:/b:ro",), memory="4g", groups=("gateways",)
)


def test_the_image_key_depends_on_all_that_makes_the_image() -> None:
    base = ("13", ["a", "b"], "recipe", "x86_64")
    others = [
        ("12", ["a", "b"], "recipe", "x86_64"),
        ("13", ["a"], "recipe", "x86_64"),
        ("13", ["a", "b"], "recipe 2", "x86_64"),
        ("13", ["a", "b"], "recipe", "aarch64"),
    ]
    assert bed_image.image_key(*base) == bed_image.image_key("13", ["b", "a"], "recipe", "x86_64")
    assert len({bed_image.image_key(*inputs) for inputs in [base, *others]}) == 5


def test_checkouts_do_not_share_names() -> None:
    one, two = (bed_base.checkout_key(Path(path)) for path in ("/home/a/stack", "/home/b/stack"))
    assert one != two
    assert bed_hosts.container_name("demo", one) == f"bed-{one}-demo"
    bridges = [bed_hosts.bridge_name(engine) for engine in (bed_engine.OWN, bed_engine.Engine("", own=False))]
    assert len(set(bridges)) == 2
    assert max(map(len, bridges)) <= 15  # the kernel's limit for an interface


@pytest.mark.parametrize(
    ("version", "suite", "options", "command"),
    [
        (
            "1",
            "13",
            ["--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"],
            ["/sbin/init", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"],
        ),
        ("1", "12", ["--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"], ["/sbin/init"]),
        (
            "2",
            "13",
            ["--cgroupns=private"],
            ["/bin/sh", "-c", "mount -o remount,rw /sys/fs/cgroup && exec /sbin/init"],
        ),
    ],
)
def test_cgroups(version: str, suite: str, options: list[str], command: list[str]) -> None:
    assert bed_hosts.cgroup_arguments(version, suite) == (options, command)


def test_run_arguments() -> None:
    words = bed_hosts.run_arguments(SPEC, "image:tag", "2", ["192.0.2.53"], Path("/cache"))
    assert words[:2] == ["run", "--detach"]
    assert "--privileged" not in words
    for word in (
        f"--name={bed_hosts.container_name('demo')}",
        "--hostname=demo",
        f"--label={bed_base.LABEL}={bed_hosts.KEY}",
        f"--network={bed_hosts.NETWORK}",
        "--network-alias=demo",
        "--cap-drop=SYS_RESOURCE",
        f"--volume={bed_hosts.volume_name('demo')}:/var/lib/docker",
        "--volume=/a:/b:ro",
        "--volume=/cache:/var/cache/apt/archives",
        "--publish=127.0.0.1:8443:443",
        "--memory=4g",
        "--memory-swap=4g",
        "--env=BED_NAMESERVERS=192.0.2.53",
    ):
        assert word in words
    assert words[words.index("image:tag") + 1] == "/bin/sh"
    assert "--cap-drop=SYS_RESOURCE" not in bed_hosts.run_arguments(SPEC, "image:tag", "2", drop=False)


def test_the_order_of_options_is_no_difference() -> None:
    first = bed_hosts.HostSpec("a", "13", publish=("1", "2"), groups=("x", "y"))
    second = bed_hosts.HostSpec("a", "13", publish=("2", "1"), groups=("y", "x"))
    assert first.text() == second.text()


def container(spec: bed_hosts.HostSpec, **labels: str) -> dict[str, Any]:
    own = {bed_base.LABEL: bed_hosts.KEY, bed_base.LABEL_SPEC: spec.text()}
    return {"Config": {"Labels": {**own, **labels}}}


def test_other_settings_are_refused_by_name() -> None:
    bed_hosts.refuse_difference(SPEC, container(SPEC))
    was = container(bed_hosts.HostSpec("demo", "12", SPEC.publish, SPEC.mounts, "2g", SPEC.groups))
    with pytest.raises(bed_base.BedError, match=r"other settings \(image, memory, suite\).* down demo"):
        bed_hosts.refuse_difference(SPEC, was)


@pytest.mark.parametrize("labels", [None, {}, {bed_base.LABEL: "another"}])
def test_a_foreign_container_is_left_alone(labels: dict[str, str] | None) -> None:
    with pytest.raises(bed_base.BedError, match="left alone"):
        bed_hosts.refuse_foreign("demo", {"Config": {"Labels": labels}})
    bed_hosts.refuse_foreign("demo", container(SPEC))


@pytest.mark.parametrize(
    ("text", "result"),
    [("8443:443", "127.0.0.1:8443:443"), ("0.0.0.0:80:80", "0.0.0.0:80:80")],
)
def test_publish(text: str, result: str) -> None:
    assert bed_hosts.parse_publish(text) == result


@pytest.mark.parametrize("text", ["443", "a:b", "1:2:3:4", "0:443", "70000:443", "::1:80:80"])
def test_publish_refused(text: str) -> None:
    with pytest.raises(bed_base.BedError, match="not understood"):
        bed_hosts.parse_publish(text)


def test_mount(tmp_path: Path) -> None:
    assert bed_hosts.parse_mount(f"{tmp_path}:/srv:ro") == f"{tmp_path}:/srv:ro"
    with pytest.raises(bed_base.BedError, match="does not exist"):
        bed_hosts.parse_mount(f"{tmp_path}/no:/srv")
    with pytest.raises(bed_base.BedError, match="not understood"):
        bed_hosts.parse_mount(f"{tmp_path}:srv")


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a" * 41, "a/b"])
def test_names_refused(name: str) -> None:
    with pytest.raises(bed_base.BedError, match="is not a host name"):
        bed_hosts.check_name(name)


@pytest.mark.parametrize(
    ("texts", "servers"),
    [
        (["nameserver 192.0.2.1\nnameserver 192.0.2.2\n"], ["192.0.2.1", "192.0.2.2"]),
        (["nameserver 127.0.0.53\n", "nameserver 192.0.2.1\n"], ["192.0.2.1"]),
        (["# nameserver 192.0.2.1\nnameserver fe80::1%eth0\n"], []),
        ([], []),
    ],
)
def test_name_servers(texts: list[str], servers: list[str]) -> None:
    assert bed_hosts.name_servers(*texts) == servers


@pytest.mark.parametrize("engine", [bed_engine.Engine("", own=False), bed_engine.OWN], ids=["usual", "own"])
def test_inventory(engine: bed_engine.Engine) -> None:
    text = bed_hosts.inventory_text([("one", ["gpu_hosts", "gateways"]), ("two", ["gpu_hosts"])], engine)
    data = yaml.safe_load(text)["all"]
    assert data["children"] == {
        "gateways": {"hosts": {"one": {}}},
        "gpu_hosts": {"hosts": {"one": {}, "two": {}}},
    }
    host = data["hosts"]["one"]
    assert host["ansible_host"] == bed_hosts.container_name("one")
    assert host["ansible_connection"] == "community.docker.docker"
    assert host.get("ansible_docker_extra_args") == (f"-H {bed_engine.OWN.host}" if engine.own else None)


def test_inventory_without_groups() -> None:
    text = bed_hosts.inventory_text([("one", [])], bed_engine.OWN)
    assert list(yaml.safe_load(text)["all"]) == ["hosts"]


def test_the_own_engine_keeps_to_private_paths() -> None:
    words = bed_engine.daemon_arguments()
    assert f"--bridge={bed_engine.BRIDGE}" in words  # with `none` dockerd would delete docker0
    assert "--iptables=false" in words
    for option in ("--host", "--pidfile", "--exec-root", "--data-root"):
        (value,) = [word.split("=", 1)[1] for word in words if word.startswith(f"{option}=")]
        assert "mistral-bed" in value


def test_only_marked_rules_are_deleted() -> None:
    listing = """-P FORWARD DROP
-A FORWARD -j DOCKER-USER
-A FORWARD -i bed-aaaaaa -m comment --comment "mistral-bed:bed-aaaaaa" -j ACCEPT
-A FORWARD -i bed-bbbbbb -m comment --comment "mistral-bed:bed-bbbbbb" -j ACCEPT
-A FORWARD -i other -m comment --comment "not mistral-bed:x" -j ACCEPT
"""
    one = ["-D", "FORWARD", "-i", "bed-aaaaaa", "-m", "comment", "--comment", "mistral-bed:bed-aaaaaa", "-j", "ACCEPT"]
    assert bed_engine.rule_deletions(listing, "mistral-bed:bed-aaaaaa") == [one]
    assert len(bed_engine.rule_deletions(listing, "mistral-bed")) == 2


def test_rules_that_were_added_are_found_again() -> None:
    for _table, *rule in bed_engine.network_rules("10.213.0.0/24", "bed-aaaaaa"):
        listing = "-A " + " ".join(rule)
        assert bed_engine.rule_deletions(listing, "mistral-bed:bed-aaaaaa") == [["-D", *rule]]


def test_last_words() -> None:
    assert bed_base.last_words("docker: Error: port is taken.\nSee 'docker run --help'.\n") == (
        "docker: Error: port is taken."
    )
    assert bed_base.last_words("") == ""


@pytest.mark.parametrize("words", [["down"], ["down", "x", "--all"], ["up", "Bad_Name"], ["up", "x", "--publish", "y"]])
def test_bad_input_is_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert bed.main(words) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert output.out == ""


def test_the_lock_survives_its_own_removal(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    with bed_base.locked(path):
        path.unlink()
        path.parent.rmdir()
    with bed_base.locked(path):
        assert path.exists()


@pytest.mark.parametrize("what", ["up", "down"])
def test_nobody_looks_at_an_engine_that_is_being_stopped(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happens where scenarios run side by side."""
    looked = threading.Event()

    def running_engines() -> list[bed_engine.Engine]:
        looked.set()
        raise bed_base.BedError("there is none")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(bed_engine, "RUN", tmp_path / "run")
    monkeypatch.setattr(bed_engine, "SOCKET", tmp_path / "run" / "docker.sock")
    monkeypatch.setattr(bed_engine, "running_engines", running_engines)
    with ThreadPoolExecutor(1) as pool:
        with bed_engine.kept_running():
            done = pool.submit(bed.main, [what, "x"])
            assert not looked.wait(0.3)
        assert done.result(timeout=10) == 2
    assert looked.is_set()
    assert not (tmp_path / "run").exists()
