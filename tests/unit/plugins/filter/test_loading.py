"""Ansible loads all filters of a collection anew in each task that uses one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
LOAD = """
import importlib, sys
package = "ansible_collections.mistralrs.stack.plugins."
for name in sys.argv[1:]:
    importlib.import_module(f"{package}filter.{name}")
print(*sorted(name.removeprefix(package) for name in sys.modules if name.startswith(f"{package}")))
"""


def test_loading_the_filters_loads_nothing_of_what_they_do() -> None:
    names = [path.stem for path in sorted((ROOT / "plugins" / "filter").glob("*.py"))]
    command = [sys.executable, "-c", LOAD, *names]
    collections = str(ROOT / ".cache" / "collections")
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={"PYTHONPATH": collections})
    assert set(done.stdout.split()) == {
        "filter",
        "module_utils",
        "module_utils._errors",
        *(f"filter.{n}" for n in names),
    }
