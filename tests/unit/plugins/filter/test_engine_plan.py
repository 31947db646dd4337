"""The filter is glue: it fails with all errors, or hands them over."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.filter.engine_plan import FilterModule

PLAN = FilterModule().filters()["engine_plan"]
MODELS = [{"name": "mistral:7b", "quantization": "q4_k_m"}]


def test_plan() -> None:
    plan = PLAN({}, "0.9.5", [], MODELS, default_model="mistral:7b", port=8080)
    assert plan["errors"] == []
    assert plan["configuration"]["server"]["port"] == 8080


def test_fails_with_every_error() -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        PLAN({"a": {}, "server": {"b": 1}}, "0.9.5", [], MODELS)
    assert "[config.unknown_section]" in str(caught.value)
    assert "[config.unknown_key]" in str(caught.value)


def test_hands_the_errors_over() -> None:
    assert len(PLAN({"a": {}, "server": {"b": 1}}, "0.9.5", [], MODELS, fail=False)["errors"]) == 2


def test_refuses_what_is_no_mapping() -> None:
    with pytest.raises(AnsibleFilterError, match="dictionary"):
        PLAN([], "0.9.5", [], MODELS)
