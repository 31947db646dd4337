"""What is written is what tomllib reads."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.toml import dumps
from hypothesis import given
from hypothesis import strategies as st

tomllib = pytest.importorskip("tomllib")  # Python 3.11 and newer

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT
VALUES: Any = SCALARS | st.lists(SCALARS, max_size=4)
DOCUMENTS: Any = st.dictionaries(
    TEXT,
    st.recursive(
        VALUES,
        lambda inner: (
            st.dictionaries(TEXT, inner, max_size=4)
            | st.lists(st.dictionaries(TEXT, inner, max_size=3), min_size=1, max_size=3)
        ),
        max_leaves=12,
    ),
    max_size=5,
)


@given(DOCUMENTS)
def test_round_trip(document: dict[str, Any]) -> None:
    assert tomllib.loads(dumps(document)) == document


def test_layout() -> None:
    document = {"command": "serve", "server": {"port": 1}, "models": [{"model_id": "a", "format": {"file": "a.gguf"}}]}
    assert dumps(document) == (
        'command = "serve"\n\n[server]\nport = 1\n\n[[models]]\nmodel_id = "a"\n\n[models.format]\nfile = "a.gguf"\n'
    )


@pytest.mark.parametrize("value", [None, object()])
def test_refuses_what_toml_has_not(value: object) -> None:
    with pytest.raises(TypeError):
        dumps({"key": value})
