# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.filter.quantization_fit import FilterModule

quantization_fit = FilterModule().filters()["quantization_fit"]
MODEL = {"parameters": 32_800_000_000, "kv_bytes_per_token": 262_144, "context_length": 32_768}


def test_what_fits() -> None:
    found = {entry["label"]: entry for entry in quantization_fit(MODEL, [24_576], 8192)}
    assert found["q4_k_m"]["size"] == pytest.approx(20.1e9, rel=0.01)
    assert found["q4_k_m"]["fits"]
    assert not found["q8_0"]["fits"]
    assert found["q4_k_m"]["needs"] - found["q4_k_m"]["size"] == 8192 * 262_144 + (1 << 30)


def test_without_gpus_nothing_is_said_to_fit() -> None:
    found = quantization_fit(MODEL)
    assert {entry["fits"] for entry in found} == {None}
    assert [entry["size"] for entry in found] == sorted(entry["size"] for entry in found)


@pytest.mark.parametrize(
    ("model", "gpus"),
    [({}, []), ("x", []), ({"parameters": "7"}, []), (MODEL, "24576"), (MODEL, ["24576"]), (MODEL, [0])],
)
def test_what_is_no_model(model: Any, gpus: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="quantization_fit: .* has to be"):
        quantization_fit(model, gpus)
