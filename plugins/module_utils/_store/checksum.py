# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sha256 of a model: which one is expected, and that it is the one that came.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import downloader
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Resolved, Source
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import set_digest


def check_sha256(wanted: Wanted, source: Source, got: str, want: str, size: int) -> None:
    """Refuse other content than what is expected, if that is known."""
    if want and got != want:
        raise StackError(
            downloader.CHECKSUM_MISMATCH, name=wanted.name, source=source.shown, got=got, size=size, want=want
        )


def expected_sha256(wanted: Wanted, source: Source, resolved: Resolved) -> str:
    """The sha256 of the whole model: what the user wants, or else what the source promises; '' if neither says.

    Raises C(model.checksum_mismatch) if they contradict each other.
    """
    digests = {remote.name: remote.sha256 for remote in resolved.files}
    promised = resolved.files[0].sha256
    if resolved.directory:
        promised = set_digest(digests) if all(digests.values()) else ""
    if promised:
        check_sha256(wanted, source, promised, wanted.sha256, sum(remote.size or 0 for remote in resolved.files))
    return wanted.sha256 or promised
