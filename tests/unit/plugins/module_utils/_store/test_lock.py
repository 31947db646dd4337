# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._files.lock import FileLock, Locked

from tests.unit.plugins.module_utils._store.local_store import Place


def test_what_others_are_writing_is_left_alone(place: Place) -> None:
    place.run()
    lock = str(place.sidecar.parent / "other.gguf.lock")
    with FileLock(lock, named=True):
        part = place.incoming / "other.gguf.part"
        part.write_bytes(b"x")
        place.tokenizer.unlink()
        place.run()
        assert part.exists()
        with pytest.raises(Locked), FileLock(lock, named=True):
            pass
