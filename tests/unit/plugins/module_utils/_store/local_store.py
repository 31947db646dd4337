# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of this host, and a store beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import http_client, huggingface, model_source
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.apply import present
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.outcome import Outcome

FILE = "tiny-q4_0.gguf"
MADE = {"tiny-q4_0.tokenizer.json", "tiny-q4_0.tokenizer_config.json"}
ACCESS = Access(http_client.Settings(timeout=10), huggingface.HubSettings())


class Place:
    """A source file and a store."""

    def __init__(self, folder: Path, gguf: Any) -> None:
        self.gguf = gguf
        self.source = folder / "source.gguf"
        self.store = folder / "models"
        self.model = self.store / FILE
        self.sidecar = self.store / ".store" / (FILE + ".json")
        self.incoming = self.store / ".store" / "incoming"
        self.tokenizer = self.store / "tiny-q4_0.tokenizer.json"
        self.template = self.store / "tiny-q4_0.jinja"
        self.put(gguf.sentencepiece())

    def put(self, data: bytes) -> None:
        self.source.write_bytes(data)

    def wanted(self, **changes: str) -> Wanted:
        wanted = Wanted(str(self.store), "tiny", "q4_0", FILE, "", "")
        return wanted._replace(**changes)

    def run(self, check: bool = False, url: str = "", seal: bool = False, **changes: str) -> Outcome:
        wanted = self.wanted(**changes)
        source = model_source.parse_source("tiny", url or self.source.as_uri(), "", wanted.sha256)
        return present(wanted, source, ACCESS._replace(seal=seal), check)

    def error(self, **arguments: Any) -> StackError:
        with pytest.raises(StackError) as caught:
            self.run(**arguments)
        assert "\n" not in str(caught.value)
        return caught.value

    def files(self) -> set[str]:
        return {str(path.relative_to(self.store)) for path in self.store.rglob("*") if path.is_file()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
