# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a job: who can read them, on a full disk, and when they are removed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.function_job import FunctionJob
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.launch import Process
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.worker import Work

from tests.unit.plugins.module_utils._jobs.job_work import FillsDisk, Returns


def test_only_the_owner_can_read_anything(
    job: FunctionJob, files: Callable[[], list[str]], started: Callable[..., int]
) -> None:
    started()
    directory = Path(job.folder).parent
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {(directory / name).stat().st_mode & 0o077 for name in files()} == {0}


def test_a_link_in_place_of_the_directory_is_refused(job: FunctionJob, tmp_path: Path, slow: Work) -> None:
    (tmp_path / "elsewhere").mkdir()
    directory = Path(job.folder).parent
    directory.parent.mkdir(parents=True)
    directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StackError, match="model.job_unusable"):
        job.start_or_attach(slow)


def test_a_job_ends_well_on_a_full_disk(tmp_path: Path) -> None:
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        folder = str(mount / ".store" / "jobs" / "0123456789abcdef")
        job = FunctionJob(folder, Process(folder))
        job.start_or_attach(FillsDisk(mount / "part").work)
        assert "No space left" in job.wait(10).result["error"]["msg"]
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def test_files_that_are_a_month_old_are_removed(job: FunctionJob, files: Callable[[], list[str]]) -> None:
    directory = Path(job.folder).parent
    directory.mkdir(0o700, parents=True)
    for name in ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc", "other"):
        (directory / name).mkdir()
        (directory / name / "log").write_text("x")
        os.utime(directory / name, (1, 1))
    os.utime(directory / "cccccccccccccccc")
    job.start_or_attach(Returns({}).work)
    job.wait(20)
    job.collect()
    assert files() == ["cccccccccccccccc/log", "other/log"]


def test_a_damaged_result_is_not_taken_for_a_restart(job: FunctionJob) -> None:
    job.start_or_attach(Returns({"changed": True}).work)
    job.wait(10)
    Path(job.path("result.json")).write_text('{"ok": {"chan')
    assert job.collect().result["error"]["id"] == "model.job_unreadable"
