"""Make this checkout importable as C(ansible_collections.mistralrs.stack), whatever its folder is called."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import ansible_collections

ROOT = Path(__file__).resolve().parents[2]


def _package(name: str, path: Path) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__path__ = [str(path)]
    sys.modules[name] = module
    return module


# Real packages beside ours (community.docker ...) stay importable: only our own name is pinned to this checkout.
ansible_collections.mistralrs = _package("ansible_collections.mistralrs", ROOT.parent)  # type: ignore[attr-defined]
_package("ansible_collections.mistralrs.stack", ROOT)
_package("ansible_collections.mistralrs.stack.plugins", ROOT / "plugins")
_package("ansible_collections.mistralrs.stack.plugins.module_utils", ROOT / "plugins" / "module_utils")
