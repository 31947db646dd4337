# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what was fetched may take the place of what the store has.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_model
from ansible_collections.mistralrs.stack.plugins.module_utils._store import companion_files
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Fit
from ansible_collections.mistralrs.stack.plugins.module_utils._store.checksum import check_sha256
from ansible_collections.mistralrs.stack.plugins.module_utils._store.companion_files import Staged
from ansible_collections.mistralrs.stack.plugins.module_utils._store.fetch import Arrived
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import clean
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Report, model_label
from ansible_collections.mistralrs.stack.plugins.module_utils._store.structure import inspect_files
from ansible_collections.mistralrs.stack.plugins.module_utils._store.suitability import check_support


def _accepted(arrived: Arrived, fit: Fit, report: Report) -> tuple[dict[str, Any], Staged]:
    wanted = arrived.prepared.wanted
    check_sha256(wanted, arrived.prepared.source, arrived.sha256, arrived.prepared.expected, arrived.size)
    paths = {name: os.path.join(arrived.path, name) for name in arrived.files}
    gguf = inspect_files(wanted, paths) if paths else gguf_model.inspect(arrived.path, model_label(wanted))
    check_support(wanted.name, gguf, fit)
    report(wanted.name, 0, None, "making the tokenizer")
    return gguf, companion_files.stage(wanted, companion_files.ggufs(paths, arrived.path), {})


def check_arrived(arrived: Arrived, fit: Fit, report: Report) -> tuple[dict[str, Any], Staged]:
    """Read all of a model that has no final name yet: the header's summary, and what was made for the model.

    Whatever there is to refuse is refused here: it must not take the place of a good model.
    """
    try:
        return _accepted(arrived, fit, report)
    except StackError:
        # What was refused by its content is of no use to the next run.
        clean(arrived.prepared.wanted)
        raise
