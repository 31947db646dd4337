# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run tells of a model: its facts, and its state before and after.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import MADE, aliases, model_id
from ansible_collections.mistralrs.stack.plugins.module_utils._store.chat_template import installed_template
from ansible_collections.mistralrs.stack.plugins.module_utils._store.companion_files import made_for
from ansible_collections.mistralrs.stack.plugins.module_utils._store.entry import Entry
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import (
    FILE_MODE,
    Wanted,
    made_path,
    model_path,
    store_path,
    template_name,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.permissions import plain_status


class Outcome(NamedTuple):
    """What was, or in check mode would be, done."""

    changed: bool
    before: dict[str, Any]
    after: dict[str, Any]
    facts: dict[str, Any]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest() if text else ""


def model_state(size: int, sha256: str, made: Iterable[str], template: str, mode: int = FILE_MODE) -> dict[str, Any]:
    """What a diff shows of a model; C(made) are the paths of what was made for it."""
    names = {kind: "" for kind in MADE}
    for path in made:
        names.update({kind: os.path.basename(path) for kind, suffix in MADE.items() if path.endswith(suffix)})
    return {
        "size": size,
        "sha256": sha256,
        "mode": f"0{mode:o}",
        **names,
        "chat_template_sha256": _digest(template),
    }


def state_now(wanted: Wanted, entry: Entry | None) -> dict[str, Any]:
    """The same of what lies in the store now; {} if there is nothing."""
    template = installed_template(wanted)
    if entry is None:
        return {"chat_template_sha256": _digest(template)} if template else {}
    paths = [made_path(wanted, kind) for kind in MADE]
    made = [path for path in paths if plain_status(wanted, path) is not None]
    return model_state(entry.size, entry.sha256, made, template, entry.mode)


def model_facts(
    wanted: Wanted, size: int, sha256: str, sidecar: Mapping[str, Any], verified_by: str, directory: bool = False
) -> dict[str, Any]:
    """What the module returns of a model."""
    gguf = sidecar.get("gguf") or {}
    needed = made_for(gguf)
    prompt_tokens = (sidecar.get("tokenizer") or {}).get("prompt_tokens") if "tokenizer" in needed else 0
    return {
        "name": wanted.name,
        "quantization": wanted.quantization,
        "id": model_id(wanted.file),
        "aliases": aliases(wanted.name, wanted.quantization, wanted.file),
        "file": model_id(wanted.file) if directory else wanted.file,
        "path": model_path(wanted, directory),
        "directory": directory,
        "files": sorted(sidecar.get("files") or {}),
        "sha256": sha256,
        "size": size,
        **{kind: made_path(wanted, kind) if kind in needed else "" for kind in MADE},
        "chat_template": store_path(wanted, template_name(wanted)) if wanted.chat_template else "",
        "prompt_tokens": int(prompt_tokens or 0),
        "embedded_chat_template": bool(gguf.get("chat_template")),
        "gguf": gguf,
        "verified_by": verified_by,
        "sealed": str(sidecar.get("sealed") or ""),
        "source": str(sidecar.get("source") or ""),
        "revision": str(sidecar.get("revision") or ""),
    }
