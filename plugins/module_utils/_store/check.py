# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what was fetched may take the place of what the store has.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_header
from ansible_collections.mistralrs.stack.plugins.module_utils._store import companion_files
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.companion_files import Staged
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Report, Wanted, model_label
from ansible_collections.mistralrs.stack.plugins.module_utils._store.structure import inspect_files
from ansible_collections.mistralrs.stack.plugins.module_utils._store.suitability import check_support


def ggufs(paths: Mapping[str, str], path: str) -> list[str]:
    """The GGUFs among the files of a model, the one with its vocabulary first; or its one file."""
    return [paths[name] for name in sorted(paths) if name.endswith(".gguf")] if paths else [path]


def accepted(
    wanted: Wanted, folder: str, files: Mapping[str, Any], path: str, access: Access, report: Report
) -> tuple[dict[str, Any], Staged]:
    """Read all of a model that has no final name yet: the file C(path), or C(files) in a folder.

    The header's summary and what was made for it. Whatever there is to refuse is refused here: it must not take the
    place of a good model.
    """
    paths = {name: os.path.join(folder, name) for name in files}
    label = model_label(wanted)
    gguf = inspect_files(wanted, paths) if files else gguf_header.inspect(path, label)
    check_support(wanted.name, gguf, access.fit)
    report(wanted.name, 0, None, "making the tokenizer")
    return gguf, companion_files.stage(wanted, ggufs(paths, path), {})
