# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work for the jobs of these tests; it runs in another process, so it is plain data with a method."""

from __future__ import annotations

import importlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.reporter import Reporter

FAULT = Fault("model.of_this_test", "The {what} is wrong.", "Mend it.")


def wait_for(path: Path) -> None:
    """Wait until there is such a file."""
    end = time.monotonic() + 20
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)


class Returns:
    """Returns an outcome: at once, after some seconds, or when the file C(go) is there; C(mark) has an x for each."""

    def __init__(self, outcome: dict[str, Any], seconds: float = 0, mark: Path | None = None, go: Path | None = None):
        self.outcome, self.seconds, self.mark, self.go = outcome, seconds, mark, go

    def work(self, reporter: Reporter) -> dict[str, Any]:
        reporter.update("m", 1, 4, "download")
        time.sleep(self.seconds)
        if self.go:
            wait_for(self.go)
        if self.mark:
            with self.mark.open("a") as file:
                file.write("x")
        return self.outcome


class Fails:
    """Fails after some seconds: C(cause) is fails, dies, too large or unexpected."""

    def __init__(self, cause: str = "fails", seconds: float = 0, mark: Path | None = None):
        self.cause, self.seconds, self.mark = cause, seconds, mark

    def work(self, _reporter: Reporter) -> dict[str, Any]:
        if self.mark:
            with self.mark.open("a") as file:
                file.write("x")
        time.sleep(self.seconds)
        if self.cause == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.cause == "too large":
            return {"types": ["type"] * 1_000_000}
        if self.cause == "unexpected":
            raise ValueError("https://host/?token=hf_secret")
        raise StackError(FAULT, what="thing")


class Endless:
    """Never ends by itself; leaves the file C(cleaned) when it is stopped, unless it is deaf to that."""

    def __init__(self, cleaned: Path | None = None, deaf: bool = False):
        self.cleaned, self.deaf = cleaned, deaf

    def work(self, reporter: Reporter) -> dict[str, Any]:
        if self.deaf:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        reporter.update("m", 10, 100, "download")
        try:
            while True:
                time.sleep(0.01)
        finally:
            if self.cleaned:
                self.cleaned.write_text("yes")


class FillsDisk:
    """Writes more than there is room for."""

    def __init__(self, path: Path):
        self.path = path

    def work(self, reporter: Reporter) -> dict[str, Any]:
        with self.path.open("wb") as file:
            for step in range(100):
                file.write(b"x" * 65536)
                file.flush()
                reporter.update("m", step, 100, f"step {step}")
        return {}


class Imports:
    """Imports a module when the file C(gone) is not there any more."""

    def __init__(self, module: str, gone: Path):
        self.module, self.gone = module, gone

    def work(self, _reporter: Reporter) -> dict[str, Any]:
        while self.gone.exists():
            time.sleep(0.01)
        return {"imported": importlib.import_module(self.module).__name__, "environment": dict(os.environ)}
