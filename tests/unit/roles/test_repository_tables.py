"""The roles' tables of distributions, against what is recorded of the repositories that no test reaches."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.mistralrs.stack.plugins.filter.distribution import distribution
from ansible_collections.mistralrs.stack.plugins.plugin_utils._distributions import supported, table

ROOT = Path(__file__).resolve().parents[3]
RECORDINGS = ROOT / "tests" / "recordings" / "repositories"


def recorded(name: str) -> list[list[str]]:
    lines = (RECORDINGS / f"{name}.txt").read_text().splitlines()
    return [line.split() for line in lines if not line.startswith("#")]


def variables(role: str, **facts: str) -> dict[str, Any]:
    """The role's defaults and variables, to be templated on a host with these facts."""
    folder = ROOT / "roles" / role
    texts = [(folder / part / "main.yml").read_text() for part in ("defaults", "vars")]
    found = {key: value for text in texts for key, value in yaml.safe_load(text).items()}
    # Ansible loads no filters of collections here.
    row = {f"__{role}_distribution": distribution({"distribution_version": "", **facts}, role, "host")} if facts else {}
    return {**found, **row, "ansible_facts": facts}


def templated(known: dict[str, Any], expression: str) -> Any:
    def trust(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: trust(one) for key, one in value.items()}
        if isinstance(value, list):
            return [trust(one) for one in value]
        return trust_as_template(value) if isinstance(value, str) else value

    return Templar(DataLoader(), trust(known)).template(trust_as_template("{{ " + expression + " }}"))


UBUNTU = ("22.04", "24.04")
ROWS = {name: row["roles"]["docker_engine"] for name, row in table().items() if "docker_engine" in row["roles"]}


@pytest.mark.parametrize("release", UBUNTU)
def test_ubuntu_has_the_packages_of_its_own_docker(release: str) -> None:
    offer = ROWS[f"Ubuntu-{release}"]["distribution"]
    names = {row[1] for row in recorded("docker-ubuntu") if row[0] == release}
    assert {*offer["packages"], offer["compose"]} == names
    assert set(offer["versioned"]) <= names


@pytest.mark.parametrize("key", ROWS)
def test_dockers_repository_has_the_packages(key: str) -> None:
    offer = ROWS[key]["docker"]
    names = {row[1] for row in recorded("docker-ce") if row[0] == offer["format"]}
    assert {*offer["packages"], offer["compose"]} == names
    assert (
        offer["path"] == {"Debian": "debian", "Ubuntu": "ubuntu", "RedHat": "rhel", "Rocky": "rhel"}[key.split("-")[0]]
    )


def test_what_dockers_packages_conflict_with_is_known_before() -> None:
    conflicts = {name for row in recorded("docker-ce") if row[0] == "deb" for name in row[3:]}
    foreign = variables("docker_engine", distribution="Debian", distribution_major_version="13")
    foreign["docker_engine_source"] = "docker"
    known = set(templated(foreign, "__docker_engine_foreign_packages"))
    assert conflicts <= known
    # And the other way round: what Docker's packages would not let the distribution's in.
    foreign["docker_engine_source"] = "distribution"
    own = {row[1] for row in recorded("docker-ce") if row[0] == "deb"}
    assert own <= set(templated(foreign, "__docker_engine_foreign_packages"))


@pytest.mark.parametrize(
    ("distribution", "major", "ending", "fingerprint"),
    [
        ("Debian", "13", "/debian/gpg", "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"),
        ("Ubuntu", "24", "/ubuntu/gpg", "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"),
        ("Rocky", "9", "/rhel/gpg", "060A61C51B558A7F742B77AAC52FEB6B621E9F35"),
    ],
)
def test_each_format_has_dockers_key_for_it(distribution: str, major: str, ending: str, fingerprint: str) -> None:
    facts = {"distribution": distribution, "distribution_major_version": major, "distribution_version": f"{major}.04"}
    known = {**variables("docker_engine", **facts), "docker_engine_source": "docker"}
    assert templated(known, "__docker_engine_key_url").endswith(ending)
    assert templated(known, "__docker_engine_key_fingerprint") == fingerprint


TOOLKIT = [
    ("Debian", "12"),
    ("Debian", "13"),
    ("Ubuntu", "22.04"),
    ("Ubuntu", "24.04"),
    ("RedHat", "9"),
    ("Rocky", "9"),
]


