# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time changes what belongs to one model.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from ansible_collections.mistralrs.stack.plugins.module_utils._files.lock import FileLock, Locked
from ansible_collections.mistralrs.stack.plugins.module_utils._store.incoming import left_behind
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted, lock_path

_LOCK_SECONDS = 0.2


def model_lock(wanted: Wanted) -> FileLock:
    """The lock of whoever changes the model."""
    return FileLock(lock_path(wanted), named=True)


@contextmanager
def locked(wanted: Wanted, waiting: Callable[[str], None] = lambda _holder: None) -> Iterator[bool]:
    """Only one run at a time changes what belongs to one model; a second one waits here.

    C(waiting) is told who it waits for, again and again. Gives whether an interrupted run had left something of this
    model behind.
    """
    lock = model_lock(wanted)
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock)
                break
            except Locked as other:
                if other.holder:
                    waiting(other.holder)
            time.sleep(_LOCK_SECONDS)
        yield bool(left_behind(wanted))
