"""The filters for the choice of CUDA, image and version are glue: plain data out, errors raised or returned."""

from __future__ import annotations

import json

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.filter.cuda_choice import FilterModule as CudaChoice
from ansible_collections.mistralrs.stack.plugins.filter.engine_build_version import FilterModule as EngineBuildVersion
from ansible_collections.mistralrs.stack.plugins.filter.published_image import FilterModule as PublishedImage

CHOICE = CudaChoice().filters()["cuda_choice"]
PUBLISHED = PublishedImage().filters()["published_image"]
VERSION = EngineBuildVersion().filters()["engine_build_version"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_choice() -> None:
    choice = CHOICE("580.95.05", ["8.9"], "v0.9.2", features=["cuda"])
    assert choice["errors"] == []
    assert choice["cuda_version"] == "13.0.2"
    assert json.loads(json.dumps(choice)) == choice


def test_the_oldest_of_several_hosts_counts() -> None:
    choice = CHOICE(["580.95.05", None, "550.163.01"], ["8.9", 8.9], "0.9.2", driver_cuda=["13.0", "12.4"])
    assert choice["cuda_version"] == "12.4.1"
    assert PUBLISHED(["580.95.05", "570.124.06"], ["8.9"], "0.9.2")["reference"].endswith(":cuda128-sm89-0.9.2")


def test_no_driver() -> None:
    for driver in ("", None, [], [None]):
        assert CHOICE(driver, ["8.9"], "0.9.2", driver_cuda=None)["warnings"]
        assert PUBLISHED(driver, ["8.9"], "0.9.2", driver_cuda=None)["warnings"]


def test_numbers_of_yaml() -> None:
    """Without quotes, 12.2 and 8.9 are numbers."""
    assert CHOICE("535.309.01", [8.9], "0.9.2", wanted=12.2)["cuda_version"] == "12.2.2"
    assert CHOICE("535.309.01", [8.9, 8.6], "0.9.2", compute_capability=8.6)["capabilities"] == ["86"]


def test_a_version_that_needs_a_commit() -> None:
    assert CHOICE("580.95.05", ["8.9"], "0.9.3", commit=COMMIT)["warnings"]
    assert PUBLISHED("580.95.05", ["8.9"], "0.9.3", commit=COMMIT)["reference"].endswith("-0.9.3")
    for filter_ in (CHOICE, PUBLISHED):
        with pytest.raises(AnsibleFilterError, match=r"\[image\.version_unknown\]"):
            filter_("580.95.05", ["8.9"], "0.9.3")
        errors = filter_("580.95.05", ["8.9"], "0.9.3", fail=False)["errors"]
        assert ["image.version_unknown" in one for one in errors] == [True]


def test_all_conflicts_are_returned() -> None:
    errors = CHOICE("470.1", ["7.5"], "0.9.2", wanted="13.4", fail=False)["errors"]
    ids = ["gpu_too_old_for_engine", "cuda_engine_unsupported", "cuda_driver_too_old"]
    assert [one.rpartition("[image.")[2] for one in errors] == [f"{one}]" for one in ids]
    with pytest.raises(
        AnsibleFilterError, match=r"(?s)gpu_too_old_for_engine.*\n.*cuda_engine_unsupported.*\n.*too_old"
    ):
        CHOICE("470.1", ["7.5"], "0.9.2", wanted="13.4")


def test_nothing_published() -> None:
    errors = PUBLISHED("535.309.01", ["8.9"], "0.9.2", fail=False)["errors"]
    assert ["image.no_published_image" in one for one in errors] == [True]
    with pytest.raises(AnsibleFilterError, match=r"\[image\.no_published_image\]"):
        PUBLISHED("535.309.01", ["8.9"], "0.9.2")


def test_the_default_version() -> None:
    newest = VERSION("")
    assert newest == VERSION(None)
    assert (newest["version"], newest["reported_version"]) == ("0.9.2+7", "0.9.2")
    assert newest["errors"] == []
    assert json.loads(json.dumps(newest)) == newest
    assert CHOICE("580.95.05", ["8.9"], "") == CHOICE("580.95.05", ["8.9"], "0.9.2+7")
    # Of images it is the newest that is published.
    assert PUBLISHED("580.95.05", ["8.9"], "")["reference"].endswith(":cuda130-sm89-0.9.2")


def test_a_version_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match=r"\[image\.version_invalid\]"):
        VERSION("newest")
    assert ["image.version_unknown" in one for one in VERSION("0.9.3", fail=False)["errors"]] == [True]
    assert VERSION("0.9.3", COMMIT)["commit"] == COMMIT
