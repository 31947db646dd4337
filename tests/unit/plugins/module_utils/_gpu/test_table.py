"""The table: its rows agree with the ranges, and those of the facts are there."""

from __future__ import annotations

import re

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.table import (
    DEVICES,
    GENERATION_MODULES,
    RANGES,
    known,
)


@pytest.mark.parametrize("device", DEVICES)
def test_row_agrees_with_its_range(device: str) -> None:
    row = DEVICES[device]
    assert re.fullmatch(r"[0-9A-F]{4}", device)
    matching = [entry for entry in RANGES if entry[0] <= int(device, 16) <= entry[1]]
    assert len(matching) == 1
    assert matching[0][2:] == (row.generation, row.compute_capability)


def test_ranges_are_sorted_and_apart() -> None:
    for before, after in zip(RANGES, RANGES[1:]):
        assert before[0] <= before[1] < after[0]
    assert {entry[2] for entry in RANGES} == set(GENERATION_MODULES)


# Device ids, capabilities and GiB as NVIDIA's pages and real outputs have them.
@pytest.mark.parametrize(
    ("device", "generation", "capability", "memory", "modules"),
    [
        ("2E12", "Blackwell", "12.1", 128, "open"),
        ("2BB1", "Blackwell", "12.0", 96, "open"),
        ("2B85", "Blackwell", "12.0", 32, "open"),
        ("3182", "Blackwell", "10.3", 288, "open"),
        ("2901", "Blackwell", "10.0", 192, "open"),
        ("2335", "Hopper", "9.0", 141, "either"),
        ("2330", "Hopper", "9.0", 80, "either"),
        ("2342", "Grace Hopper", "9.0", None, "open"),
        ("26b9", "Ada", "8.9", 48, "either"),
        ("2684", "Ada", "8.9", 24, "either"),
        ("2204", "Ampere", "8.6", 24, "either"),
        ("20B5", "Ampere", "8.0", 80, "either"),
        ("1EB8", "Turing", "7.5", 16, "either"),
        ("1DB6", "Volta", "7.0", 32, "proprietary"),
        ("1B38", "Pascal", "6.1", 24, "proprietary"),
    ],
)
def test_known(device: str, generation: str, capability: str, memory: int | None, modules: str) -> None:
    found = known(device)
    expected_memory = None if memory is None else memory << 30
    assert (found.generation, found.compute_capability, found.memory) == (generation, capability, expected_memory)
    assert found.modules == modules
    assert found.name


@pytest.mark.parametrize(
    ("device", "generation", "modules"),
    [
        ("2217", "Ampere", "either"),
        ("1E01", "", ""),
        ("13C2", "Maxwell", "proprietary"),
        ("0FC6", "", "proprietary"),
        ("29BC", "Blackwell", "open"),
        ("3FFF", "", ""),
        ("xyz", "", ""),
        ("", "", ""),
    ],
)
def test_without_a_row(device: str, generation: str, modules: str) -> None:
    assert (known(device).generation, known(device).modules) == (generation, modules)