@pytest.mark.parametrize(("distribution", "version"), [*TOOLKIT, ("AlmaLinux", "9")])
@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_the_toolkits_folders_are_those_of_nvidia(distribution: str, version: str, architecture: str) -> None:
    known = variables(
        "nvidia_container_toolkit",
        distribution=distribution,
        distribution_version=version,
        distribution_major_version=version.partition(".")[0],
        architecture=architecture,
    )
    kind = "deb" if distribution in ("Debian", "Ubuntu") else "rpm"
    folder = templated(known, "__nvidia_container_toolkit_folder")
    assert [kind, folder] in recorded("container-toolkit")
    assert templated(known, "__nvidia_container_toolkit_distribution.packages") == kind


def test_the_table_has_no_row_without_a_test() -> None:
    tested = {f"{name}-{version}" for name, version in [*TOOLKIT, ("AlmaLinux", "9")]}
    assert set(supported("nvidia_container_toolkit")) == tested


def test_the_patterns_for_dnf_find_exactly_the_packages_of_a_version() -> None:
    known = variables("nvidia_container_toolkit")
    tasks = yaml.safe_load((ROOT / "roles/nvidia_container_toolkit/tasks/install_rpm.yml").read_text())
    expression = tasks[1]["block"][0]["mistralrs.stack.packages"]["name"].strip("{} ")
    patterns = templated({**known, "nvidia_container_toolkit_version": "1.19.1"}, expression)
    offered = [row[1] for row in recorded("container-toolkit") if row[1].endswith(".x86_64")]
    assert len(offered) == 4
    assert {pattern: fnmatch.filter(offered, pattern) for pattern in patterns} == {
        f"{name}-1.19.1-*": [f"{name}-1.19.1-1.x86_64"] for name in known["__nvidia_container_toolkit_packages"]
    }


def test_rpm_repositories_are_checked_as_their_makers_sign_them() -> None:
    """NVIDIA signs the toolkit's metadata and not the packages; Docker and the driver's repository sign packages."""

    def repository(role: str, tasks: str) -> dict[str, Any]:
        text = (ROOT / "roles" / role / "tasks" / tasks).read_text()
        found = [task for task in yaml.safe_load(text) if "ansible.builtin.yum_repository" in task]
        assert len(found) == 1
        return dict(found[0]["ansible.builtin.yum_repository"])

    toolkit = repository("nvidia_container_toolkit", "install_rpm.yml")
    said = {row[1] for row in recorded("container-toolkit") if "gpgcheck" in row[1]}
    ours = {f"{key}={int(toolkit[key])}" for key in ("repo_gpgcheck", "gpgcheck")}
    assert ours == said
    others = [repository("docker_engine", "install_dnf.yml"), repository("nvidia_driver", "dnf.yml")]
    for one in others:
        assert one["gpgcheck"] is True
    for one in (toolkit, *others):
        # A file whose fingerprint was compared, never an address.
        assert one["gpgkey"].startswith("file://")


@pytest.mark.parametrize(
    ("repository", "file", "fingerprint"),
    [
        ("debian12/x86_64/", "3bf863cc.pub", "EB693B3035CD5710E231E123A4B469963BF863CC"),
        ("debian13/sbsa/", "8793F200.pub", "02182E60104FCDC26EAE1B8597A5D4CB8793F200"),
        ("ubuntu2404/x86_64/", "3bf863cc.pub", "EB693B3035CD5710E231E123A4B469963BF863CC"),
        ("rhel9/x86_64/", "D42D0685.pub", "610C7B14E068A878070DA4E99CD0A493D42D0685"),
    ],
)
def test_each_of_the_drivers_repositories_has_its_key(repository: str, file: str, fingerprint: str) -> None:
    known = variables("nvidia_driver")
    known["__nvidia_driver_choice"] = {"repository": repository}
    address = templated(known, "__nvidia_driver_key_url")
    assert address == f"https://developer.download.nvidia.com/compute/cuda/repos/{repository}{file}"
    assert fingerprint in known["nvidia_driver_key_fingerprints"]
    # NVIDIA calls the files after the ends of the fingerprints.
    assert fingerprint.endswith(file.removesuffix(".pub").upper())
