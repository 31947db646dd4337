# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections import Counter

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils import _catalog, _quantization_names
from ansible_collections.mistralrs.stack.plugins.module_utils._model_names import store_file_name

ROWS = _catalog.rows()


def test_no_name_is_there_twice() -> None:
    names = Counter(name for row in ROWS for name in row.names)
    assert [name for name, count in names.items() if count > 1] == []
    assert len(ROWS) >= 36


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.names[0])
def test_rows(row: _catalog.Row) -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", row.repository)
    assert row.license
    for name in row.names:
        assert store_file_name(name, row.default)
    assert _quantization_names.label_of(f"m-{row.default}.gguf") == row.default.upper()
