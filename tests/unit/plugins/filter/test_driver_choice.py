"""The filter driver_choice: one dictionary, with a sentence where there is no driver."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.filter.driver_choice import FilterModule

FILTER = FilterModule().filters()["driver_choice"]
FACTS = {
    "distribution": "Debian",
    "distribution_version": "12.15",
    "distribution_major_version": "12",
    "architecture": "x86_64",
}


def test_choice() -> None:
    choice = FILTER(FACTS, named=["2330"], source="distribution")
    assert choice["problem"] == ""
    assert choice["kernel_package"] == "nvidia-kernel-dkms"


def test_problem() -> None:
    choice = FILTER(FACTS, named=["Blackwell"], source="distribution")
    assert list(choice) == ["problem"]
    assert choice["problem"].endswith("[driver.branch_too_old_for_gpu]")


def test_the_branch_may_be_a_number() -> None:
    assert FILTER(FACTS, branch=580)["branch"] == "580"


@pytest.mark.parametrize("facts", [None, "Debian", {}])
def test_what_is_no_host(facts: object) -> None:
    with pytest.raises(AnsibleFilterError, match="driver_choice"):
        FILTER(facts)
