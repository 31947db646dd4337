"""What all tests share: the collection is this checkout, and GGUF files are written by C(gguf)."""

from __future__ import annotations

import pytest

import tests.tools.checkout  # noqa: F401
from tests.fakes.gguf_writer import Writer


@pytest.fixture(scope="session")
def gguf() -> type[Writer]:
    return Writer
