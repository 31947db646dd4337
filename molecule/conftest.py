"""All scenarios' tests have the same driver, and the collection is this checkout."""

from __future__ import annotations

pytest_plugins = ["tests.tools.checkout", "tests.tools.scenario"]
