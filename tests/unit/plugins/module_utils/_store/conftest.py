# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store that is filled from a file of this host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.module_utils._store.local_store import Place


@pytest.fixture
def place(tmp_path: Path, gguf: Any) -> Place:
    return Place(tmp_path, gguf)
