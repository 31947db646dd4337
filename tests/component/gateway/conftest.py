"""What the component tests of the gateway share: an engine and a folder for each test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.component.gateway.counting_engine import Engine
from tests.component.gateway.nginx_host import Gateway, Start, plan, running


@pytest.fixture
def engine() -> Iterator[Engine]:
    found = Engine().start()
    yield found
    found.stop()


@pytest.fixture
def start(engine: Engine) -> Iterator[Start]:
    """Starts a gateway: start(keys, workers=1, engines=[engine], **more of the plan)."""
    with ExitStack() as stack:

        def begin(
            keys: list[dict[str, Any]], workers: int = 1, engines: list[Engine] | None = None, **more: Any
        ) -> Gateway:
            # Not pytest's folder: Nginx's processes are another user, who may not enter that one.
            folder = Path(tempfile.mkdtemp(prefix="mistral-gateway-"))
            addresses = [each.address for each in engines or [engine]]
            return stack.enter_context(running(folder, plan(addresses, keys, **more), workers))

        yield begin
