# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections import Counter

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._model import quantization_names
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import store_file_name
from ansible_collections.mistralrs.stack.plugins.plugin_utils._models import catalog

ROWS = catalog.rows()


def test_no_name_is_there_twice() -> None:
    names = Counter(name for row in ROWS for name in row.names)
    assert [name for name, count in names.items() if count > 1] == []
    assert len(ROWS) >= 36


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.names[0])
def test_rows(row: catalog.Row) -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", row.repository)
    assert row.license
    for name in row.names:
        assert store_file_name(name, row.default)
    assert quantization_names.label_of(f"m-{row.default}.gguf") == row.default.upper()
