# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job of an empty store, and work for it that never ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job import Job
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.reporter import Reporter
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.worker import Work


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(str(tmp_path / "store"), "0123456789abcdef")
    yield job
    job.cancel(2)


@pytest.fixture
def files(job: Job) -> Callable[[], list[str]]:
    """The names of all files of jobs."""
    return lambda: sorted(os.listdir(job.files.directory)) if os.path.isdir(job.files.directory) else []


@pytest.fixture
def until() -> Callable[..., Any]:
    """Waits for a condition and returns what it gives."""

    def wait(condition: Callable[[], Any], seconds: float = 10) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError("it did not happen")

    return wait


@pytest.fixture
def slow() -> Work:
    """Work that never ends by itself."""

    def work(report: Reporter) -> dict[str, Any]:
        report.update("m", 10, 100, "download")
        while True:
            time.sleep(0.01)

    return work


@pytest.fixture
def started(job: Job, slow: Work, until: Callable[..., Any]) -> Callable[..., int]:
    """Starts the job and returns the pid of its worker."""

    def start(work: Work = slow) -> int:
        job.start_or_attach(work)
        return int(until(job.pid))

    return start
