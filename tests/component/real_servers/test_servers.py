# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads from servers that nobody here wrote: Nginx, and Debian's docker-registry."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import (
    downloader,
    http_client,
    huggingface,
    resumable_transfer,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import parse_source
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.apply import present
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._store.outcome import Outcome

from tests.component.real_servers.packages import Served, needed, nginx, registry

SIZE = 8 << 20


class Store:
    """A store, and a model to put there."""

    def __init__(self, root: Path) -> None:
        self.path = root / "store"
        self.final = self.path / "m.gguf"
        self.part = self.path / ".store" / "incoming" / "m.gguf.part"

    def fetch(self, source: str, sha256: str = "", **settings: object) -> Outcome:
        """Have the model in the store."""
        options = {"timeout": 10, "retries": 0, **settings}
        access = Access(http=http_client.Settings(**options), hub=huggingface.HubSettings())  # type: ignore[arg-type]
        wanted = Wanted(str(self.path), "m", "", "m.gguf", sha256, "")
        return present(wanted, parse_source("m", source, "", sha256), access, check=False)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def model(fill: bytes = b"") -> bytes:
    """A GGUF whose blocks all differ."""
    from tests.fakes.gguf_writer import build

    data = b"".join(hashlib.sha256(fill + b"%d" % block).digest() * 128 for block in range(SIZE // 4096))
    return bytes(build({"general.architecture": "llama"}, {"a": ([SIZE // 4], 0, SIZE)}, data=data))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path]]:
    needed("nginx", "nginx")
    root = tmp_path_factory.mktemp("root")
    root.chmod(0o755)
    for folder in root.parents:
        if folder.is_relative_to(tmp_path_factory.getbasetemp()):
            folder.chmod(0o755)
    with nginx(root) as running:
        yield running, root


def interrupted(store: Store, source: str, monkeypatch: pytest.MonkeyPatch, **settings: object) -> int:
    """Have a fetch end after two buffers, as a kill does; the bytes that have arrived."""
    write_all, written = resumable_transfer.write_all, []

    def failing(descriptor: int, data: memoryview) -> None:
        if len(written) == 2:
            raise OSError(5, "Input/output error")
        written.append(len(data))
        write_all(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(resumable_transfer, "write_all", failing)
        with pytest.raises(StackError, match="store_unusable"):
            store.fetch(source, limits=http_client.Limits(buffer=1 << 20), **settings)
    assert store.part.stat().st_size == sum(written) < SIZE
    return sum(written)


@pytest.mark.parametrize("tls", [False, True])
def test_nginx_goes_on(tls: bool, store: Store, served: tuple[Served, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    server, root = served
    content = model()
    (root / "m.gguf").write_bytes(content)
    settings = {"ca_path": server.authority} if tls else {}
    source = f"{server.tls if tls else server.plain}/m.gguf"
    arrived = interrupted(store, source, monkeypatch, **settings)
    received: list[downloader.Received] = []
    download = downloader.download
    monkeypatch.setattr(downloader, "download", lambda *given: received.append(download(*given)) or received[-1])
    assert store.fetch(source, **settings).changed
    assert (received[0].resumed_from, received[0].received) == (arrived, len(content) - arrived)
    assert store.final.read_bytes() == content


def test_nginx_has_another_file_now(store: Store, served: tuple[Served, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    server, root = served
    (root / "n.gguf").write_bytes(model())
    os.utime(root / "n.gguf", (1_000_000_000, 1_000_000_000))
    interrupted(store, f"{server.plain}/n.gguf", monkeypatch)
    other = model(b"other")
    (root / "n.gguf").write_bytes(other)
    assert store.fetch(f"{server.plain}/n.gguf").changed
    assert store.final.read_bytes() == other


def test_nginx_has_not_more_than_is_here(store: Store, served: tuple[Served, Path]) -> None:
    server, root = served
    content = model()
    (root / "o.gguf").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    store.part.parent.mkdir(parents=True)
    store.part.write_bytes(content)
    store.part.with_name("m.gguf.part.json").write_text(json.dumps({"promise": {"sha256": digest}, "etag": ""}))
    assert store.fetch(f"{server.plain}/o.gguf", digest).changed
    assert store.final.read_bytes() == content


def test_nginx_has_no_such_file(store: Store, served: tuple[Served, Path]) -> None:
    with pytest.raises(StackError, match="HTTP 404"):
        store.fetch(f"{served[0].plain}/nothing.gguf")


def push(host: str, repository: str, tag: str, layers: list[tuple[str, bytes, str]]) -> str:
    """Put a model into a registry as its clients do; the manifest's digest."""
    described = []
    for media_type, content, title in [*layers, ("application/vnd.cncf.model.config.v1+json", b"{}", "")]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        start = urllib.request.Request(f"http://{host}/v2/{repository}/blobs/uploads/", method="POST")
        with urllib.request.urlopen(start) as answer:
            place = answer.headers["Location"]
        target = place + ("&" if "?" in place else "?") + f"digest={digest}"
        headers = {"Content-Type": "application/octet-stream"}
        with urllib.request.urlopen(urllib.request.Request(target, content, headers, method="PUT")):
            pass
        layer: dict[str, object] = {"mediaType": media_type, "digest": digest, "size": len(content)}
        described.append({**layer, "annotations": {"org.cncf.model.filepath": title}} if title else layer)
    media_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": media_type, "config": described[-1], "layers": described[:-1]}
    body = json.dumps(manifest).encode()
    put = urllib.request.Request(f"http://{host}/v2/{repository}/manifests/{tag}", body, method="PUT")
    put.add_header("Content-Type", media_type)
    with urllib.request.urlopen(put) as answer:
        return str(answer.headers["Docker-Content-Digest"])


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    needed("docker-registry", "docker-registry")
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.mark.parametrize(
    ("media_type", "title"),
    [
        ("application/vnd.docker.ai.gguf.v3", ""),
        ("application/vnd.cncf.model.weight.v1.raw", "model.gguf"),
    ],
)
def test_a_registry(media_type: str, title: str, store: Store, host: str) -> None:
    content = model()
    digest = push(host, "ai/m", "v1", [(media_type, content, title)])
    outcome = store.fetch(f"oci://{host}/ai/m:v1")
    assert outcome.changed
    assert outcome.facts["revision"] == digest
    assert store.final.read_bytes() == content
    assert not store.fetch(f"oci://{host}/ai/m:v1").changed
    assert not store.fetch(f"oci://{host}/ai/m@{digest}").changed


def test_a_registry_goes_on(store: Store, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = model(b"again")
    push(host, "ai/n", "v1", [("application/vnd.docker.ai.gguf.v3", content, "")])
    interrupted(store, f"oci://{host}/ai/n:v1", monkeypatch)
    assert store.fetch(f"oci://{host}/ai/n:v1").changed
    assert store.final.read_bytes() == content


def test_a_registry_has_no_such_tag(store: Store, host: str) -> None:
    with pytest.raises(StackError, match="not_in_registry"):
        store.fetch(f"oci://{host}/ai/m:v9")
