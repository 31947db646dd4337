# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as it runs on a host, against a real https server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import model as subject

from tests.fakes.hub import certificate as certificates
from tests.unit.plugins.modules.model.model_server import Run, Server, arguments


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    certificates.make(path)
    return path


@pytest.fixture
def server(gguf: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(gguf.sentencepiece(), certificate) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running
        running.stopped.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def run(store: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(file: str = "", check: bool = False, **options: Any) -> dict[str, Any]:
        if file:
            options["source"] = server.url(file)
        with patch_module_args(arguments(store, server, check, **options)), pytest.raises(SystemExit):
            subject.main()
        return dict(json.loads(capsys.readouterr().out))

    return call
