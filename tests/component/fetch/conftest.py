# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store beside a stand-in hub, without waiting between attempts."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import http_client

from tests.fakes.hub.hub import Hub, Server, running
from tests.fakes.hub.place import Place

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def place(gguf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    hub, plain = Hub(), Server()
    made = Place(hub, plain, tmp_path, gguf)
    create = http_client.Client.__init__

    # Nobody waits for real; how long would have been waited is kept.
    def quick(client: http_client.Client, name: str, settings: http_client.Settings) -> None:
        create(client, name, settings, sleep=made.sleeps.append)

    monkeypatch.setattr(http_client.Client, "__init__", quick)
    tracemalloc.start()
    with running(hub.origin, hub.cdn, plain):
        yield made
    made.check()
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
