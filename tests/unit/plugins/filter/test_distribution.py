"""Facts of a host in, what a role has for its distribution out."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.filter.distribution import FilterModule
from ansible_collections.mistralrs.stack.plugins.plugin_utils import _distributions
from ansible_collections.mistralrs.stack.plugins.plugin_utils._driver.distributions import DISTRIBUTIONS
from ansible_collections.mistralrs.stack.plugins.plugin_utils._faults.distribution import UNSUPPORTED

distribution = FilterModule().filters()["distribution"]


def facts(name: str, version: str) -> dict[str, Any]:
    major = version.partition(".")[0]
    return {"distribution": name, "distribution_version": version, "distribution_major_version": major}


@pytest.mark.parametrize(
    ("name", "version", "row"),
    [
        ("Debian", "12.11", "Debian-12"),
        ("Debian", "13", "Debian-13"),
        ("Ubuntu", "24.04", "Ubuntu-24.04"),
        ("RedHat", "9.6", "RedHat-9"),
    ],
)
def test_a_release_that_is_supported(name: str, version: str, row: str) -> None:
    found = distribution(facts(name, version), "docker_engine", "gpu1")
    assert (found["name"], found["problem"]) == (row, "")
    assert found["docker"]["compose"] == "docker-compose-plugin"


@pytest.mark.parametrize(("name", "version"), [("Debian", "11.9"), ("Ubuntu", "24.10"), ("Arch", "rolling")])
def test_a_release_that_is_not_supported(name: str, version: str) -> None:
    found = distribution(facts(name, version), "mistral_monitor", "gpu1")
    assert set(found) == {"name", "problem"}
    assert found["problem"].startswith(
        f"gpu1 runs {name} {version}, which the role mistral_monitor does not support. "
        "Use a host with one of Debian-12, Debian-13."
    )
    assert found["problem"].endswith("[monitor.unsupported_distribution]")


def test_a_release_that_only_other_roles_support() -> None:
    assert distribution(facts("Rocky", "9.4"), "mistral_server", "gpu1")["problem"]
    assert not distribution(facts("Rocky", "9.4"), "nvidia_container_toolkit", "gpu1")["problem"]


def test_other_input_is_a_bug() -> None:
    with pytest.raises(AnsibleFilterError, match="has to be the host's facts"):
        distribution({"distribution": "Debian"}, "mistral_server", "gpu1")
    with pytest.raises(AnsibleFilterError, match="nothing for a role 'nginx'"):
        distribution(facts("Debian", "12"), "nginx", "gpu1")


def test_the_table_is_whole() -> None:
    table = _distributions.table()
    # Who has a row can say so when there is none, and the driver's packages are for hosts of the same table.
    assert {role for row in table.values() for role in row["roles"]} == set(UNSUPPORTED)
    assert set(DISTRIBUTIONS) <= set(table)
    assert {row["manager"] for row in table.values()} == {"apt", "dnf"}
