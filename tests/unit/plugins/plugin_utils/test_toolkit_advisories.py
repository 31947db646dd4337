from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.filter.toolkit_advisories import toolkit_advisories
from ansible_collections.mistralrs.stack.plugins.plugin_utils._toolkit_advisories import (
    ADVISORIES,
    minimum_version,
    open_advisories,
    version_key,
)


@pytest.mark.parametrize(
    ("version", "ids"),
    [
        ("1.20.0", []),
        ("1.19.1", []),
        ("1.17.8", []),
        ("1.17.8~rc.2", ["CVE-2025-23266", "CVE-2025-23267"]),
        ("1.17.7", ["CVE-2025-23266", "CVE-2025-23267"]),
        ("1.17.4", ["CVE-2025-23266", "CVE-2025-23267"]),
        ("1.17.3", ["CVE-2025-23359", "CVE-2025-23266", "CVE-2025-23267"]),
    ],
)
def test_open_in_a_version(version: str, ids: list[str]) -> None:
    assert [advisory.id for advisory in open_advisories(version)] == ids
    assert [advisory["id"] for advisory in toolkit_advisories(version)] == ids


def test_the_oldest_has_all_and_the_minimum_none() -> None:
    assert open_advisories("1.16.1") == list(ADVISORIES)
    assert open_advisories(minimum_version()) == []
    assert minimum_version() == "1.17.8"


def test_order() -> None:
    versions = ["1.9.0", "1.10.0", "1.18.0~rc.2", "1.18.0~rc.10", "1.18.0", "1.18.1"]
    assert sorted(reversed(versions), key=version_key) == versions


@pytest.mark.parametrize("version", ["", "latest", "1.20", "1.20.0-1", "v1.20.0", "1.20.0\n", "1.20.0~rc"])
def test_no_version(version: str) -> None:
    with pytest.raises(ValueError, match="not a version"):
        open_advisories(version)
    with pytest.raises(AnsibleFilterError):
        toolkit_advisories(version)
