"""Disks that are too small."""

from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._driver.disk_space import check_space
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def test_space() -> None:
    check_space(None, [("/usr", 10, 10), ("/var", 10, 10)])
    check_space((10, 10), [("/usr", 10, 10)])
    with pytest.raises(StackError, match=r"/boot has 5 MB.*need 44 MB.*\[driver.boot_full\]"):
        check_space((5_000_000, 44_000_000), [("/usr", 1, 0)])
    with pytest.raises(StackError, match=r"/var has 5 MB.*need 900 MB.*\[driver.disk_full\]"):
        check_space(None, [("/usr", 10, 10), ("/var", 5_000_000, 900_000_000)])
