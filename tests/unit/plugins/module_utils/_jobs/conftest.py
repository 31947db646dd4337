# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job of an empty store, and work for it that never ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs import result_file
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.function_job import FunctionJob
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.launch import Process
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.worker import Work

from tests.unit.plugins.module_utils._jobs.job_work import Endless


@pytest.fixture
def job(tmp_path: Path) -> Iterator[FunctionJob]:
    folder = str(tmp_path / "store" / ".store" / "jobs" / "0123456789abcdef")
    job = FunctionJob(folder, Process(folder))
    yield job
    job.cancel(2)


@pytest.fixture
def files(job: FunctionJob) -> Callable[[], list[str]]:
    """The paths of all files of jobs, below their directory."""
    directory = Path(job.folder).parent
    return lambda: sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.fixture
def until() -> Callable[..., Any]:
    """Waits for a condition and returns what it gives."""

    def wait(condition: Callable[[], Any], seconds: float = 20) -> Any:
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
    return Endless().work


@pytest.fixture
def started(job: FunctionJob, slow: Work, until: Callable[..., Any]) -> Callable[..., int]:
    """Starts the job and returns the pid of its worker, which has begun then."""

    def start(work: Work = slow) -> int:
        job.start_or_attach(work)
        until(lambda: job.poll().progress)
        return int(result_file.read(job.folder, "progress.json")["pid"])

    return start
