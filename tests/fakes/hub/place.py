# A stand-in's surroundings: a store that is filled from the stand-in hub of this folder.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in hub, a store, and the oracle that holds after whatever happened to a fetch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import http_client, huggingface
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Source, parse_source
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import store_file_name
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access, Fit
from ansible_collections.mistralrs.stack.plugins.module_utils._store.apply import present
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.outcome import Outcome

from tests.fakes.hub.hub import TOKEN, Fault, Hub, Server

REPOSITORY = "org/model"
LABEL = "q4_k_m"
REMOTE = "model-Q4_K_M.gguf"


def make_model(gguf: Any, size: int = 1 << 20, fill: int = 1, **metadata: Any) -> bytes:
    """A GGUF of about that many bytes; every 4096 bytes of it differ."""
    fields = {"general.architecture": "llama", "general.file_type": 15, "llama.context_length": 4096, **metadata}
    data = b"".join(hashlib.sha256(b"%d %d" % (fill, block)).digest() * 128 for block in range(size // 4096))
    return bytes(gguf.build(fields, {"a": ([len(data) // 4], 0, len(data))}, data=data))


class Place:
    """A hub, another plain server and a store; C(fetch) fetches and C(check) is the oracle."""

    def __init__(self, hub: Hub, plain: Server, root: Path, gguf: Any) -> None:
        self.hub = hub
        self.plain = plain
        self.root = root
        self.gguf = gguf
        self.store = root / "models"
        self.content = make_model(gguf)
        self.old = b""
        self.settings: dict[str, Any] = {"timeout": 1, "retries": 3, "token": TOKEN}
        self.sleeps: list[float] = []
        self.messages: list[str] = []
        self.fit = Fit()
        self.ollama: tuple[str, ...] = ()
        self.mirror = ""
        hub.add(REPOSITORY, {REMOTE: self.content, "config.json": b"{}"})
        plain.files["/model.gguf"] = self.content

    @property
    def source(self) -> str:
        """The model in the hub."""
        return f"hf://{REPOSITORY}"

    @property
    def cdn_path(self) -> str:
        """Where the CDN has the model."""
        return self.hub.blob_path(self.content)

    @property
    def final(self) -> Path:
        """The model's final name."""
        return self.store / f"m-{LABEL}.gguf"

    @property
    def part(self) -> Path:
        """What has arrived of it."""
        return self.store / ".store" / "incoming" / f"{self.final.name}.part"

    def choose(self) -> Outcome:
        """Have the best quantization that fits in the store."""
        return self.fetch(label="auto")

    def request(
        self, source: str = "", sha256: str = "", label: str = LABEL, **settings: Any
    ) -> tuple[Wanted, Source, Access]:
        """What is wanted, from where, and how."""
        options = {"token_origin": self.hub.url, **self.settings, **settings}
        access = Access(
            http=http_client.Settings(**options),
            hub=huggingface.HubSettings(endpoint=self.hub.url, ollama_models=self.ollama, mirror_url=self.mirror),
            fit=self.fit,
        )
        wanted = Wanted(str(self.store), "m", label, store_file_name("m", label), sha256, "")
        return wanted, parse_source("m", source or self.source, "", sha256), access

    def fetch(
        self, source: str = "", sha256: str = "", check: bool = False, label: str = LABEL, **settings: Any
    ) -> Outcome:
        """Have the model in the store."""
        return present(*self.request(source, sha256, label, **settings), check)

    def fails(self, error: str, *arguments: Any, **options: Any) -> str:
        """The message of a fetch that fails with that error."""
        with pytest.raises(StackError) as caught:
            self.fetch(*arguments, **options)
        message = str(caught.value)
        self.messages.append(message)
        assert caught.value.id == f"model.{error}", message
        assert "\n" not in message
        self.check()
        return message

    def keep_old(self) -> None:
        """Have an older model in the store."""
        self.old = make_model(self.gguf, fill=7)
        source = self.root / "old.gguf"
        source.write_bytes(self.old)
        self.fetch(source.as_uri())

    def check(self, there: bool | None = None) -> None:
        """The final file is absent, the old one or the new one; no secret is where it does not belong."""
        if there is not None:
            assert self.final.exists() == there
        if self.final.is_dir():
            return
        if self.final.exists():
            assert self.final.read_bytes() in ((self.old, self.content) if self.old else (self.content,))
        assert not self.hub.cdn.secrets(TOKEN)
        assert not self.plain.secrets(TOKEN)
        assert not any(TOKEN in message for message in self.messages)
        for path in (self.store / ".store").rglob("*") if self.store.exists() else []:
            # Records, progress, results and logs of jobs; never what was fetched.
            if path.is_file() and path.suffix != ".part":
                assert TOKEN not in path.read_text(errors="replace")
                assert "X-Signature" not in path.read_text(errors="replace")

    def leftovers(self) -> list[str]:
        """What lies in the store besides the model and its record."""
        known = {self.final.name, f".store/{self.final.name}.json"}
        paths = [path for path in self.store.rglob("*") if not path.is_dir()]
        return sorted(set(str(path.relative_to(self.store)) for path in paths) - known)

    def bodies(self) -> list[str]:
        """The ranges that were asked for at the CDN, '' being all."""
        return [each.headers.get("Range", "") for each in self.hub.cdn.log if each.method == "GET"]

    def replace_at(self, request: int, content: bytes) -> None:
        """Replace the plain server's file when it is asked for the n-th time."""
        server, take, asked = self.plain, self.plain.take_fault, iter(range(1, 1 << 20))

        def replaced(path: str, method: str) -> Fault:
            if method == "GET" and next(asked) == request:
                server.files[path] = content
            return take(path, method)

        server.take_fault = replaced  # type: ignore[method-assign]
